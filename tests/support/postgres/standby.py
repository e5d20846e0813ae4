"""A standby of a PostgreSQL server of the tests, and what holds it back.

It is a copy of the primary's data that replays the primary's log as it comes. Its
replay can be paused, which makes it as old as the test wants.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from tests.support.patience import LIMIT_S, PATIENT, until
from tests.support.postgres.server import WITHOUT_SYNC, PostgresServer
from turnstore import SessionStore
from turnstore.engine.postgres import replica

REPLICA_OPTIONS: dict[str, Any] = {"migrate": "check", **PATIENT}


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
        await until(
            lambda: admin.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'")
        )
        try:
            yield
        finally:
            await resume(standby)


@contextmanager
def impatient(store: SessionStore) -> Iterator[None]:
    """Have a store's reads not wait for its replica."""
    readers = store._backend._replica._readers  # type: ignore[attr-defined]
    patient = readers._options
    readers._options = msgspec.structs.replace(patient, replica_wait_s=0)
    try:
        yield
    finally:
        readers._options = patient


@asynccontextmanager
async def lagging(standby: PostgresServer, store: SessionStore) -> AsyncIterator[None]:
    """Pause a standby that a store's reads do not wait for."""
    async with paused(standby):
        with impatient(store):
            yield


async def resume(standby: PostgresServer) -> None:
    async with connected(standby.url()) as admin:
        await admin.execute("SELECT pg_wal_replay_resume()")


async def caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until a standby has replayed what is on the primary now."""
    async with connected(primary.url()) as admin:
        position = await admin.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        # A commit, before which all of that is sent.
        await admin.execute("SELECT pg_logical_emit_message(true, '', '')")
    await replayed(standby, position)


async def replayed(standby: PostgresServer, position: str) -> None:
    """Wait until a standby has replayed the log up to there."""
    async with connected(standby.url()) as admin:
        await until(
            lambda: admin.fetchval(
                "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position
            )
        )


def port(connection: Connection) -> int:
    """Return the port of the server that is read."""
    statement = "SELECT inet_server_port()"
    return int(connection.exec_driver_sql(statement).scalar_one())


async def server(store: SessionStore, *, snapshot: bool = False) -> int:
    """Return the port of the server that a store reads."""
    return await store._backend.read(port, snapshot=snapshot)


async def back_at(store: SessionStore, standby: Standby) -> None:
    """Wait until a store reads from the replica again."""

    async def is_back() -> bool:
        return await server(store) == standby.port

    await until(is_back)


def leave_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stores leave a replica that failed alone for as long as a test takes."""
    for name in ("FIRST_ABSENCE_S", "LONGEST_ABSENCE_S"):
        monkeypatch.setattr(replica, name, 10 * LIMIT_S)


def port_and_count(connection: Connection) -> tuple[int, int]:
    statement = "SELECT count(*) FROM events"
    found = connection.exec_driver_sql(statement).scalar_one()
    return port(connection), int(found)


def replica_url(database: str, postgres: PostgresServer, standby: Any) -> str:
    return database.replace(f":{postgres.port}/", f":{standby.port}/")
