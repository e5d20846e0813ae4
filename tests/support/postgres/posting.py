"""What forces an order on PostgreSQL: commands that write a table of their own, and
locks that are held from outside.

The commands need no table of the store, so the backend is tested without its rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import Connection

from tests.support.patience import patient, until
from turnstore.engine.commands import Command
from turnstore.engine.postgres.backend import PostgresBackend


class Note(Command[int], frozen=True):
    """Writes a row; the result is its number, from 1."""

    text: str = ""
    others: tuple[str, ...] = ()

    @property
    def session_ids(self) -> Collection[str]:
        return (self.session_id, *self.others)

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Note]) -> list[Any]:
        return [
            connection.exec_driver_sql(
                "INSERT INTO notes (session_id, text) VALUES ($1, $2) RETURNING number",
                (command.session_id, command.text),
            ).scalar_one()
            for command in commands
        ]


class Poison(Command[None], frozen=True):
    """Writes a row, then raises."""

    error: Exception

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Poison]) -> list[Any]:
        for command in commands:
            connection.exec_driver_sql("INSERT INTO notes (text) VALUES ('poison')")
            raise command.error
        return []


class Broken(Command[None], frozen=True):
    """Sends what the server refuses."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Broken]) -> list[Any]:
        connection.exec_driver_sql("INSERT INTO notes (number) VALUES (1), (1)")
        return [None] * len(commands)


class Barred(Command[str], frozen=True):
    """Waits for an advisory lock, by number, that somebody else holds."""

    key: int

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Barred]) -> list[Any]:
        for command in commands:
            connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock($1)", (command.key,)
            )
        return ["passed"] * len(commands)


def make_table(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS notes "
        "(number SERIAL PRIMARY KEY, session_id TEXT, text TEXT)"
    )


def lock_nothing(connection: Connection, session_ids: Collection[str]) -> None:
    """Stands for the locking of heads, where there are none."""


def texts(connection: Connection) -> list[str]:
    """Return the texts of the notes in the order they were written."""
    rows = connection.exec_driver_sql("SELECT text FROM notes ORDER BY number")
    return list(rows.scalars())


def sleep(connection: Connection) -> None:
    """Read for longer than any test takes."""
    connection.exec_driver_sql("SELECT pg_sleep(86400)")


async def sleeping(url: str) -> None:
    """Wait until a read sleeps."""
    connection = await asyncpg.connect(url)
    try:
        await until(
            lambda: connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                "AND datname = current_database()"
            )
        )
    finally:
        await connection.close()


async def blocked(connection: asyncpg.Connection, count: int = 1) -> None:
    """Wait until so many processes of the database wait for a lock."""
    await until(
        lambda: connection.fetchval(
            "SELECT count(DISTINCT pid) >= $1 FROM pg_locks WHERE NOT granted", count
        )
    )


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(url, patient(**options), lock_nothing)
    await backend.open(make_table)
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def barred(url: str, key: int = 1) -> AsyncIterator[asyncpg.Connection]:
    """Hold the lock that ``Barred`` waits for."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({key})")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held(
    backend: PostgresBackend, url: str, session_id: str = "gate", key: int = 1
) -> AsyncIterator[None]:
    """Keep a session's lane inside a batch: what is written there meanwhile waits."""
    async with barred(url, key) as connection:
        passing = asyncio.create_task(backend.write(Barred(session_id, 0, key)))
        await waiting_for_a_lock(connection, key)
        try:
            yield
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            assert await passing == "passed"


async def waiting_for_a_lock(connection: asyncpg.Connection, key: int) -> None:
    await until(
        lambda: connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND NOT granted AND objid = $1",
            key,
        )
    )


async def submitted(backend: PostgresBackend, depth: int) -> None:
    """Wait until exactly that many commands wait to be taken."""
    await until(lambda: backend.statistics().queue_depth == depth)


async def works(backend: PostgresBackend) -> None:
    """Check that nothing is left of what happened before."""
    assert backend.statistics().queue_depth == 0
    assert await backend.write(Note("works", 1, "works")) > 0
    waits = backend.statistics().reader_waits
    together = [backend.read(texts) for _ in range(backend._options.readers)]
    found = await asyncio.gather(*together)
    assert all("works" in each for each in found)
    assert backend.statistics().reader_waits == waits


async def connections(url: str, admin_url: str) -> int:
    """Count the server's connections to a database."""
    connection = await asyncpg.connect(admin_url)
    try:
        name = url.rsplit("/", 1)[1]
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name
        )
        return found
    finally:
        await connection.close()
