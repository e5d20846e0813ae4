"""Rows and values that go in together, in one database step.

A driver gives up the GIL at every step, and taking it back from a busy thread can
cost 5 ms: 500 rows cost one step, not 500. PostgreSQL takes an array for each column
(``unnest``), SQLite one list of VALUES. Three rows are inserted there by::

    INSERT INTO t (key, name) SELECT each.column1, each.column2
    FROM (SELECT listed.column1, listed.column2
          FROM (VALUES (?, ?), (?, ?), (?, ?), (?, ?)) AS listed
          WHERE listed.column1 IS NOT x'') AS each

The list has room for four, a power of two, so that few statements are kept; its last
row begins with the empty blob, which no value is, and is left out. An array parameter
is JSON: ``key IN (SELECT value FROM json_each(?))``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from turnstore.sql.column_types import JsonText
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.dialects import (
    Either,
    Element,
    Elements,
    Greatest,
    Scalar,
    ValuesList,
)
from turnstore.sql.unnest import INTEGERS, Build, UnnestedRows

R = TypeVar("R", bound=Struct)

VALUES_ROWS_MAX: Final = 512
"""Rows in one list of VALUES, whose parameters SQLite bounds: 32,766 by default."""

CHARS_KEPT_MAX: Final = 262_144
"""Of payloads. A statement keeps its parameters until it is given others."""

_KEY: Final = BigInteger()
_TEXT: Final = Text()
_NO_ROW: Final[ColumnElement[Any]] = literal_column("x''")
"""Stands first in what is no row: an empty blob, which no value is."""


class Insert(Generic[R]):
    """INSERT of any number of rows that are structs, whose fields are columns."""

    def __init__(self, table: Table, row: type[R]) -> None:
        columns = [table.c[name] for name in row.__struct_fields__]
        self._insert = InsertValues(table, *columns)

    def __call__(self, connection: Connection, rows: Sequence[R]) -> None:
        self._insert(connection, [astuple(each) for each in rows])


class InsertValues:
    """INSERT of any number of rows of values, in the order of ``columns``."""

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
    """UPDATE of any number of rows by key.

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

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._names = [f"value_{at}" for at in range(len(columns))]
        given = [
            (name, each.type) for name, each in zip(self._names, columns, strict=True)
        ]
        self._statement = Compiled(
            lambda: build([bindparam(name, type_=kind) for name, kind in given])
        )

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        values = [dict(zip(self._names, row, strict=True)) for row in rows]
        if len(values) == 1:
            self._statement.run_raw(connection, values[0])
        elif values:
            self._statement.run_raw_each(connection, values)


class _Rows:
    """A statement over rows that are given as parameters, in the way of a database."""

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._width = len(columns)
        self._from_values = Compiled(lambda: build(_listed(self._width)))
        self._texts: dict[int, str] = {}
        self._payloads = [
            at for at, each in enumerate(columns) if isinstance(each.type, JsonText)
        ]
        self._unnested = UnnestedRows(columns, build)

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        if connection.dialect.name == "sqlite":
            for at in range(0, len(rows), VALUES_ROWS_MAX):
                self._list(connection, rows[at : at + VALUES_ROWS_MAX])
        else:
            self._unnested(connection, rows)

    def _list(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        # For as many rows as the next power of two, so that few statements are kept;
        # the rows left over are marked as none.
        count = 1 << (len(rows) - 1).bit_length()
        text = self._texts.get(count)
        if text is None:
            one = f"({', '.join('?' * self._width)})"
            text = self._from_values.text(connection.dialect)
            text = self._texts[count] = text.replace(one, ", ".join([one] * count))
        none = (b"", *[None] * (self._width - 1))
        cursor = connection.connection.cursor()
        cursor.execute(text, (*chain(*rows), *none * (count - len(rows))))
        payloads = (len(row[at] or "") for row in rows for at in self._payloads)
        if sum(payloads) > CHARS_KEPT_MAX:
            cursor.execute(text, none * count)


def _listed(width: int) -> list[ColumnElement[Any]]:
    """Return the columns of a list of VALUES."""
    row = ValuesList(*(bindparam(f"value_{at}") for at in range(width)))
    names = [f"column{at}" for at in range(1, width + 1)]
    listed = row.table_valued(*names, name="listed")
    is_row = listed.c.column1.is_distinct_from(_NO_ROW)
    return list(select(listed).where(is_row).subquery("each").c)


def copying(
    table: Table,
    *where: ColumnElement[bool],
    without: Collection[Column[Any]] = (),
    **given: ColumnElement[Any],
) -> Executable:
    """Return the INSERT of copies of a table's rows, with all their columns.

    :param without: columns that the copies leave empty.
    :param given: by column, what the copies have in place of what is copied.
    """
    columns = [each for each in table.c if each not in set(without)]
    values = [given.get(each.name, each) for each in columns]
    return table.insert().from_select(columns, select(*values).where(*where))


def is_distributed(connection: Connection) -> bool:
    """Tell whether the tables are distributed by session over several servers."""
    return getattr(connection.dialect, "is_distributed", False)


def is_in(column: ColumnElement[Any], array: ColumnElement[Any]) -> Any:
    """Return the condition that a JSON array parameter has a column's value."""
    each = Elements(array).table_valued("value", name="element")
    listed = column.in_(select(Scalar(each.c.value, column.type)))
    if not isinstance(column.type, INTEGERS):
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


def _literals(count: int) -> list[ColumnElement[int]]:
    return [literal_column(str(at)) for at in range(count)]
