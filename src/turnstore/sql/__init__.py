"""The tables, and how statements on them are written and run; no connection.

Statements are Core expressions. Hot ones run through ``compiled``, compiled once
for all values; ``bulk`` puts many rows in and ``query`` takes many rows out, each
in one step of the database. Whatever a database spells in its own way is in
``dialects``. Imported by ``store`` and ``transfer``; imports records, options and
errors only.
"""
