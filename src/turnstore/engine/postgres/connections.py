"""Connections to PostgreSQL, and how their transactions begin and end.

Behind a pooler, which may give each transaction another server connection, a connection
keeps no state of a session: what a transaction needs is set inside it, nothing is
prepared, and nothing is set as the connection begins. A pooler is detected by comparing
the process id of the handshake with ``pg_backend_pid()``: poolers invent one.

SQLAlchemy is told that every statement commits by itself; transactions are begun and
ended here, by statements that are not prepared.

Of several hosts each gets a part of the time, beginning with the one that served last.
A server is asked what it is on every new connection: who writes takes a primary alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, NullPool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from turnstore.engine.commands import forget
from turnstore.engine.postgres.errors import NoHostWillDo, NoSuchServer, sqlstate
from turnstore.engine.postgres.hosts import MISSING, Host, Hosts, Purpose
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.values import shown

T = TypeVar("T")

STATEMENTS: Final = 100
"""Prepared statements that a connection keeps."""

SETTINGS: Final = {
    # Planning a page of a listing anew for its values takes up to 1 ms, and no plan
    # here depends on them. (bench: postgres_listing)
    "plan_cache_mode": "force_generic_plan",
}
"""What a session is set to as its connection begins; not behind a pooler, which refuses
or drops it."""

_PROCESS: Final = "SELECT pg_backend_pid()"
SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
READ: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_FILE_FORMATS: Final = ("X509", "PEM")
"""Parts of OpenSSL that read certificates and keys."""
_WARNING: Final = "01000"
_WAITS_FOR_STANDBYS: Final = "syncrep.c"
"""The server's source that warns when it was told to wait for its standby no longer."""


class _Dialect(PGDialect_asyncpg):
    """Without codecs for JSON columns, of which there are none: they cost every new
    connection several steps."""

    supports_statement_cache = True
    is_distributed: bool = False
    """Whether the tables lie on several servers: some statements differ then."""

    def on_connect(self) -> None:
        return None


registry.register("postgresql.turnstore", __name__, "_Dialect")


class PostgresConnection:
    """A connection, free of transactions unless ``begin`` was called.

    :param ended: called after each commit, whether it succeeded or not.
    :param discarded: called with it once it is closed.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        driver: Any,
        ended: Callable[[], None],
        discarded: Callable[[PostgresConnection], None],
    ) -> None:
        self._connection = connection
        self.driver = driver
        self._ended = ended
        self._discarded = discarded
        self._is_alone = False
        driver.add_log_listener(self._warned)

    async def begin(self, text: str) -> None:
        await self.driver.execute(text)

    async def run(self, work: Callable[[Connection], T]) -> T:
        return await self._connection.run_sync(work)

    async def commit(self) -> bool:
        """Tell whether it was; not so where the transaction had failed before."""
        return bool(await self._committing(self.driver.execute("COMMIT")) == "COMMIT")

    async def commit_single_statement(self, work: Callable[[Connection], T]) -> T:
        """Run work whose one statement is its own transaction."""
        return await self._committing(self.run(work))

    async def _committing(self, step: Awaitable[T]) -> T:
        self._is_alone = False
        try:
            result = await step
        finally:
            self._ended()
        if self._is_alone:
            # It is on the primary, and on no standby that should have it: whoever is
            # promoted may not know of it.
            raise ConnectionError("the server stopped waiting for its standby")
        return result

    def _warned(self, _driver: Any, message: Any) -> None:
        # The code is that of any warning: a trigger's, or of the server's upkeep.
        self._is_alone |= (
            message.sqlstate == _WARNING
            and message.server_source_filename == _WAITS_FOR_STANDBYS
        )

    async def roll_back(self) -> None:
        self.forget()
        await self.driver.execute("ROLLBACK")

    def forget(self) -> None:
        assert self._connection.sync_connection is not None
        forget(self._connection.sync_connection)

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
        self._discarded(self)


_DISCARDING: Final[set[asyncio.Future[None]]] = set()
"""What would be forgotten while it runs, as nobody waits for it."""


class Connector:
    """Makes connections to one database.

    :param purpose: None: what the options say.
    :param connect_timeout_s: longest wait for one host; None: as many hosts as there
        are can be tried within ``busy_timeout_s``, each of them for a second at least.
    :raises InvalidArgument: the URL is no good.
    """

    def __init__(
        self,
        url: str,
        options: StoreOptions,
        purpose: Purpose | None = None,
        connect_timeout_s: float | None = None,
    ) -> None:
        if purpose is None:
            purpose = Purpose.READING if options.read_only else Purpose.WRITING
        self._url = url
        self._hosts = Hosts(url, purpose)
        self._options = options
        if connect_timeout_s is None:
            connect_timeout_s = options.answer_timeout_s
            if len(self._hosts) > 1:
                share_s = max(1.0, options.busy_timeout_s / len(self._hosts))
                connect_timeout_s = min(connect_timeout_s, share_s)
        self._connect_timeout_s = connect_timeout_s
        self.is_pooled = bool(options.behind_pooler)
        """Whether a pooler is in between, as far as is known yet."""
        self._engine = self._new_engine(options.answer_timeout_s)
        self._connected: set[PostgresConnection] = set()
        self.committed: Callable[[], None] = _nothing
        """Called after each commit on one of these connections, also where its answer
        was lost, and before anybody learns of it; once more when somebody does."""

    async def connect(self, *, is_patient: bool = False) -> PostgresConnection:
        """:param is_patient: wait for any answer as long as it takes."""
        engine = self._new_engine(None) if is_patient else self._engine
        connection = await engine.connect()
        raw = await connection.get_raw_connection()
        opened = PostgresConnection(
            connection, raw.driver_connection, self._ended, self._connected.discard
        )
        self._connected.add(opened)
        try:
            await opened.roll_back()
        except BaseException:
            await opened.discard()
            raise
        return opened

    def let_go(self) -> None:
        """Disconnect, when nobody can close the connections any more."""
        for each in self._connected:
            task = asyncio.ensure_future(each.discard())
            _DISCARDING.add(task)
            task.add_done_callback(_DISCARDING.discard)

    def _ended(self) -> None:
        self.committed()

    def set_distributed(self) -> None:
        """From now on, on all connections, tables are distributed by session."""
        cast(_Dialect, self._engine.dialect).is_distributed = True

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
        """Connect to the first host that is what is wanted."""
        refused: Exception | None = None
        for wanted in self._hosts.wanted:
            for host in self._hosts.in_order():
                try:
                    driver = await self._connect_to(host, wanted, answer_timeout_s)
                except Exception as error:
                    _check_tls(error, self._hosts.missing_file())
                    # What a server says tells more than that another is not there.
                    if refused is None or sqlstate(refused) is None:
                        refused = error
                else:
                    self._hosts.prefer(host)
                    return driver
        assert refused is not None
        if len(self._hosts) > 1:
            raise NoHostWillDo from refused
        raise refused

    async def _connect_to(
        self, host: Host, wanted: str, answer_timeout_s: float | None
    ) -> Any:
        if not self.is_pooled:
            driver = await self._connect_directly(host, wanted, answer_timeout_s)
            if driver is not None:
                return driver
        driver = await self._new_driver(host, wanted, answer_timeout_s, is_pooled=True)
        if self._options.behind_pooler is False:
            driver.terminate()
            raise InvalidArgument(
                "a pooler refuses the setting plan_cache_mode: have it ignore that if "
                "it leaves a client its connection, else leave behind_pooler out"
            )
        self.is_pooled = True
        return driver

    async def _connect_directly(
        self, host: Host, wanted: str, answer_timeout_s: float | None
    ) -> Any:
        """Connect without a pooler in between; None: what is there may be one."""
        try:
            driver = await self._new_driver(
                host, wanted, answer_timeout_s, is_pooled=False
            )
        except asyncpg.ProtocolViolationError:
            # So a pooler refuses SETTINGS. It refuses other things by the same code,
            # which it will say again to who comes without them.
            return None
        may_be_pooled = self._options.behind_pooler is None
        if may_be_pooled and not await self._is_of_server(driver):
            driver.terminate()
            return None
        return driver

    async def _is_of_server(self, driver: Any) -> bool:
        timeout_s = self._connect_timeout_s
        try:
            # Without a name, or it would stay with a pooler's server.
            asked = await driver.prepare(_PROCESS, name="", timeout=timeout_s)
            pid = await asked.fetchval(timeout=timeout_s)
            if pid != driver.get_server_pid():
                await driver.execute("ROLLBACK", timeout=timeout_s)
        except BaseException:
            driver.terminate()
            raise
        return bool(pid == driver.get_server_pid())

    async def _new_driver(
        self,
        host: Host,
        wanted: str,
        answer_timeout_s: float | None,
        *,
        is_pooled: bool,
    ) -> Any:
        driver = await asyncpg.connect(
            self._url,
            host=host.name,
            port=host.port,
            timeout=self._connect_timeout_s,
            command_timeout=answer_timeout_s,
            database=self._hosts.database,
            server_settings={
                "application_name": self._hosts.application_name,
                **({} if is_pooled else SETTINGS),
            },
            # Without a cache statements have no name, and are sent along with their
            # values each time: nothing of them is left to another transaction.
            statement_cache_size=0 if is_pooled else STATEMENTS,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            # Asked below, in one transaction with what SQLAlchemy asks of a new
            # connection: behind a pooler the next one may be of another server.
            target_session_attrs="any",
        )
        try:
            done = await driver.execute(
                "BEGIN; " + wanted, timeout=self._connect_timeout_s
            )
            if done != "SELECT 1":
                raise NoSuchServer(MISSING[self._hosts.purpose])
        except BaseException:
            driver.terminate()
            raise
        return driver


def _check_tls(error: Exception, missing_file: str | None) -> None:
    """:raises InvalidArgument: TLS fails for what the URL says, and will again."""
    if missing_file is not None and isinstance(error, OSError | ValueError):
        raise InvalidArgument(
            f"the URL names a file for TLS that can't be read: {shown(missing_file)}"
        ) from error
    if isinstance(error, ssl.SSLCertVerificationError):
        raise InvalidArgument(
            "the server's certificate is not one that sslrootcert vouches for, or is "
            "of another host: mend sslrootcert, the host or sslmode in the URL"
        ) from error
    is_of_a_file = isinstance(error, ssl.SSLError) and error.library in _FILE_FORMATS
    if is_of_a_file or isinstance(error, asyncpg.ClientConfigurationError):
        raise InvalidArgument(
            "the driver does not take the URL: look at its TLS files, sslmode and "
            "passfile"
        ) from error


def write_settings(options: StoreOptions, server_commits: str) -> dict[str, str]:
    """Return what a writing transaction is set to, by name.

    :param server_commits: the server's own synchronous_commit.
    """
    # Before its client gives up waiting for an answer, and can't tell the outcome.
    busy_s = min(options.busy_timeout_s, 0.8 * options.answer_timeout_s)
    busy_ms = max(1, int(busy_s * 1_000))
    idle_ms = max(1, int(options.answer_timeout_s * 1_000))
    if options.durability == "normal":
        commits = "off"
    else:
        commits = "remote_apply" if server_commits == "remote_apply" else "on"
    return {
        "synchronous_commit": commits,
        # That it gave up waiting for its standby must be heard.
        "client_min_messages": "warning",
        "lock_timeout": str(busy_ms),
        # A writer that is cut off must not keep its locks.
        "idle_in_transaction_session_timeout": str(idle_ms),
    }


def write_text(settings: Mapping[str, str]) -> str:
    """Return how a writing transaction begins."""
    begin = ["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"]
    begin += [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    return "; ".join(begin)


def _nothing() -> None:
    pass
