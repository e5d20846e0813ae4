"""Rows for PostgreSQL: an array for each column, which the statement unnests.

An array is given as one text. asyncpg would look at each element of a list whether it
is a list too, and ask the server what the type of an array is: 1 µs more a row. Rows
of a key and a text are inserted by::

    INSERT INTO t (key, name) SELECT each.column_0, each.column_1
    FROM (SELECT unnest(CAST($1 AS BIGINT[])) AS column_0,
                 unnest(string_to_array($2, $3, $4)) AS column_1) AS each

with ``{1,2,3}`` as the keys. The texts are joined by a separator ($3), and a marker
($4) stands for NULL: control characters that encoded JSON never holds. A text that
holds one has both replaced, by random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Integer,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.types import TypeEngine

from turnstore.sql.column_types import Micros
from turnstore.sql.compiled import Compiled, Value

INTEGERS: Final = (BigInteger, Integer, Micros)

SEPARATOR: Final = "\x1f"
NULL: Final = "\x1e"
"""What stands between texts and for none: characters that JSON escapes."""


class NoElements(Exception):
    """One empty text: an array of it would have none."""


Build: TypeAlias = Callable[[Sequence[ColumnElement[Any]]], Executable]
"""Makes a statement from the values of a row."""

_KEY: Final = BigInteger()
_TEXT: Final = Text()
_encode: Final = msgspec.json.Encoder().encode


class Unnested:
    """Rows as a table in a statement, whose parameters begin with the table's name.

    :param kinds: of its columns, by name.
    """

    def __init__(self, name: str, kinds: Mapping[str, TypeEngine[Any]]) -> None:
        self._name = name
        self._separator, self._null = f"{name}_separator", f"{name}_null"
        self._columns = [
            (each, f"{name}_{each}", isinstance(kind, INTEGERS))
            for each, kind in kinds.items()
        ]

    def table(
        self, single: Collection[int] = (), source: FromClause | None = None
    ) -> Subquery:
        """
        :param single: columns, by place, that are the same in all rows and given once.
        :param source: a table of one row, which is read before these.
        """
        # As one of a SELECT's columns an array is unnested row by row; as a table it
        # would be written to a place of its own first.
        columns: list[ColumnElement[Any]] = []
        for at, (name, parameter, is_integer) in enumerate(self._columns):
            given: Any = bindparam(parameter)
            if at in single:
                column: Any = cast(given, _KEY)
            elif is_integer:
                column = func.unnest(cast(cast(given, _TEXT), ARRAY(_KEY)))
            else:
                parts = (parameter, self._separator, self._null)
                texts = (cast(bindparam(each), _TEXT) for each in parts)
                column = func.unnest(func.string_to_array(*texts))
            columns.append(column.label(name))
        rows = select(*columns)
        if source is not None:
            rows = rows.select_from(source)
        return rows.subquery(self._name)

    def values(
        self, columns: Sequence[Sequence[Any]], single: Collection[int] = ()
    ) -> dict[str, Value]:
        """Return the parameters of rows that are given column by column.

        :raises NoElements: one row has an empty text.
        """
        values: dict[str, Value] = {}
        texts: dict[str, Sequence[str | None]] = {}
        for at, (_, parameter, is_integer) in enumerate(self._columns):
            if at in single:
                values[parameter] = columns[at][0]
            elif is_integer:
                values[parameter] = f"{{{_encode(columns[at])[1:-1].decode()}}}"
            else:
                texts[parameter] = columns[at]
        separator, null, joined = _join(texts)
        values[self._separator], values[self._null] = separator, null
        return values | joined


class UnnestedRows:
    """A statement over rows, whose values have the types of ``columns``."""

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._build = build
        kinds = {f"column_{at}": each.type for at, each in enumerate(columns)}
        self._rows = Unnested("each", kinds)
        self._times = [
            at for at, each in enumerate(columns) if isinstance(each.type, Micros)
        ]
        self._statements: dict[frozenset[int], Compiled] = {}

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Value]]) -> None:
        columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True))
        # What happens now happens in all rows at the same time, which is given once.
        single = frozenset(
            at for at in self._times if columns[at].count(columns[at][0]) == len(rows)
        )
        statement = self._statements.get(single)
        if statement is None:
            statement = self._statements[single] = Compiled(
                lambda: self._build(list(self._rows.table(single).c))
            )
        statement.run_raw(connection, self._rows.values(columns, single))


def _join(
    columns: Mapping[str, Sequence[str | None]],
) -> tuple[str, str, dict[str, Value]]:
    """Return what separates texts and stands for none, as no text has in it, and the
    texts of each column as one."""
    separator, null = SEPARATOR, NULL
    while True:
        try:
            joined: dict[str, Value] = {
                name: _joined(each, separator, null) for name, each in columns.items()
            }
        except ValueError:
            separator, null = token_hex(), token_hex()
        else:
            return separator, null, joined


def _joined(column: Sequence[str | None], separator: str, null: str) -> str | None:
    """
    :raises NoElements: it is one empty text.
    :raises ValueError: it could not be told apart again.
    """
    if len(column) == 1 and column[0] == "":
        raise NoElements
    missing = column.count(None)
    if missing == len(column):
        return None  # an array that is missing gives NULL in every row
    texts = [null if each is None else each for each in column] if missing else column
    joined = separator.join(texts)  # type: ignore[arg-type]
    if joined.count(separator) != len(column) - 1 or texts.count(null) != missing:
        raise ValueError("a text has the separator in it, or is what stands for none")
    return joined
