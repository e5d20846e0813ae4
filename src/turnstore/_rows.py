"""Rows in and rows out in one database step, however many there are.

A driver gives up the GIL at every step, and taking it back from a busy thread can
cost 5 ms. So rows go in as array parameters, and come out as one JSON array that is
decoded at once into records: 1,000 rows cost one step, not 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    Executable,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from turnstore import _codec
from turnstore._compiled import Compiled
from turnstore._sql import (
    Either,
    Element,
    Elements,
    Formatted,
    Greatest,
    Joined,
    Moment,
    OrNull,
    Padded,
    Quoted,
    Scalar,
    Seconds,
)
from turnstore.errors import DatabaseCorrupt
from turnstore.schema import JsonText, Micros

T = TypeVar("T")
Value = str | int | None

_KEY: Final = BigInteger()
_TEXT: Final = Text()
_INTEGERS: Final = (BigInteger, Integer, Micros)
_encode: Final = msgspec.json.Encoder().encode

CHUNK_ROWS: Final = 2_048
"""Rows of a step of a long read."""

# From the year 2106 on a float of seconds is too coarse to tell microseconds apart.
_FLOAT_MICROS_MAX: Final = 2**32 * 1_000_000 - 1


class Insert:
    """INSERT of any number of rows into ``columns``, in one step."""

    def __init__(self, table: Table, *columns: Column[Any]) -> None:
        self._several = _Rows(
            columns,
            lambda values: table.insert().from_select(columns, select(*values)),
        )
        self._one = _Row(
            columns,
            lambda values: (
                table.insert().inline().values(dict(zip(columns, values, strict=True)))
            ),
        )

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if len(rows) == 1:
            self._one(connection, rows)
        elif rows:
            self._several(connection, rows)


class Update:
    """UPDATE of any number of rows by key, in one step.

    Each row holds the values of ``keys``, then those of ``columns``. Where tables are
    distributed it is one statement for each row, by value: no other goes to one node.

    :param at_least: columns that are set to another column's value where that is
        greater.
    """

    def __init__(
        self,
        table: Table,
        keys: Sequence[Column[Any]],
        columns: Sequence[Column[Any]],
        *,
        at_least: Mapping[Column[Any], Column[Any]] | None = None,
    ) -> None:
        def build(values: Sequence[ColumnElement[Any]]) -> Executable:
            match = [key == value for key, value in zip(keys, values, strict=False)]
            new = dict(zip(columns, values[len(keys) :], strict=True))
            for name, bound in (at_least or {}).items():
                new[name] = Greatest(new[name], bound)
            return update(table).where(and_(*match)).values(new)

        given = [*keys, *columns]
        self._several = _Rows(given, build)
        self._one = _Row(given, build)

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if len(rows) == 1 or is_distributed(connection):
            self._one(connection, rows)
        elif rows:
            self._several(connection, rows)


class _Row:
    """A statement over one row, whose values are its parameters: for one it takes half
    the time of ``_Rows``. Several rows are as many statements."""

    def __init__(
        self,
        columns: Sequence[Column[Any]],
        build: Callable[[Sequence[ColumnElement[Any]]], Executable],
    ) -> None:
        self._names = [f"value_{at}" for at in range(len(columns))]
        given = zip(self._names, columns, strict=True)
        self._statement = Compiled(
            build([bindparam(name, type_=each.type) for name, each in given])
        )

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        values = [dict(zip(self._names, row, strict=True)) for row in rows]
        if len(values) == 1:
            self._statement.execute(connection, values[0])
        elif values:
            self._statement.execute_each(connection, values)


class _Rows:
    """A statement over rows that are given as parameters.

    :param columns: whose types the values of a row have.
    :param build: makes the statement from the values of a row.
    """

    def __init__(
        self,
        columns: Sequence[Column[Any]],
        build: Callable[[Sequence[ColumnElement[Any]]], Executable],
    ) -> None:
        types = [column.type for column in columns]
        each = Elements(bindparam("rows")).table_valued("value", name="each")
        places = _literals(len(types))
        self._from_json = Compiled(
            build(
                [
                    Element(each.c.value, at, kind)
                    for at, kind in zip(places, types, strict=True)
                ]
            )
        )
        # A driver with arrays takes one for each column: the server needs half the
        # time that it needs for JSON. Integers go as the text of an array, since the
        # driver would have to ask the server for the array's type, and takes longer.
        self._integers = [isinstance(kind, _INTEGERS) for kind in types]
        self._names = [f"column_{at}" for at in range(len(types))]
        arrays = [
            cast(cast(bindparam(name), _TEXT), ARRAY(_KEY))
            if is_integer
            else cast(bindparam(name), ARRAY(_TEXT))
            for name, is_integer in zip(self._names, self._integers, strict=True)
        ]
        given = func.unnest(*arrays).table_valued(*self._names)
        self._from_arrays = Compiled(build(list(given.render_derived("each").c)))

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if connection.dialect.name == "sqlite":
            text = _encode(rows).decode()
            self._from_json.execute(connection, {"rows": text})
        else:
            columns = zip(*rows, strict=True)
            given = {
                name: _array(column, is_integer)
                for name, column, is_integer in zip(
                    self._names, columns, self._integers, strict=True
                )
            }
            self._from_arrays.execute(connection, given)


class Query(Generic[T]):
    """A SELECT whose rows become records of one type, by column name.

    Compiled once; call it with the values of its bind parameters.

    :param beside: scalar subqueries that ``with_beside`` gives too.
    """

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]] | CompoundSelect[Any],
        record: type[T],
        beside: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        together = as_objects(statement)
        self._together = Compiled(together)
        self._beside = Compiled(together.add_columns(*beside))
        self._apart = Compiled(as_objects(statement, together=False))
        self._decode = decoder(record)

    def __call__(self, connection: Connection, **values: Value) -> list[T]:
        try:
            [(text,)] = self._together.execute(connection, values).fetchall()
        except Exception as error:
            if not _is_too_big(error):
                raise
            rows = self._apart.execute(connection, values)
            return [record for (row,) in rows for record in self._decode(row)]
        return self._decode(text)

    def one(self, connection: Connection, **values: Value) -> T | None:
        return next(iter(self(connection, **values)), None)

    def with_beside(
        self, connection: Connection, **values: Value
    ) -> tuple[list[T], Sequence[Any]] | None:
        """Read the rows and what is beside them in one step; None where the rows are
        too long for one text."""
        try:
            [(text, *beside)] = self._beside.execute(connection, values).fetchall()
        except Exception as error:
            if not _is_too_big(error):
                raise
            return None
        return self._decode(text), beside


class QueryIf(Generic[T]):
    """A ``Query`` that reads where a condition holds, which the same step finds out.

    Gives None where it does not.
    """

    def __init__(
        self,
        condition: ColumnElement[bool],
        statement: Select[*tuple[Any, ...]],
        record: type[T],
    ) -> None:
        self._rows = Query(statement, record)
        text = func.coalesce(as_objects(statement).scalar_subquery(), "")
        # Databases evaluate a branch of CASE only where it is taken.
        self._together = Compiled(select(case((condition, text))))
        self._decode = decoder(record)

    def __call__(self, connection: Connection, **values: Value) -> list[T] | None:
        try:
            [(text,)] = self._together.execute(connection, values).fetchall()
        except Exception as error:
            if not _is_too_big(error):
                raise
            return self._rows(connection, **values)
        return None if text is None else self._decode(text)


class PlainQuery(Generic[T]):
    """A SELECT of integers and texts whose rows become records, by place.

    For a driver that gives all rows in one step.
    """

    def __init__(
        self, statement: Select[*tuple[Any, ...]], record: Callable[..., T]
    ) -> None:
        self._text = Compiled(statement)
        self._record = record

    def __call__(self, connection: Connection, **values: Value) -> list[T]:
        record = self._record
        return [record(*row) for row in self._text.execute(connection, values)]


def is_distributed(connection: Connection) -> bool:
    """Tell whether the tables are distributed by session over several servers."""
    return getattr(connection.dialect, "is_distributed", False)


def is_in(column: ColumnElement[Any], array: ColumnElement[Any]) -> Any:
    """Return the condition that a JSON array parameter has a column's value."""
    each = Elements(array).table_valued("value", name="element")
    listed = column.in_(select(Scalar(each.c.value, column.type)))
    if not isinstance(column.type, _INTEGERS):
        return listed
    # As an array it is a range of the index, in order; integers are spelt alike.
    given = func.translate(array, literal_column("'[]'"), literal_column("'{}'"))
    return Either(listed, column == any_(cast(given, ARRAY(_KEY))))


def pairs(
    array: ColumnElement[Any],
    first: TypeEngine[Any] = _KEY,
    second: TypeEngine[Any] = _TEXT,
) -> tuple[FromClause, Any, Any]:
    """Return a JSON array of pairs as a table, with its two columns."""
    each = Elements(array).table_valued("value", name="pair")
    places = zip(_literals(2), (first, second), strict=True)
    left, right = (Element(each.c.value, at, kind) for at, kind in places)
    return each, left, right


def as_objects(
    statement: Select[Any] | CompoundSelect[Any], *, together: bool = True
) -> Select[Any]:
    """Wrap a SELECT so that it gives one text: its rows as JSON objects, with commas
    between them; or, not together, a text for each row."""
    rows = statement.subquery("rows")
    template = ",".join(f'"{each.name}":%s' for each in rows.c)
    one = Formatted(
        literal_column(f"'{{{template}}}'"), *(_as_json(each) for each in rows.c)
    )
    if not together:
        return select(one).select_from(rows)
    return select(Joined(one, literal_column("','"))).select_from(rows)


def object_of(columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Return one JSON object of columns, as a column."""
    template = ",".join(f'"{name}":%s' for name in columns)
    one = Formatted(
        literal_column(f"'{{{template}}}'"),
        *(_as_json(each) for each in columns.values()),
    )
    return type_coerce(one, JsonText)


def decoder(record: type[T]) -> Callable[[str | None], list[T]]:
    """Return the function that decodes JSON objects of ``record``.

    Not strict, because times arrive as numbers.
    """
    decode = msgspec.json.Decoder(list[record], strict=False).decode  # type: ignore[valid-type]

    def decode_rows(text: str | None) -> list[T]:
        if text is None:
            return []
        text = f"[{text}]"
        try:
            return decode(text)
        except msgspec.ValidationError:
            pass  # perhaps an integer of more digits than this decoder takes
        try:
            plain = _codec.decode(text)
            return msgspec.convert(plain, list[record], strict=False)  # type: ignore[valid-type]
        except (msgspec.MsgspecError, ValueError) as error:
            raise DatabaseCorrupt(
                f"a row does not read as {record.__name__}: {error}"
            ) from error

    return decode_rows


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
        else_=Formatted(
            literal_column("'\"%s.%sZ\"'"),
            Moment(_quotient(value - fraction, million)),
            Padded(fraction),
        ),
    )


def _quotient(value: ColumnElement[int], by: ColumnElement[int]) -> Any:
    # Not //: on SQLite that becomes FLOOR, which SQLAlchemy has Python compute, once
    # a row, with the GIL.
    # Grouped, because || binds more tightly than SQLAlchemy knows.
    return Grouping(value.op("/", precedence=8)(by))


def _is_too_big(error: Exception) -> bool:
    """Tell whether a result was beyond the longest text SQLite makes, 10**9 bytes."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == 18  # SQLITE_TOOBIG


def _array(column: Sequence[Value], is_integer: bool) -> Any:
    if is_integer:
        return f"{{{_encode(column)[1:-1].decode()}}}"
    # An array that is missing gives NULL in every row.
    return None if column.count(None) == len(column) else column


def _literals(count: int) -> list[ColumnElement[int]]:
    return [literal_column(str(at)) for at in range(count)]
