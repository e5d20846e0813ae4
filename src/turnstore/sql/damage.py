"""Finds the stored values for which rows could not be read.

Rows are read many at a time, as one text (``query``). Where that text does not decode,
the same rows are read once more, value by value as raw bytes, and the values that are
wrong are named by table, column, session and number. This costs nothing until then.

Values become wrong by a flipped bit, or by another program that writes the tables:
SQLite takes any value in any column. A column says what it holds by its type, and one
of encoded JSON by ``info["holds"]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Integer,
    Select,
    Table,
    bindparam,
    select,
    type_coerce,
)
from sqlalchemy.sql.elements import ColumnClause
from sqlalchemy.sql.selectable import ScalarSelect
from sqlalchemy.types import NullType

from turnstore.errors import DatabaseCorrupt, StoreError
from turnstore.sql import codec
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.dialects import Raw, StorageClass
from turnstore.sql.schema import metadata, sessions

_NAMES: Final = ("session_key", "seq", "id", "key", "position", "batch", "row_key")
"""Columns that say which row it is."""
_OF_SESSION: Final = ("session", "session_id")
_OF_KEY: Final = ("key", "source", "fork")
"""Parameters of statements that say which session is read, by id and by key."""
REASON_CHARS_MAX: Final = 200


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is wrong. ``seq`` or ``id`` say which row of the session it is in;
    neither where that is wrong too."""

    table: str
    column: str
    session_id: str | None
    session_key: int | None
    seq: int | None
    id: str | None
    reason: str

    def __str__(self) -> str:
        of_session = ""
        if self.session_id is not None:
            of_session = f"session {self.session_id!r}: "
        elif self.session_key is not None:
            of_session = f"session with key {self.session_key}: "
        row = self.table
        if self.seq is not None:
            row += f" seq {self.seq}"
        elif self.id is not None and self.table != "sessions":
            row += f" {self.id!r}"
        return f"{of_session}{row}: {self.column} {self.reason}"

    def error(self) -> DatabaseCorrupt:
        return DatabaseCorrupt(
            f"{self}: the other rows can be read; `turnstore check --repair` sets "
            f"this one aside",
            table=self.table,
            column=self.column,
            session_id=self.session_id,
            seq=self.seq,
            id=self.id,
        )


def may_be_damage(connection: Connection, error: Exception) -> bool:
    """Tell whether an error may come from stored values: they did not decode, or the
    database could not make the text of them."""
    if isinstance(error, StoreError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (1, 20)  # SQLITE_ERROR, of a function; SQLITE_MISMATCH
    if getattr(error, "sqlstate", None) is not None:
        return False
    driver = connection.dialect.loaded_dbapi
    # The driver's error for text that is not UTF-8 has no code.
    return isinstance(
        error,
        msgspec.MsgspecError
        | ValueError
        | TypeError
        | RecursionError
        | driver.OperationalError,
    )


def corrupt(
    connection: Connection,
    statement: Select[Any] | CompoundSelect[Any],
    values: Mapping[str, Value],
    error: Exception,
) -> Exception:
    """Return the error to raise where rows of a statement could not be read."""
    for damage in find(connection, statement, values):
        return damage.error()
    if hasattr(error, "sqlite_errorcode"):
        return error
    return DatabaseCorrupt(
        f"a row does not read as it must ({error}): `turnstore check` lists damaged "
        f"rows",
        table="",
    )


def find(
    connection: Connection,
    statement: Select[Any] | CompoundSelect[Any],
    values: Mapping[str, Value],
) -> Iterator[Damage]:
    """Yield what is wrong with the rows that a statement reads."""
    if isinstance(statement, CompoundSelect):
        for each in statement.selects:
            if isinstance(each, Select):
                yield from find(connection, each, values)
        return
    inner: list[Table] = []
    leaves = [
        leaf for each in statement.selected_columns for leaf in _leaves(each, inner)
    ]
    if not leaves:
        return
    raws = _Raws(statement, leaves)
    yield from raws.find(connection, values)
    # Rows of other tables that stand in one value.
    for table in dict.fromkeys(inner):
        rows = select(*table.c).where(table.c.session_key == bindparam("key"))
        for key in raws.keys:
            yield from find(connection, rows, {"key": key})


class _Leaf(NamedTuple):
    """A column of a statement that comes from a column of a table."""

    value: ColumnElement[Any]
    column: Column[Any]
    source: FromClause


def _leaves(value: Any, inner: list[Table]) -> Iterator[_Leaf]:
    """Yield the columns that an expression is made of; add the tables whose rows are
    not those of the statement to ``inner``."""
    if isinstance(value, ScalarSelect):
        found = [
            leaf.column.table
            for each in value.element.selected_columns
            for leaf in _leaves(each, inner)
        ]
        inner += [each for each in found if "session_key" in each.c]
        return
    column = _column(value)
    if column is not None:
        yield _Leaf(value, column, value.table)
        return
    for each in value.get_children():
        yield from _leaves(each, inner)


def _column(value: Any) -> Column[Any] | None:
    """Return the table's column that a column of a FROM clause is."""
    if not isinstance(value, ColumnClause) or getattr(value, "table", None) is None:
        return None
    for each in value.base_columns:
        found: Any = each
        while not isinstance(found, Column):
            # A label of a page: its column under another type.
            found = getattr(found, "element", getattr(found, "clause", None))
            if found is None:
                return None
        if isinstance(found.table, Table) and found.table.metadata is metadata:
            return found
        if isinstance(found, Column):
            return None
    return None


def _names(source: FromClause) -> dict[str, ColumnElement[Any]]:
    found: dict[str, ColumnElement[Any]] = {}
    for each in source.c:
        column = _column(each)
        if column is not None and column.name in _NAMES:
            found.setdefault(column.name, each)
    return found


class _Raws:
    """The rows of a statement as raw bytes."""

    def __init__(self, statement: Select[Any], leaves: Sequence[_Leaf]) -> None:
        self.keys: dict[int, None] = {}
        """Of the sessions whose rows were read."""
        self._leaves = leaves
        self._names: list[tuple[FromClause, str]] = []
        columns: list[ColumnElement[Any]] = []
        for leaf in leaves:
            columns += [StorageClass(_plain(leaf.value)), Raw(_plain(leaf.value))]
        for source in {id(each.source): each.source for each in leaves}.values():
            for name, value in _names(source).items():
                self._names.append((source, name))
                columns.append(Raw(_plain(value)))
        # Sums are looked at row by row.
        if statement._group_by_clauses:
            statement = statement.group_by(None).order_by(None)
        labelled = [each.label(f"raw_{at}") for at, each in enumerate(columns)]
        self._rows = Compiled(statement.with_only_columns(*labelled))

    def find(
        self, connection: Connection, values: Mapping[str, Value]
    ) -> Iterator[Damage]:
        ids = dict[int, str | None]()
        first = 2 * len(self._leaves)
        for row in self._rows.run_raw(connection, values):
            named = list(zip(self._names, row[first:], strict=True))
            for (_, name), raw in named:
                if name == "session_key" and (key := _integer(raw)) is not None:
                    self.keys[key] = None
            for at, leaf in enumerate(self._leaves):
                reason = problem(leaf.column, row[2 * at], row[2 * at + 1])
                if reason is not None:
                    given = {
                        name: raw for (at_, name), raw in named if at_ is leaf.source
                    }
                    yield _damage(connection, leaf.column, given, values, reason, ids)


def _damage(
    connection: Connection,
    column: Column[Any],
    given: Mapping[str, Any],
    values: Mapping[str, Value],
    reason: str,
    ids: dict[int, str | None],
) -> Damage:
    table = column.table.name
    key = _integer(given.get("session_key"))
    session_id = _text(given.get("id")) if table == "sessions" else None
    if table == "sessions":
        pass
    elif key is None:
        named = [values[name] for name in _OF_SESSION if name in values]
        session_id = next((each for each in named if isinstance(each, str)), None)
        keys = [values[name] for name in _OF_KEY if name in values]
        key = next((each for each in keys if isinstance(each, int)), None)
    if session_id is None and key is not None:
        if key not in ids:
            ids[key] = _id_of(connection, key)
        session_id = ids[key]
    names = (given.get(name) for name in ("id", "key", "position", "batch", "row_key"))
    return Damage(
        table=str(table),
        column=column.name,
        session_id=session_id,
        session_key=key,
        seq=_integer(given.get("seq")),
        id=next((_text(each) for each in names if each is not None), None),
        reason=reason,
    )


def _id_of(connection: Connection, key: int) -> str | None:
    for (raw,) in _ID.run_raw(connection, {"key": key}):
        return _text(raw)
    return None


def _plain(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a value without its type, of which nothing is expected here."""
    return type_coerce(value, NullType())


def _integer(raw: Any) -> int | None:
    try:
        return None if raw is None else int(raw)
    except ValueError:
        return None


def _text(raw: Any) -> str | None:
    return raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw


_ID: Final = Compiled(
    lambda: select(Raw(_plain(sessions.c.id))).where(
        sessions.c.session_key == bindparam("key")
    )
)


def storage_class(column: Column[Any]) -> str:
    """Return SQLite's storage class of a column's values."""
    is_number = isinstance(column.type, BigInteger | Integer | Micros)
    return "integer" if is_number else "text"


def problem(column: Column[Any], storage: str, raw: bytes | str | None) -> str | None:
    """Say what is wrong with a value; None where it is sound.

    :param storage: its storage class; empty where it is that of the column.
    :param raw: its bytes, or the text that they are.
    """
    if storage == "null" or raw is None:
        return None if column.nullable else "is NULL"
    expected = storage_class(column)
    if (storage or expected) != expected:
        return f"is stored as {storage}, not as {expected}"
    if expected == "integer":
        if isinstance(column.type, Micros) and not codec.is_time(int(raw)):
            return f"is no time of the years 1 to 9999: {int(raw)}"
        return None
    try:
        text = raw if isinstance(raw, str) else raw.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start})"
    if isinstance(column.type, JsonText):
        return _json_problem(column, text)
    return None


def _json_problem(column: Column[Any], text: str) -> str | None:
    try:
        value = codec.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"is not JSON ({str(error)[:REASON_CHARS_MAX]})"
    try:
        msgspec.convert(value, column.info.get("holds", Any))
    except msgspec.ValidationError as error:
        return f"is not what it must be ({str(error)[:REASON_CHARS_MAX]})"
    return None
