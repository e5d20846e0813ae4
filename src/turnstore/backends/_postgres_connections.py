"""Connections to PostgreSQL, and how their transactions begin and end.

A connection keeps no state of a session: what a transaction needs is set inside it,
so that a pooler may give each transaction another server connection. SQLAlchemy is
told that every statement commits by itself; transactions are begun and ended here, by
statements that are not prepared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg
from sqlalchemy import Connection, NullPool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions

T = TypeVar("T")

STATEMENTS: Final = 100
"""Prepared statements that a connection keeps."""

SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
READ: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_URL_OPTIONS: Final = frozenset(
    (
        "application_name",
        "dbname",
        "host",
        "passfile",
        "password",
        "port",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "user",
    )
)


class _Dialect(PGDialect_asyncpg):
    """Without codecs for JSON columns, of which there are none: they cost every new
    connection several steps."""

    supports_statement_cache = True

    def on_connect(self) -> None:
        return None


registry.register("postgresql.turnstore", __name__, "_Dialect")


class PostgresConnection:
    """A connection, free of transactions unless ``begin`` was called."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self._connection = connection
        self.driver = driver

    async def begin(self, text: str) -> None:
        await self.driver.execute(text)

    async def run(self, work: Callable[[Connection], T]) -> T:
        return await self._connection.run_sync(work)

    async def commit(self) -> bool:
        """Tell whether it was; not so where the transaction had failed before."""
        return bool(await self.driver.execute("COMMIT") == "COMMIT")

    async def roll_back(self) -> None:
        # What was read inside it may never have been committed.
        self.forget()
        await self.driver.execute("ROLLBACK")

    def forget(self) -> None:
        assert self._connection.sync_connection is not None
        self._connection.sync_connection.info.clear()

    @property
    def is_closed(self) -> bool:
        return bool(self.driver.is_closed())

    async def close(self) -> None:
        """Say good-bye to the server, if it listens."""
        with suppress(Exception):  # it was closed by force then
            await self.driver.close(timeout=1)
        await self.discard()

    async def discard(self) -> None:
        """Close without a word, as what the server would answer is not known."""
        self.driver.terminate()
        await self._connection.close()


class Connector:
    """Makes connections to one database.

    :raises InvalidArgument: the URL is no good.
    """

    def __init__(self, url: str, options: StoreOptions) -> None:
        self._url = _checked(url)
        self._options = options
        self._engine = self._new_engine(options.answer_timeout_s)

    async def connect(self, *, is_patient: bool = False) -> PostgresConnection:
        """:param is_patient: wait for any answer as long as it takes."""
        engine = self._new_engine(None) if is_patient else self._engine
        connection = await engine.connect()
        raw = await connection.get_raw_connection()
        opened = PostgresConnection(connection, raw.driver_connection)
        try:
            await opened.roll_back()
        except BaseException:
            await opened.discard()
            raise
        return opened

    async def close(self) -> None:
        await self._engine.dispose()

    def _new_engine(self, answer_timeout_s: float | None) -> AsyncEngine:
        engine: AsyncEngine = create_async_engine(
            "postgresql+turnstore://",
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            creator=lambda: cast(Any, engine.dialect.dbapi).connect(
                async_creator_fn=partial(self._connect, answer_timeout_s)
            ),
        )
        return engine

    async def _connect(self, answer_timeout_s: float | None) -> Any:
        driver = await asyncpg.connect(
            self._url,
            timeout=self._options.answer_timeout_s,
            command_timeout=answer_timeout_s,
            # Without a cache statements have no name, and are sent along with their
            # values each time: nothing of them is left to another transaction.
            statement_cache_size=0 if self._options.behind_pooler else STATEMENTS,
        )
        # What SQLAlchemy asks of a new connection is asked inside a transaction too.
        try:
            await driver.execute("BEGIN")
        except BaseException:
            driver.terminate()
            raise
        return driver


def write_text(options: StoreOptions, server_commits: str) -> str:
    """Return how a writing transaction begins.

    :param server_commits: the server's own synchronous_commit.
    """
    busy_ms = max(1, int(options.busy_timeout_s * 1_000))
    # A writer that is cut off must not keep its locks.
    idle_ms = max(1, int(options.answer_timeout_s * 1_000))
    if options.durability == "normal":
        commits = "off"
    else:
        commits = "remote_apply" if server_commits == "remote_apply" else "on"
    return (
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
        f"SET LOCAL synchronous_commit = {commits}; "
        f"SET LOCAL lock_timeout = {busy_ms}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {idle_ms}"
    )


async def settle(task: asyncio.Future[Any]) -> None:
    """Wait for a task, whatever becomes of it."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, which checks it
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InvalidArgument(f"the URL does not parse: {error}") from None
    unknown = sorted(set(options) - _URL_OPTIONS)
    if unknown:
        raise InvalidArgument(
            f"unknown options in the URL: {', '.join(unknown)}; there are "
            f"{', '.join(sorted(_URL_OPTIONS))}"
        )
    return url
