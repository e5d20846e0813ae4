"""A Core statement as text, compiled once for each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Executable

Value = str | int | None
"""Of a parameter."""


class Compiled:
    """A Core statement compiled once per dialect, with its parameters' order.

    :param statement: or what makes it when it is first used: the expressions of all
        statements of this package are some 40,000 objects, which every full garbage
        collection would look at.
    """

    def __init__(self, statement: Executable | Callable[[], Executable]) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Callable[..., tuple[Any, ...]]]] = {}

    def run_raw(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> Iterable[Sequence[Any]]:
        """Run it past SQLAlchemy, by the driver; return its rows, if it gives any."""
        # SQLAlchemy's execution costs about 12 µs a statement, a third of a write that
        # is committed alone (bench: append at 1), and its cursor on asyncpg 15 to 20
        # more.
        text, arrange = self._text(connection.dialect)
        given = arrange(values)
        if connection.dialect.name == "sqlite":
            found: Iterable[Sequence[Any]]
            found = connection.connection.cursor().execute(text, given)
        else:
            driver: Any = connection.connection.dbapi_connection
            found = driver.run_async(lambda asyncpg: asyncpg.fetch(text, *given))
        return found

    def run_raw_each(
        self, connection: Connection, values: Sequence[Mapping[str, Any]]
    ) -> None:
        text, arrange = self._text(connection.dialect)
        connection.connection.cursor().executemany(
            text, [arrange(each) for each in values]
        )

    def text(self, dialect: Dialect) -> str:
        return self._text(dialect)[0]

    def _text(
        self, dialect: Dialect
    ) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        return compiled

    def _compile(
        self, dialect: Dialect
    ) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
        statement: Any = self._statement
        if not isinstance(statement, Executable):
            statement = statement()
        compiled = statement.compile(
            dialect=dialect, compile_kwargs={"render_postcompile": True}
        )
        names = tuple(compiled.positiontup or ())
        fixed = {
            name: value for name, value in compiled.params.items() if value is not None
        }

        def arrange(values: Mapping[str, Any]) -> tuple[Any, ...]:
            if not fixed:
                return tuple([values[name] for name in names])
            return tuple(
                [fixed[name] if name in fixed else values[name] for name in names]
            )

        return str(compiled), arrange
