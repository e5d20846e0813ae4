"""Whether the database objects are those of the schema, looked at when a store opens.

A trigger of another program can drop or change rows that the store has acknowledged,
and a table under one of our names may be another one. Other tables, and more indexes on
ours, change nothing for the store; without one of its indexes it is slower.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    column,
    func,
    literal_column,
    select,
    table,
)

from turnstore.errors import DatabaseCorrupt
from turnstore.sql.migrations import TITLE_INDEX
from turnstore.sql.schema import metadata

OUR_TRIGGERS: Final = frozenset(
    f"{TITLE_INDEX}_{when}" for when in ("insert", "delete", "forget", "update")
)
"""On SQLite, which keep the index of titles."""

_BEFORE_A_ROW: Final = 3
"""Bits of ``pg_trigger.tgtype``: it can leave the row out, or change it."""


def check_objects(connection: Connection) -> None:
    """Check tables, columns and triggers of a database with the schema.

    On PostgreSQL, whose users may have triggers that follow what is written, only those
    are refused that come before a row is written, and rules in place of a write.

    :raises DatabaseCorrupt: they are not those of the schema; the text names them.
    """
    if connection.dialect.name == "sqlite":
        _check_sqlite(connection)
    else:
        _check_postgresql(connection)


def _check_sqlite(connection: Connection) -> None:
    kinds: dict[str, set[str]] = {}
    for kind, name, of in connection.execute(_OBJECTS):
        kinds.setdefault(kind, set()).add(name)
        if kind == "trigger" and of in metadata.tables and name not in OUR_TRIGGERS:
            raise _refused(of, f"trigger {name!r} on table {of!r} is not the store's")
    columns: dict[str, set[str]] = {}
    for of, name in connection.execute(_COLUMNS):
        columns.setdefault(of, set()).add(name)
    for each in metadata.sorted_tables:
        if each.name not in kinds.get("table", ()):
            raise _refused(each.name, f"table {each.name!r} is missing")
        found = columns.get(each.name, set())
        missing = [str(one.name) for one in each.c if one.name not in found]
        more = found - {str(one.name) for one in each.c}
        if missing or more:
            raise _refused(
                each.name,
                f"table {each.name!r} has other columns: "
                f"{', '.join([*missing, *sorted(more)])}",
            )
    missing = sorted(OUR_TRIGGERS - kinds.get("trigger", set()))
    if missing:
        raise _refused("sessions", f"trigger {missing[0]!r} is missing")


def _check_postgresql(connection: Connection) -> None:
    for of, name in connection.execute(_TRIGGERS.union_all(_RULES)):
        if of in metadata.tables:
            raise _refused(
                of,
                f"trigger or rule {name!r} on table {of!r} can change what is written",
            )


def _refused(name: str, reason: str) -> DatabaseCorrupt:
    return DatabaseCorrupt(
        f"the database was changed by another program: {reason}; undo that, or restore "
        f"a backup",
        table=str(name),
    )


def _catalogue(name: str, *columns: str) -> Any:
    return table(name, *(column(each, Text) for each in columns))


_master = _catalogue("sqlite_master", "type", "name", "tbl_name")
_OBJECTS: Final = select(_master.c.type, _master.c.name, _master.c.tbl_name)
_info = func.pragma_table_xinfo(_master.c.name).table_valued("name", name="info")
_COLUMNS: Final = (
    select(_master.c.name, _info.c.name)
    .select_from(_master.join(_info, literal_column("1") == literal_column("1")))
    .where(_master.c.type == "table")
)
_class = table("pg_class", column("oid"), column("relname", Text))
_trigger = table(
    "pg_trigger",
    column("tgrelid"),
    column("tgname", Text),
    column("tgtype", Integer),
    column("tgisinternal"),
)
_rewrite = table(
    "pg_rewrite", column("ev_class"), column("rulename", Text), column("is_instead")
)
_is_visible: ColumnElement[bool] = func.pg_table_is_visible(_class.c.oid)
_TRIGGERS: Final = (
    select(_class.c.relname, _trigger.c.tgname)
    .join(_trigger, _trigger.c.tgrelid == _class.c.oid)
    .where(
        _is_visible,
        ~_trigger.c.tgisinternal,
        _trigger.c.tgtype.op("&")(literal_column(str(_BEFORE_A_ROW)))
        == literal_column(str(_BEFORE_A_ROW)),
    )
)
_RULES: Final = (
    select(_class.c.relname, _rewrite.c.rulename)
    .join(_rewrite, _rewrite.c.ev_class == _class.c.oid)
    .where(_is_visible, _rewrite.c.is_instead)
)
