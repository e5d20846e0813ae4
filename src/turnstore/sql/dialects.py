"""What SQLite and PostgreSQL spell differently, each as one Core construct.

For example the keys of a parameter ``[[7,"a"],[8,"b"]]``, by ``Elements`` and
``Element``::

    SELECT (pair.value ->> 0) FROM json_each(?) AS pair                        -- SQLite
    SELECT CAST((pair.value ->> 0) AS BIGINT)
    FROM json_array_elements(CAST($1 AS JSON)) AS pair                     -- PostgreSQL

``Either(a, b)`` writes ``a`` for SQLite and ``b`` for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Computed,
    Integer,
    Text,
    column,
    select,
    table,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


def spelt(
    element: type[FunctionElement[Any]],
    sqlite: Callable[..., str],
    postgresql: Callable[..., str],
) -> None:
    """Register how a construct is written, from its arguments as written."""
    for name, write in (("sqlite", sqlite), ("postgresql", postgresql)):

        def visit(
            element: Any, compiler: Any, write: Callable[..., str] = write, **kw: Any
        ) -> str:
            parts = [compiler.process(each, **kw) for each in element.clauses]
            return write(element, *parts)

        compiles(element, name)(visit)


class Elements(FunctionElement[Any]):
    """The elements of a JSON array, as a table with the column ``value``."""

    inherit_cache = True


class Element(FunctionElement[Any]):
    """An element, by place, of a JSON array in an array."""

    inherit_cache = True

    def __init__(self, array: ColumnElement[Any], place: Any, type_: Any) -> None:
        super().__init__(array, place)
        self.type = type_


class ValuesList(FunctionElement[Any]):
    """A row of values as a table with the columns ``column1``, ``column2`` …

    For SQLite; more rows can be written behind it.
    """

    inherit_cache = True


class Scalar(FunctionElement[Any]):
    """An element of a JSON array, as a value."""

    inherit_cache = True

    def __init__(self, element: ColumnElement[Any], type_: Any) -> None:
        super().__init__(element)
        self.type = type_


class Formatted(FunctionElement[str]):
    """A template with %s for each value."""

    inherit_cache = True


class Joined(FunctionElement[str]):
    """The texts of all rows, in their order, with a separator."""

    inherit_cache = True


class Quoted(FunctionElement[str]):
    """A text as JSON; null where there is none."""

    inherit_cache = True
    type = Text()


class OrNull(FunctionElement[str]):
    """An integer as JSON."""

    inherit_cache = True


class Moment(FunctionElement[str]):
    """Seconds since 1970 as RFC 3339 without a zone."""

    inherit_cache = True


class Seconds(FunctionElement[str]):
    """Microseconds, a million or more, as seconds with six decimals."""

    inherit_cache = True


class Padded(FunctionElement[str]):
    """An integer with six digits."""

    inherit_cache = True


class Now(FunctionElement[int]):
    """The time by the database's clock, in microseconds since 1970: that of the
    statement, not of its transaction. On SQLite to the millisecond, by the clock of the
    host."""

    inherit_cache = True
    type = BigInteger()


class StorageClass(FunctionElement[str]):
    """How a value is stored: SQLite's storage class, which need not be the one of its
    column. PostgreSQL has ``'null'`` and ``''``, of the column's type."""

    inherit_cache = True
    type = Text()


class Raw(FunctionElement[Any]):
    """The bytes of a value, whatever they are: as bytes on SQLite, as text on
    PostgreSQL, which stores no other bytes than those of its columns' types."""

    inherit_cache = True


class Greatest(FunctionElement[int]):
    """The greatest of several integers."""

    inherit_cache = True
    type = BigInteger()


class Bytes(FunctionElement[int]):
    """The bytes of a text."""

    inherit_cache = True
    type = BigInteger()


class Encoded(FunctionElement[bytes]):
    """A text as bytes, in UTF-8."""

    inherit_cache = True


class Position(FunctionElement[int]):
    """Where a text has another one, from 1; 0 where it has not."""

    inherit_cache = True
    type = Integer()


class TitlesWith(FunctionElement[Any]):
    """The sessions that may have a text in their title, by the index of titles, as a
    table with the column ``session_key``.

    Takes what the text is as a full-text query of its trigrams, and as a pattern.
    """

    inherit_cache = True


class Either(FunctionElement[Any]):
    """An expression for SQLite and one for PostgreSQL; the other is not compiled.

    Without a type: after one of type Boolean "= 1" would be written.
    """

    inherit_cache = True


class Both(FunctionElement[Any]):
    """Two expressions to order by, as one."""

    inherit_cache = True


class Unindexed(FunctionElement[Any]):
    """A value that no index is used for: behind a unary plus, on SQLite."""

    inherit_cache = True

    def __init__(self, value: ColumnElement[Any]) -> None:
        super().__init__(value)
        self.type = value.type


def _cast(element: Any, text: str) -> str:
    kind = element.type
    if isinstance(kind, BigInteger | Integer | Boolean):
        return f"CAST({text} AS BIGINT)"
    impl = getattr(kind, "impl", None)
    if isinstance(impl, BigInteger):
        return f"CAST({text} AS BIGINT)"
    return text


spelt(
    Elements,
    lambda _, array: f"json_each({array})",
    lambda _, array: f"json_array_elements(CAST({array} AS JSON))",
)
spelt(
    Element,
    lambda _, array, place: f"({array} ->> {place})",
    lambda element, array, place: _cast(element, f"({array} ->> {place})"),
)
spelt(
    Scalar,
    lambda _, element: element,
    lambda element, given: _cast(element, f"({given} #>> '{{}}')"),
)
spelt(
    Formatted,
    lambda _, *parts: f"printf({', '.join(parts)})",
    lambda _, *parts: f"format({', '.join(parts)})",
)
spelt(
    Joined,
    lambda _, text, by: f"group_concat({text}, {by})",
    lambda _, text, by: f"string_agg({text}, {by})",
)
spelt(
    Quoted,
    lambda _, text: f"json_quote({text})",
    lambda _, text: f"coalesce(CAST(to_json({text}) AS TEXT), 'null')",
)
spelt(
    OrNull,
    lambda _, value: f"coalesce({value}, 'null')",
    lambda _, value: f"coalesce(CAST({value} AS TEXT), 'null')",
)
spelt(
    Moment,
    lambda _, at: f"strftime('%Y-%m-%dT%H:%M:%S', {at}, 'unixepoch')",
    lambda _, at: (
        f"to_char(to_timestamp({at}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    ),
)
spelt(
    Seconds,
    lambda _, at: f"({at} / 1000000) || '.' || substr({at}, -6)",
    lambda _, at: f"({at} / 1000000) || '.' || right(CAST({at} AS TEXT), 6)",
)
spelt(
    Padded,
    lambda _, value: f"printf('%06d', {value})",
    lambda _, value: f"lpad(CAST({value} AS TEXT), 6, '0')",
)
spelt(
    Now,
    lambda _: "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)",
    lambda _: "CAST(extract(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
)
spelt(
    StorageClass,
    lambda _, value: f"typeof({value})",
    lambda _, value: f"CASE WHEN {value} IS NULL THEN 'null' ELSE '' END",
)
spelt(
    Raw,
    lambda _, value: f"CAST({value} AS BLOB)",
    lambda _, value: f"CAST({value} AS TEXT)",
)
spelt(
    Greatest,
    lambda _, *parts: f"max({', '.join(parts)})",
    lambda _, *parts: f"greatest({', '.join(parts)})",
)
spelt(
    Encoded,
    lambda _, text: f"CAST({text} AS BLOB)",
    lambda _, text: f"convert_to({text}, 'UTF8')",
)
spelt(
    Position,
    lambda _, text, part: f"instr({text}, {part})",
    lambda _, text, part: f"strpos({text}, {part})",
)
spelt(Both, lambda _, *parts: ", ".join(parts), lambda _, *parts: ", ".join(parts))
spelt(Unindexed, lambda _, value: f"+{value}", lambda _, value: value)


@compiles(Bytes, "postgresql")
def _octet_length(element: Any, compiler: Any, **options: Any) -> str:
    [text] = element.clauses
    return f"octet_length({compiler.process(text, **options)})"


@compiles(Bytes, "sqlite")
def _octet_length_or_cast(element: Any, compiler: Any, **options: Any) -> str:
    # From 3.43 on SQLite has a function that reads the size of a large text without
    # the text.
    version = getattr(compiler.dialect.dbapi, "sqlite_version_info", (0,))
    if version >= (3, 43):
        return _octet_length(element, compiler, **options)
    [text] = element.clauses
    return f"length(CAST({compiler.process(text, **options)} AS BLOB))"


@compiles(ValuesList, "sqlite")
def _values_list(element: Any, compiler: Any, **options: Any) -> str:
    row = ", ".join(compiler.process(each, **options) for each in element.clauses)
    return f"(VALUES ({row}))"


@compiles(Either, "sqlite")
def _first(element: Any, compiler: Any, **options: Any) -> str:
    written: str = compiler.process(element.clauses.clauses[0], **options)
    return written


@compiles(Either, "postgresql")
def _second(element: Any, compiler: Any, **options: Any) -> str:
    written: str = compiler.process(element.clauses.clauses[1], **options)
    return written


@compiles(Computed, "sqlite")
def _virtual(element: Any, compiler: Any, **options: Any) -> str:
    # SQLite adds no stored column to a table that is there.
    text = compiler.sql_compiler.process(
        element.sqltext, include_table=False, literal_binds=True
    )
    return f"GENERATED ALWAYS AS ({text}) VIRTUAL"


_TITLES: Final = table("session_titles", column("rowid"), column("session_titles"))
_SESSIONS: Final = table("sessions", column("session_key"), column("title_folded"))


@compiles(TitlesWith, "sqlite")
def _by_trigrams(element: Any, compiler: Any, **options: Any) -> str:
    query, _ = element.clauses
    found = select(_TITLES.c.rowid.label("session_key")).where(
        _TITLES.c.session_titles.op("MATCH")(query)
    )
    return f"({compiler.process(found, **options)})"


@compiles(TitlesWith, "postgresql")
def _by_pattern(element: Any, compiler: Any, **options: Any) -> str:
    _, pattern = element.clauses
    found = select(_SESSIONS.c.session_key).where(
        _SESSIONS.c.title_folded.like(pattern)
    )
    return f"({compiler.process(found, **options)})"
