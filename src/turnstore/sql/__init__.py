"""The tables, and how statements on them are written and run; no connection.

Statements are Core expressions. What each database spells in its own way is in
``dialects``. How a statement is run depends on what it does:

- Rows become records by ``query.Query``, and records rows by ``bulk.Insert`` and
  ``bulk.Update``: any number of them in one step of the database.
- Another statement that a frequent call runs (an append, an update, a page, a count)
  is a ``compiled.Compiled``. Like the three above, it is compiled once for all values
  and run by the driver itself: SQLAlchemy's execution would cost 12 µs more on SQLite,
  30 on PostgreSQL. It takes texts and integers and raises the driver's errors, which
  the engine translates as it does SQLAlchemy's.
- All others run by ``connection.execute``: what forking, deleting, compacting and
  purging do once for a call, what needs a count of rows, and what is put together for
  one call.

Rows that do not decode are read once more by ``damage``, which names the value that is
wrong by the type of its column; a column of JSON is a
``json_column``. ``objects`` looks at tables, indexes and triggers when a store opens.

A new column that callers give takes a ``Column`` in ``schema``, a script of
``alembic``, a field of the record in ``records``, and an entry of the ``TypedDict`` in
the aggregate's ``arguments``. SELECTs, forks and the columns of a session follow from
these; ``tests/unit/test_fields.py`` and ``tests/contract/rules/test_every_field.py``
name what else a column needs.

Imported by ``store`` and ``transfer``; imports records, options and errors only.
"""
