"""Rows in and rows out in one database step, however many there are.

A driver gives up the GIL at every step, and taking it back from a busy thread can
cost 5 ms. So rows go in as one JSON array parameter, and come out as one JSON array
that is decoded at once into records: 1,000 rows cost one step, not 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    FromClause,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.elements import Grouping

from turnstore import _codec
from turnstore.errors import DatabaseCorrupt
from turnstore.schema import JsonText, Micros

T = TypeVar("T")
Value = str | int | None

_encode: Final = msgspec.json.Encoder().encode

CHUNK_ROWS: Final = 2_048
"""Rows of a step of a long read."""

# From the year 2106 on a float of seconds is too coarse to tell microseconds apart.
_FLOAT_MICROS_MAX: Final = 2**32 * 1_000_000 - 1


class Insert:
    """INSERT of any number of rows into ``columns``, from one array parameter."""

    def __init__(self, table: Table, *columns: Column[Any]) -> None:
        each = _json_each()
        values = [each.c.value.op("->>")(at) for at in _literals(len(columns))]
        self._text = _Text(table.insert().from_select(columns, select(*values)))

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if rows:
            self._text.execute(connection, {"rows": _encode(rows).decode()})


class Update:
    """UPDATE of any number of rows by key, from one array parameter.

    Each row holds the values of ``keys``, then those of ``columns``.

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
        each = _json_each()
        values = [
            each.c.value.op("->>")(at) for at in _literals(len(keys) + len(columns))
        ]
        match = [key == value for key, value in zip(keys, values, strict=False)]
        new = dict(zip(columns, values[len(keys) :], strict=True))
        for name, bound in (at_least or {}).items():
            new[name] = func.max(new[name], bound)
        self._text = _Text(update(table).where(and_(*match)).values(new))

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if rows:
            self._text.execute(connection, {"rows": _encode(rows).decode()})


class Query(Generic[T]):
    """A SELECT whose rows become records of one type, by column name.

    Compiled once; call it with the values of its bind parameters.
    """

    def __init__(self, statement: Select[Any], record: type[T]) -> None:
        self._together = _Text(as_objects(statement))
        self._apart = _Text(as_objects(statement, together=False))
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

    def in_chunks(
        self,
        connection: Connection,
        limit: int | None,
        *,
        steps_max: int | None = None,
        cursor: str = "after",
        **values: Value,
    ) -> list[T] | None:
        """Read rows in steps of ``CHUNK_ROWS``.

        The statement takes ``limit`` and ``cursor``: it gives rows in order of seq,
        beyond the seq given as that. Returns None where ``steps_max`` steps are not
        enough.
        """
        records: list[T] = []
        wanted = CHUNK_ROWS
        while limit is None or len(records) < limit:
            if limit is not None:
                wanted = min(wanted, limit - len(records))
            chunk = self(connection, **values, limit=wanted)
            records += chunk
            if len(chunk) < wanted:
                break
            if steps_max == 1 and len(records) != limit:
                return None
            values[cursor] = chunk[-1].seq  # type: ignore[attr-defined]
        return records


def in_array(array: ColumnElement[Any]) -> Select[Any]:
    """Return the elements of a JSON array parameter as a SELECT, for ``IN``."""
    each = func.json_each(array).table_valued("value", name="element")
    return select(each.c.value)


def pairs(array: ColumnElement[Any]) -> tuple[FromClause, Any, Any]:
    """Return a JSON array of pairs as a table, with its two columns."""
    each = func.json_each(array).table_valued("value", name="pair")
    first, second = (each.c.value.op("->>")(at) for at in _literals(2))
    return each, first, second


def as_objects(statement: Select[Any], *, together: bool = True) -> Select[Any]:
    """Wrap a SELECT so that it gives one text: its rows as JSON objects, with commas
    between them; or, not together, a text for each row."""
    rows = statement.subquery("rows")
    template = ",".join(f'"{each.name}":%s' for each in rows.c)
    one = func.printf(
        literal_column(f"'{{{template}}}'"), *(_as_json(each) for each in rows.c)
    )
    if not together:
        return select(one).select_from(rows)
    return select(func.group_concat(one, literal_column("','")))


def object_of(columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Return one JSON object of columns, as a column."""
    template = ",".join(f'"{name}":%s' for name in columns)
    return func.printf(
        literal_column(f"'{{{template}}}'"),
        *(_as_json(each) for each in columns.values()),
        type_=JsonText,
    )


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
    if isinstance(kind, JsonText | BigInteger | Integer):
        return func.coalesce(value, null)
    return func.json_quote(value)


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
            _quotient(value, million)
            .op("||")(literal_column("'.'"))
            .op("||")(func.substr(value, literal_column("-6"))),
        ),
        else_=func.printf(
            literal_column("'\"%s.%06dZ\"'"),
            func.strftime(
                literal_column("'%Y-%m-%dT%H:%M:%S'"),
                _quotient(value - fraction, million),
                literal_column("'unixepoch'"),
            ),
            fraction,
        ),
    )


def _quotient(value: ColumnElement[int], by: ColumnElement[int]) -> Any:
    # Not //: on SQLite that becomes FLOOR, which SQLAlchemy has Python compute, once
    # a row, with the GIL.
    # Grouped, because || binds more tightly than SQLAlchemy knows.
    return Grouping(value.op("/", precedence=8)(by))


class _Text:
    """A Core statement compiled once per dialect, with its parameters' order."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Callable[..., tuple[Any, ...]]]] = {}

    def execute(self, connection: Connection, values: Mapping[str, Value]) -> Any:
        # On the driver's cursor: SQLAlchemy's execution costs about 12 µs a statement,
        # a third of a write that is committed alone (bench: append at 1).
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        text, arrange = compiled
        cursor = connection.connection.cursor()
        cursor.execute(text, arrange(values))
        return cursor

    def _compile(
        self, dialect: Dialect
    ) -> tuple[str, Callable[[Mapping[str, Value]], tuple[Any, ...]]]:
        compiled = self._statement.compile(  # type: ignore[attr-defined]
            dialect=dialect, compile_kwargs={"render_postcompile": True}
        )
        names = tuple(compiled.positiontup or ())
        fixed = {
            name: value for name, value in compiled.params.items() if value is not None
        }

        def arrange(values: Mapping[str, Value]) -> tuple[Any, ...]:
            if not fixed:
                return tuple([values[name] for name in names])
            return tuple(
                [fixed[name] if name in fixed else values[name] for name in names]
            )

        return str(compiled), arrange


def _is_too_big(error: Exception) -> bool:
    """Tell whether a result was beyond the longest text SQLite makes, 10**9 bytes."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == 18  # SQLITE_TOOBIG


def _json_each() -> Any:
    return func.json_each(bindparam("rows")).table_valued("value", name="each")


def _literals(count: int) -> list[ColumnElement[int]]:
    return [literal_column(str(at)) for at in range(count)]
