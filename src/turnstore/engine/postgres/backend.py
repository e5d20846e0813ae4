"""PostgreSQL: writing lanes with group commit, a pool of reading connections.

Who may do what::

    lanes     BEGIN, lock heads in order of keys, a batch, COMMIT; or one statement
    readers   one statement, or a snapshot of several
    replica   the same on another server, where it has what a read must see
    notices   LISTEN for other stores, NOTIFY after commits

A session is always written by the same lane while it has writes under way, so its
writes keep their order. Other processes have lanes of their own: what a batch reads of
a session it reads after it has locked that session's head.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, case, cast, column, exists, func, select, table
from sqlalchemy import Text as TextType

from turnstore.engine.backend import (
    IsReady,
    Listener,
    LockSessions,
    Prepare,
    Progress,
)
from turnstore.engine.base import Engine
from turnstore.engine.commands import Command
from turnstore.engine.postgres.connections import (
    READ,
    Connector,
    PostgresConnection,
    write_settings,
    write_text,
)
from turnstore.engine.postgres.errors import translate
from turnstore.engine.postgres.lanes import Lane
from turnstore.engine.postgres.notices import Notices
from turnstore.engine.postgres.readers import PostgresReaders
from turnstore.engine.postgres.replica import Replica, connector_to
from turnstore.engine.postgres.routes import LaneRouter
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.records import StoreStatistics

R = TypeVar("R")
T = TypeVar("T")

MIGRATION_LOCK: Final = 0x74756E73_746F7265  # "tunstore"


ENCODINGS: Final = ("UTF8", "SQL_ASCII")
"""Of databases that take every text; the second one keeps bytes as they come."""


class PostgresBackend(Engine):
    """:param url: of the database.
    :param lock: locks the heads of sessions, by id, in the order of their keys.
    """

    forked_reason = "the store was opened before fork(): open another one in the child"

    def __init__(self, url: str, options: StoreOptions, lock: LockSessions) -> None:
        super().__init__(options)
        self._lock = lock
        self._connector = Connector(url, options)
        self._replica_connector: Connector | None = None
        if options.read_url is not None:
            self._replica_connector = connector_to(options.read_url, options)
        self._library = "PostgreSQL"
        self._lanes: list[Lane] = []
        self._routes: LaneRouter | None = None
        self._readers: PostgresReaders | None = None
        self._replica: Replica | None = None
        self._notices: Notices | None = None
        self._visible: str | None = None  # when it was last asked for

    # Opening and closing

    async def _open(
        self, prepare: Prepare, is_ready: IsReady, loop: asyncio.AbstractEventLoop
    ) -> None:
        # A cancellation ends it: an upgrade may wait for an answer without end.
        options = self._options
        try:
            if options.migrate == "auto":
                upgrading = await self._connector.connect(is_patient=True)
                await self._using(upgrading, prepare)
                await upgrading.close()
            connection = await self._connector.connect()
            server = await self._using(connection, prepare)
        except Exception as error:
            translated = translate(error)
            raise translated from translated.__cause__
        readers = PostgresReaders(self._connector, [connection], options, loop)
        self._readers = readers
        if self._replica_connector is not None:
            self._replica = Replica(self._replica_connector, readers, options, loop)
            self._connector.committed = self._replica.mark
        self._notices = Notices(self._connector, loop)
        if options.read_only:
            return
        settings = write_settings(options, server.commits)
        if not server.takes_nulls:
            settings["array_nulls"] = "on"
        self._routes = LaneRouter(options.lanes, options, loop)
        committed = self._notices.committed
        self._lanes = [
            Lane(
                self._connector,
                settings,
                server.is_plain,
                self._lock,
                committed,
                options,
                loop,
            )
            for _ in range(options.lanes)
        ]
        self._writers = [lane.writer for lane in self._lanes]

    async def _using(self, connection: PostgresConnection, prepare: Prepare) -> _Server:
        try:
            return await self._prepare(connection, prepare)
        except BaseException:
            await connection.discard()
            raise

    async def _prepare(
        self, connection: PostgresConnection, prepare: Prepare
    ) -> _Server:
        """Bring the schema up to date, or check it; return what the server is."""
        await connection.begin(READ)
        server = await connection.run(_about_the_server)
        await connection.commit()
        if server.encoding not in ENCODINGS:
            raise InvalidArgument(
                f"the database has encoding {server.encoding}, in which not every text "
                f"can be kept: make one with UTF8"
            )
        for connector in (self._connector, self._replica_connector):
            if server.is_distributed and connector is not None:
                connector.set_distributed()
        if self._options.read_only:
            await connection.begin(READ)
            await connection.run(prepare)
        else:
            await connection.begin(write_text(write_settings(self._options, "on")))
            await connection.run(partial(_prepare_alone, prepare))
        await connection.commit()
        self._library = f"PostgreSQL {server.version} by asyncpg"
        return server

    async def _disconnect(self) -> None:
        timeout_s = self._options.close_timeout_s
        if self._routes is not None:
            began_s = time.monotonic()
            await self._routes.close(timeout_s)
            left_s = max(0.0, timeout_s - (time.monotonic() - began_s))
            await asyncio.gather(*(lane.close(left_s) for lane in self._lanes))
        if self._notices is not None:
            await self._notices.close()
        if self._replica is not None:
            await self._replica.close(timeout_s)
        if self._readers is not None:
            await self._readers.close(timeout_s)
        await self._connector.close()
        if self._replica_connector is not None:
            await self._replica_connector.close()

    # Reading

    def read(
        self, work: Callable[[Connection], T], *, snapshot: bool = False
    ) -> Coroutine[Any, Any, T]:
        self._check_open()
        readers = self._replica or self._readers
        assert readers is not None
        return readers.run(work, snapshot)

    # Writing

    async def _write(self, command: Command[R]) -> R:
        assert self._routes is not None
        ids = command.session_ids
        lane = self._routes.enter(command, ids)
        if lane is None:
            lane = await self._routes.wait(command, ids)
        try:
            return await self._writers[lane].write(command)
        finally:
            self._routes.leave(ids)

    def listen(
        self, listener: Listener | None, heard: Callable[[], None] | None = None
    ) -> None:
        super().listen(listener, heard)
        if self._notices is not None:
            self._notices.listen(heard)

    async def data_version(self) -> Hashable:
        """Return which transactions are visible, of all stores and this one.

        The primary says so. Where there is something new, what is read then waits for
        the replica to have it, or is read on the primary too.
        """
        self._check_open()
        assert self._readers is not None
        visible = await self._readers.run(_visible, False)
        if self._replica is not None and visible != self._visible:
            self._replica.mark()
        self._visible = visible
        return visible

    # Maintenance

    async def backup(self, path: Path, on_progress: Progress | None = None) -> None:
        self._check_open()
        raise InvalidArgument("back PostgreSQL up with its own tools: pg_dump")

    async def checkpoint(self) -> bool:
        """Nothing is kept beside the database."""
        self._check_writable()
        return True

    async def check(self) -> list[str]:
        """The server keeps watch over its own files."""
        self._check_open()
        return []

    async def reclaim(self) -> None:
        """Autovacuum gives free space back."""
        self._check_writable()

    # Facts

    def statistics(self) -> StoreStatistics:
        waits = self._readers.waits if self._readers else 0
        return self._statistics(
            library=self._library,
            waiting=self._routes.depth if self._routes else 0,
            reader_waits=waits + (self._replica.waits if self._replica else 0),
            wal_bytes=0,
        )

    def _let_go(self) -> None:
        if self._loop is None or self._loop.is_closed():
            return  # its transports close with it
        ends = [each.let_go for each in (self._notices, self._connector) if each]
        if self._replica_connector is not None:
            ends.append(self._replica_connector.let_go)
        for end in ends:
            self._loop.call_soon_threadsafe(end)


def _prepare_alone(prepare: Prepare, conn: Connection) -> None:
    conn.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    prepare(conn)


class _Server(NamedTuple):
    """
    :param commits: its synchronous_commit.
    :param takes_nulls: whether NULL in an array is one, and not text. Where not, each
        writing transaction says so.
    :param is_plain: whether a transaction that is not told otherwise is read committed
        and may write, as it was when the store was opened. Where that changes, a batch
        of one statement fails, and is applied by several on a new connection.
    """

    version: str
    encoding: str
    commits: str
    is_plain: bool
    is_distributed: bool
    takes_nulls: bool


def _about_the_server(connection: Connection) -> _Server:
    version, encoding, commits, isolation, read_only, nulls, citus = connection.execute(
        select(
            func.current_setting("server_version"),
            func.current_setting("server_encoding"),
            func.current_setting("synchronous_commit"),
            func.current_setting("default_transaction_isolation"),
            func.current_setting("default_transaction_read_only"),
            func.current_setting("array_nulls"),
            cast(func.to_regclass(_PARTITIONS.name), TextType()),
        )
    ).one()
    # Asked apart: where there is no Citus it could not even be parsed.
    is_distributed = citus is not None and connection.execute(_DISTRIBUTED).scalar_one()
    is_plain = (isolation, read_only, nulls) == ("read committed", "off", "on")
    return _Server(
        version=str(version).split()[0],
        encoding=encoding,
        commits=commits,
        is_plain=is_plain,
        is_distributed=bool(is_distributed),
        takes_nulls=nulls == "on",
    )


def _visible(connection: Connection) -> str:
    return str(connection.execute(_SNAPSHOT).scalar_one())


_PARTITIONS: Final = table("pg_dist_partition", column("logicalrelid"))
_DISTRIBUTED: Final = select(
    exists().where(_PARTITIONS.c.logicalrelid == func.to_regclass("session_heads"))
)
# A standby's snapshot does not tell which of the transactions that began before its
# newest are still under way, so one of them may end without a trace in it.
_SNAPSHOT: Final = select(
    case(
        (
            func.pg_is_in_recovery(),
            cast(func.pg_last_wal_replay_lsn(), TextType()),
        ),
        else_=cast(func.pg_current_snapshot(), TextType()),
    )
)
