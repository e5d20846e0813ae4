"""Rows that come out in one database step, however many there are.

A driver gives up the GIL at every step, and taking it back from a busy thread can
cost 5 ms. So rows come out as one JSON array, which is decoded into records: 1,000
rows cost one step, not 1,000. A SELECT of a key, a text and a payload becomes, on
SQLite (PostgreSQL has ``string_agg`` and ``format``)::

    SELECT group_concat(
        printf('{"key":%s,"name":%s,"data":%s}',
               coalesce(rows.key, 'null'), json_quote(rows.name),
               coalesce(rows.data, 'null')), ',')
    FROM (SELECT t.key, t.name, t.data FROM t WHERE …) AS rows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Select,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.sql.elements import Grouping

from turnstore.sql import codec
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.damage import corrupt, may_be_damage
from turnstore.sql.dialects import (
    Encoded,
    Formatted,
    Joined,
    Moment,
    OrNull,
    Padded,
    Quoted,
    Seconds,
)

T = TypeVar("T")
Guard: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[Any]]
"""Returns a column, perhaps with the mark in place of large values."""

CHUNK_ROWS: Final = 2_048
"""Rows of a step of a long read."""

MARK: Final = "\uffff"
"""Stands for a cell that is too large. Any text may have it: it says that rows may be
too large, and they are read by their sizes then. ``bounded`` has the statements."""

# From the year 2106 on a float of seconds is too coarse to tell microseconds apart.
_FLOAT_MICROS_MAX: Final = 2**32 * 1_000_000 - 1


class TooLarge(Exception):
    """Rows are too large to be read at a time."""


class Query(Generic[T]):
    """A SELECT of few or narrow rows, which become records of one type, by column name.

    Compiled once; call it with the values of its bind parameters. ``BoundedQuery`` is
    for rows that may be large.

    :param guard: applied to each column; where it gives the mark, ``TooLarge`` is
        raised.
    """

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]] | CompoundSelect[Any],
        record: type[T],
        guard: Guard | None = None,
    ) -> None:
        self._together = Compiled(lambda: as_objects(statement, guard=guard))
        self._is_guarded = guard is not None
        self._decode = decoder(record)
        self._statement = statement

    def __call__(self, connection: Connection, **values: Value) -> list[T]:
        """:raises DatabaseCorrupt: a row is damaged."""
        try:
            [(text,)] = self._together.run_raw(connection, values)
            if text is not None and self._is_guarded and MARK in text:
                raise TooLarge
            return self._decode(text)
        except Exception as error:
            return raise_damage(connection, self._statement, values, error)

    def one(self, connection: Connection, **values: Value) -> T | None:
        return next(iter(self(connection, **values)), None)


class EitherQuery(Generic[T]):
    """One of two SELECTs of the same records, by a condition that the same step finds
    out.

    Gives None where the other one is not given and would be read, or where a row is
    damaged.

    :param guard: as for ``Query``.
    """

    def __init__(
        self,
        condition: ColumnElement[bool],
        statement: Select[*tuple[Any, ...]],
        otherwise: Select[*tuple[Any, ...]] | None,
        record: type[T],
        guard: Guard | None = None,
    ) -> None:
        def text_of(each: Select[Any]) -> ColumnElement[str]:
            text = as_objects(each, guard=guard).scalar_subquery()
            return func.coalesce(text, literal_column("''"))

        def build() -> Select[Any]:
            other = None if otherwise is None else text_of(otherwise)
            # Databases evaluate a branch of CASE only where it is taken.
            return select(case((condition, text_of(statement)), else_=other))

        self._together = Compiled(build)
        self._decode = decoder(record)

    def __call__(self, connection: Connection, **values: Value) -> list[T] | None:
        try:
            [(text,)] = self._together.run_raw(connection, values)
            if text is None:
                return None
            if MARK in text:
                raise TooLarge
            return self._decode(text)
        except Exception as error:
            if may_be_damage(connection, error):
                return None
            raise


class PlainQuery(Generic[T]):
    """A SELECT of integers and texts, whose rows become records, by place.

    For a driver that gives all rows in one step.
    """

    def __init__(self, statement: Select[Any], record: Callable[..., T]) -> None:
        self._text = Compiled(statement)
        self._record = record
        self._statement = statement
        kinds: list[set[type]] = [
            {int} if isinstance(each.type, BigInteger | Integer | Micros) else {str}
            for each in statement.selected_columns
        ]
        for kind, each in zip(kinds, statement.selected_columns, strict=True):
            if getattr(each, "nullable", True):
                kind.add(type(None))
        self._shapes = set(product(*kinds))

    def __call__(self, connection: Connection, **values: Value) -> list[T]:
        """:raises DatabaseCorrupt: a row is damaged."""
        record = self._record
        try:
            rows = self._text.run_raw(connection, values)
            if connection.dialect.name != "sqlite":
                return [record(*row) for row in rows]
            found = []
            for row in rows:
                if tuple(map(type, row)) not in self._shapes:
                    raise TypeError("a value is not of its column's type")
                found.append(record(*row))
            return found
        except Exception as error:
            return raise_damage(connection, self._statement, values, error)


def as_objects(
    statement: Select[Any] | CompoundSelect[Any],
    *,
    guard: Guard | None = None,
    encoded: bool = False,
) -> Select[Any]:
    """Wrap a SELECT so that it gives one text: its rows as JSON objects, with commas
    between them.

    :param guard: applied to each column.
    :param encoded: as bytes.
    """
    rows = statement.subquery("rows")
    columns = [*rows.c] if guard is None else [guard(each) for each in rows.c]
    template = ",".join(f'"{each.name}":%s' for each in rows.c)
    one = Formatted(
        literal_column(f"'{{{template}}}'"), *(_as_json(each) for each in columns)
    )
    text: ColumnElement[Any] = Joined(one, literal_column("','"))
    return select(Encoded(text) if encoded else text).select_from(rows)


def object_of(columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Return one JSON object of columns, as a column."""
    template = ",".join(f'"{name}":%s' for name in columns)
    one = Formatted(
        literal_column(f"'{{{template}}}'"),
        *(_as_json(each) for each in columns.values()),
    )
    return type_coerce(one, JsonText)


def decoder(record: type[T]) -> Callable[[str | bytes | None], list[T]]:
    """Return the function that decodes JSON objects of ``record``.

    Not strict, because times arrive as numbers.
    """
    decode = msgspec.json.Decoder(list[record], strict=False).decode  # type: ignore[valid-type]

    def decode_rows(text: str | bytes | None) -> list[T]:
        if text is None:
            return []
        text = f"[{text}]" if isinstance(text, str) else b"[%b]" % text
        try:
            return decode(text)
        except msgspec.DecodeError:
            # Perhaps an integer of more digits than this decoder takes, or a lone
            # surrogate.
            pass
        plain = codec.decode(text)
        return msgspec.convert(plain, list[record], strict=False)  # type: ignore[valid-type]

    return decode_rows


def raise_damage(
    connection: Connection,
    statement: Select[Any] | CompoundSelect[Any],
    values: Mapping[str, Value],
    error: Exception,
) -> NoReturn:
    """Raise an error of a read; where values may be damaged, the one that says so."""
    if may_be_damage(connection, error):
        raise corrupt(connection, statement, values, error) from error
    raise error


def as_micros(time: ColumnElement[int]) -> ColumnElement[int]:
    """Return a time as a number: by its own type it would be read as a datetime."""
    return type_coerce(time, BigInteger)


def _as_json(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column's value as JSON text."""
    kind = value.type
    null: ColumnElement[str] = literal_column("'null'")
    if isinstance(kind, Micros):
        return _time_as_json(value)
    if isinstance(kind, JsonText):
        return func.coalesce(value, null)
    if isinstance(kind, BigInteger | Integer):
        return OrNull(value)
    if isinstance(kind, Boolean):
        return case((value, literal_column("'true'")), else_=literal_column("'false'"))
    return Quoted(value)


def _time_as_json(value: ColumnElement[int]) -> ColumnElement[Any]:
    """Return microseconds as seconds with six decimals, or as RFC 3339 text where a
    float would not hold them."""
    million: ColumnElement[int] = literal_column("1000000")
    part = value % million
    fraction = (part + million) % million
    return case(
        (value.is_(None), literal_column("'null'")),
        (
            # From one second on there are six digits to cut off.
            value.between(million, literal_column(f"{_FLOAT_MICROS_MAX}")),
            Seconds(value),
        ),
        (
            value.between(
                literal_column(f"{codec.MICROS_MIN}"),
                literal_column(f"{codec.MICROS_MAX}"),
            ),
            Formatted(
                literal_column("'\"%s.%sZ\"'"),
                Moment(_quotient(value - fraction, million)),
                Padded(fraction),
            ),
        ),
        # What does not decode: PostgreSQL would fail to make a text of it.
        else_=literal_column("'\"no time\"'"),
    )


def _quotient(value: ColumnElement[int], by: ColumnElement[int]) -> Any:
    # Not //: on SQLite that becomes FLOOR, which SQLAlchemy has Python compute, once
    # a row, with the GIL.
    # Grouped, because || binds more tightly than SQLAlchemy knows.
    return Grouping(value.op("/", precedence=8)(by))
