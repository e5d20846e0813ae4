"""What forces an order: a table of notes, commands that write it, and a gate.

The commands need no table of the store, so a backend is tested without its rooms.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tests.support.patience import LIMIT_S, patient, until
from turnstore.engine.commands import Command
from turnstore.engine.sqlite.backend import SqliteBackend


class Note(Command[int], frozen=True):
    """Writes a row; the result is its number, from 1."""

    text: str = ""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Note]) -> list[Any]:
        return [
            connection.exec_driver_sql(
                "INSERT INTO notes (session_id, text) VALUES (?, ?)",
                (command.session_id, command.text),
            ).lastrowid
            for command in commands
        ]


class Poison(Command[None], frozen=True):
    """Writes a row, then raises."""

    error: Exception

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Poison]) -> list[Any]:
        for command in commands:
            connection.exec_driver_sql("INSERT INTO notes VALUES (NULL, 'p', 'p')")
            raise command.error
        return []


class Gate(Command[str], frozen=True):
    """Keeps its batch from being committed until ``opened`` is set."""

    entered: threading.Event
    opened: threading.Event

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Gate]) -> list[Any]:
        for command in commands:
            command.entered.set()
            assert command.opened.wait(LIMIT_S), "nobody opened the gate"
        return ["passed"] * len(commands)


def new_gate() -> Gate:
    return Gate("gate", 0, threading.Event(), threading.Event())


def make_table(connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS notes "
        "(number INTEGER PRIMARY KEY, session_id TEXT, text TEXT)"
    )


def texts(connection: Connection) -> list[str]:
    """Return the texts of the notes in the order they were written."""
    rows = connection.exec_driver_sql("SELECT text FROM notes ORDER BY number")
    return list(rows.scalars())


@asynccontextmanager
async def opened(path: Path | None, **options: Any) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(path, patient(**options))
    await backend.open(make_table)
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def held(backend: SqliteBackend) -> AsyncIterator[None]:
    """Keep the writer inside a batch: what is written meanwhile waits in the queue."""
    gate = new_gate()
    passing = asyncio.create_task(backend.write(gate))
    await until(gate.entered.is_set)
    try:
        yield
    finally:
        gate.opened.set()
        assert await passing == "passed"


async def submitted(backend: SqliteBackend, depth: int) -> None:
    """Wait until exactly that many commands wait to be taken."""
    await until(lambda: backend.statistics().queue_depth == depth)


async def works(backend: SqliteBackend) -> None:
    """Check that nothing is left of what happened before: no queue, every reader
    idle, the next write and the next reads served at once."""
    assert backend.statistics().queue_depth == 0
    assert await backend.write(Note("works", 1, "works")) > 0
    waits = backend.statistics().reader_waits
    readers = backend._options.readers
    together = [backend.read(texts) for _ in range(readers)]
    found = await asyncio.gather(*together)
    assert all(each[-1] == "works" for each in found)
    assert backend.statistics().reader_waits == waits
