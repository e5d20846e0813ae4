"""A standby of a PostgreSQL server of the tests, and what holds it back.

It is a copy of the primary's data that replays the primary's log as it comes. Its
replay can be paused, which makes it as old as the test wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection

from tests.support.postgres.server import WITHOUT_SYNC, PostgresServer
from turnstore import SessionStore

TIMEOUT_S = 10.0
WAIT_S = 0.2
REPLICA_OPTIONS: dict[str, Any] = {"migrate": "check", "replica_wait_s": WAIT_S}


class Standby(PostgresServer):
    """:param name: as which the primary knows it, in ``synchronous_standby_names``.
    :param at: its port, where it comes in place of another server.
    """

    def __init__(
        self,
        primary: PostgresServer,
        name: str = "standby",
        settings: dict[str, str] = WITHOUT_SYNC,
        at: int | None = None,
    ) -> None:
        self._primary = primary
        self._name = name
        super().__init__(settings)
        self.port = at or self.port

    def _make_data(self) -> None:
        self.run(
            "pg_basebackup",
            "--pgdata",
            self._data,
            "--dbname",
            f"host=127.0.0.1 port={self._primary.port} user=postgres "
            f"application_name={self._name}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )

    def follow(self, primary: PostgresServer) -> None:
        """Have it follow another server; it must not be running."""
        self._settings = self._settings | {
            "primary_conninfo": f"host=127.0.0.1 port={primary.port} user=postgres "
            f"application_name={self._name}"
        }

    def promote(self) -> None:
        """Make it a primary, and wait until it is one."""
        self.run("pg_ctl", "promote", "--pgdata", self._data, "--wait")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    import asyncpg  # which may be missing where the tests are collected

    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def paused(standby: PostgresServer) -> AsyncIterator[None]:
    """Keep a standby from replaying anything that was not replayed before."""
    async with connected(standby.url()) as admin:
        await admin.execute("SELECT pg_wal_replay_pause()")
        async with asyncio.timeout(TIMEOUT_S):
            while not await admin.fetchval(  # noqa: ASYNC110
                "SELECT pg_get_wal_replay_pause_state() = 'paused'"
            ):
                await asyncio.sleep(0.002)
        try:
            yield
        finally:
            await resume(standby)


async def resume(standby: PostgresServer) -> None:
    async with connected(standby.url()) as admin:
        await admin.execute("SELECT pg_wal_replay_resume()")


async def caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until a standby has replayed what is on the primary now."""
    async with connected(primary.url()) as admin:
        position = await admin.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        # A commit, before which all of that is sent.
        await admin.execute("SELECT pg_logical_emit_message(true, '', '')")
    async with connected(standby.url()) as admin, asyncio.timeout(TIMEOUT_S):
        while not await admin.fetchval(  # noqa: ASYNC110
            "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position
        ):
            await asyncio.sleep(0.002)


def port(connection: Connection) -> int:
    """Return the port of the server that is read."""
    statement = "SELECT inet_server_port()"
    return int(connection.exec_driver_sql(statement).scalar_one())


async def server(store: SessionStore, *, snapshot: bool = False) -> int:
    """Return the port of the server that a store reads."""
    return await store._backend.read(port, snapshot=snapshot)


async def back_at(store: SessionStore, standby: Standby) -> None:
    """Wait until a store reads from the replica again."""
    async with asyncio.timeout(15):
        while await server(store) != standby.port:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def port_and_count(connection: Connection) -> tuple[int, int]:
    statement = "SELECT count(*) FROM events"
    found = connection.exec_driver_sql(statement).scalar_one()
    return port(connection), int(found)


def replica_url(database: str, postgres: PostgresServer, standby: Any) -> str:
    return database.replace(f":{postgres.port}/", f":{standby.port}/")
