"""Rows for PostgreSQL: an array for each column, which the statement unnests.

An array is given as one text. asyncpg would look at each element of a list whether it
is a list too, and ask the server what the type of an array is: 1 µs more a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
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
    Integer,
    Text,
    bindparam,
    cast,
    func,
    select,
)

from turnstore._compiled import Compiled, Value
from turnstore.schema import Micros

INTEGERS: Final = (BigInteger, Integer, Micros)

SEPARATOR: Final = "\x1f"
NULL: Final = "\x1e"
"""What stands between texts and for none: characters that JSON escapes."""

Build: TypeAlias = Callable[[Sequence[ColumnElement[Any]]], Executable]
"""Makes a statement from the values of a row."""

_KEY: Final = BigInteger()
_TEXT: Final = Text()
_encode: Final = msgspec.json.Encoder().encode


class UnnestedRows:
    """A statement over rows, whose values have the types of ``columns``."""

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._build = build
        self._names = [f"column_{at}" for at in range(len(columns))]
        self._integers = [isinstance(each.type, INTEGERS) for each in columns]
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
        texts = [
            column
            for column, is_integer in zip(columns, self._integers, strict=True)
            if not is_integer
        ]
        separator, null, joined = _join(texts)
        given: dict[str, Value] = {"separator": separator, "null": null}
        rest = iter(joined)
        for at, name in enumerate(self._names):
            if at in single:
                given[name] = columns[at][0]
            elif self._integers[at]:
                given[name] = as_array(columns[at])
            else:
                given[name] = next(rest)
        statement = self._statements.get(single)
        if statement is None:
            statement = self._statements[single] = Compiled(
                lambda: self._build(self._unnested(single))
            )
        statement.execute(connection, given)

    def _unnested(self, single: Collection[int]) -> list[ColumnElement[Any]]:
        columns: list[ColumnElement[Any]] = []
        for at, name in enumerate(self._names):
            if at in single:
                columns.append(cast(bindparam(name), _KEY).label(name))
            elif self._integers[at]:
                columns.append(integers(name))
            else:
                columns.append(_texts(name))
        return list(select(*columns).subquery("each").c)


# As one of a SELECT's columns an array is unnested row by row; as a table it would be
# written to a place of its own first.


def integers(name: str) -> Any:
    """Return the column of a parameter given as ``as_array``."""
    return func.unnest(cast(cast(bindparam(name), _TEXT), ARRAY(_KEY))).label(name)


def as_array(values: Iterable[Value]) -> str:
    """Return integers as the text of an array."""
    return f"{{{_encode(list(values))[1:-1].decode()}}}"


def _texts(name: str) -> Any:
    parts = (cast(bindparam(each), _TEXT) for each in (name, "separator", "null"))
    return func.unnest(func.string_to_array(*parts)).label(name)


def _join(
    columns: Sequence[Sequence[str | None]],
) -> tuple[str, str, list[str | None]]:
    """Return the texts of each column as one, and what separates them and stands for
    none: as no text has in it."""
    separator, null = SEPARATOR, NULL
    while True:
        try:
            return separator, null, [_joined(each, separator, null) for each in columns]
        except ValueError:
            separator, null = token_hex(), token_hex()


def _joined(column: Sequence[str | None], separator: str, null: str) -> str | None:
    """:raises ValueError: it could not be told apart again."""
    missing = column.count(None)
    if missing == len(column):
        return None  # an array that is missing gives NULL in every row
    texts = [null if each is None else each for each in column] if missing else column
    joined = separator.join(texts)  # type: ignore[arg-type]
    if joined.count(separator) != len(column) - 1 or texts.count(null) != missing:
        raise ValueError("a text has the separator in it, or is what stands for none")
    return joined
