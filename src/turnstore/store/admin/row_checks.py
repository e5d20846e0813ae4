"""Whether every stored row reads as it must, each table from end to end.

Rows are decoded many at a time. Where a piece does not decode, or a value is stored
under another type, its rows are looked at value by value. On SQLite the tables are read
by rowid, which is sound whatever the columns hold; on PostgreSQL by primary key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)

from turnstore.errors import DatabaseCorrupt
from turnstore.options import MIB
from turnstore.records import Json
from turnstore.sql import codec
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Value
from turnstore.sql.damage import Damage, find, storage_class
from turnstore.sql.dialects import Bytes, StorageClass
from turnstore.sql.query import Query, as_micros
from turnstore.sql.schema import metadata

PIECE_ROWS: Final = 500
PIECE_BYTES: Final = 8 * MIB

Place = tuple[Value, ...]
"""Where a row lies: its rowid, on PostgreSQL its primary key."""


class Found(msgspec.Struct, frozen=True):
    """A damaged row, with all that is wrong with it."""

    table: str
    place: Place
    damages: list[Damage]


def tables() -> list[Table]:
    return list(metadata.sorted_tables)


def check_rows(
    connection: Connection, name: str, after: Place | None
) -> tuple[Place | None, list[Found]]:
    """Look at the next rows of a table after a place.

    Returns the place of the last one, None when there are no more, and the damaged
    rows.
    """
    return _scan(name, connection.dialect.name).next(connection, after)


def check_row(connection: Connection, name: str, place: Place) -> list[Damage]:
    """Return what is wrong with one row; nothing where it is not there."""
    return _scan(name, connection.dialect.name).damages(connection, place)


def place_is(table: Table, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a row lies at a place, by ``place_values``."""
    columns = _places(table, dialect)
    given = [bindparam(f"at{at}", type_=each.type) for at, each in enumerate(columns)]
    return (
        tuple_(*columns) == tuple_(*given) if len(given) > 1 else columns[0] == given[0]
    )


def place_values(place: Place) -> dict[str, Value]:
    return {f"at{at}": value for at, value in enumerate(place)}


def _places(table: Table, dialect: str) -> list[ColumnElement[Any]]:
    if dialect == "sqlite":
        return [literal_column("rowid", BigInteger)]
    return list(table.primary_key)


@cache
def _scan(name: str, dialect: str) -> _Scan:
    return _Scan(metadata.tables[name], dialect)


class _Scan:
    """Reads one table in pieces that are bounded in rows and bytes."""

    def __init__(self, table: Table, dialect: str) -> None:
        self._name = str(table.name)
        places = _places(table, dialect)
        self._lowest = tuple(
            "" if isinstance(each.type, Text) else -codec.INTEGER_MAX for each in places
        )
        after = [
            bindparam(f"after{at}", type_=each.type) for at, each in enumerate(places)
        ]
        upto = [
            bindparam(f"upto{at}", type_=each.type) for at, each in enumerate(places)
        ]
        is_after = tuple_(*places) > tuple_(*after)
        is_upto = tuple_(*places) <= tuple_(*upto)
        if len(places) == 1:
            is_after, is_upto = places[0] > after[0], places[0] <= upto[0]
        names = [f"p{at}" for at in range(len(places))]
        marks = [each.label(name) for each, name in zip(places, names, strict=True)]
        self._sizes = Query(
            select(*marks, _size(table).label("size_bytes"))
            .select_from(table)
            .where(is_after)
            .order_by(*places)
            .limit(literal_column(str(PIECE_ROWS))),
            _struct("Size", _marks_of(names, places), {"size_bytes": int}),
        )
        rows = select(*(_value(each) for each in table.c), _strange(table, dialect))
        self._rows = Query(
            rows.where(is_after, is_upto).order_by(*places), _row_struct(table)
        )
        self._raw: Select[Any] = select(*table.c).where(place_is(table, dialect))
        self._names = names

    def next(
        self, connection: Connection, after: Place | None
    ) -> tuple[Place | None, list[Found]]:
        start = self._lowest if after is None else after
        sizes = self._sizes(connection, **_given("after", start))
        if not sizes:
            return None, []
        places: list[Place] = []
        size_bytes = 0
        for each in sizes:
            size_bytes += each.size_bytes
            if places and size_bytes > PIECE_BYTES:
                break
            places.append(tuple(getattr(each, name) for name in self._names))
        return places[-1], list(self._found(connection, start, places))

    def _found(
        self, connection: Connection, start: Place, places: Sequence[Place]
    ) -> Iterator[Found]:
        given = _given("after", start) | _given("upto", places[-1])
        try:
            if not any(each.strange for each in self._rows(connection, **given)):
                return
        except DatabaseCorrupt as error:
            if error.table is None:
                raise
        for place in places:
            damages = self.damages(connection, place)
            if damages:
                yield Found(self._name, place, damages)

    def damages(self, connection: Connection, place: Place) -> list[Damage]:
        return list(find(connection, self._raw, place_values(place)))


def _given(name: str, place: Place) -> dict[str, Value]:
    return {f"{name}{at}": value for at, value in enumerate(place)}


def _marks_of(
    names: Sequence[str], places: Sequence[ColumnElement[Any]]
) -> dict[str, Any]:
    return {
        name: str if isinstance(each.type, Text) else int
        for name, each in zip(names, places, strict=True)
    }


def _size(table: Table) -> ColumnElement[int]:
    size: ColumnElement[int] = literal_column("0", BigInteger)
    for each in table.c:
        if storage_class(each) == "text":
            text = type_coerce(each, Text)
            size = size + func.coalesce(Bytes(text), literal_column("0"))
    return size


def _value(column: Column[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, Micros):
        return as_micros(column).label(column.name)
    return column


def _strange(table: Table, dialect: str) -> ColumnElement[int]:
    """Count the values that are stored under another type than their column's, which
    some read as if they were not."""
    count: ColumnElement[int] = literal_column("0", Integer)
    if dialect == "sqlite":
        for each in table.c:
            kinds = [storage_class(each), *(["null"] if each.nullable else [])]
            named: list[ColumnElement[str]] = [
                literal_column(f"'{kind}'") for kind in kinds
            ]
            count = count + case(
                (StorageClass(each).in_(named), literal_column("0")),
                else_=literal_column("1"),
            )
    return type_coerce(count, Integer).label("strange")


_TIME: Final = Annotated[int, msgspec.Meta(ge=codec.MICROS_MIN, le=codec.MICROS_MAX)]


def _row_struct(table: Table) -> Any:
    fields: dict[str, Any] = {}
    for each in table.c:
        kind: Any = int if storage_class(each) == "integer" else str
        if isinstance(each.type, Micros):
            kind = _TIME
        elif isinstance(each.type, JsonText):
            kind = each.info.get("holds", Json)
        fields[str(each.name)] = kind | None if each.nullable else kind
    return _struct("Row", fields, {"strange": int})


def _struct(name: str, *fields: Mapping[str, Any]) -> Any:
    return msgspec.defstruct(
        name, [pair for each in fields for pair in each.items()], gc=False
    )
