"""What goes in from any file comes out again, cell by cell; tests/postgres has the
same for PostgreSQL."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import anyio
from hypothesis import given, settings

from tests.support.files.any_cell import (
    MICROAGENTS,
    NOCODO,
    microagents_file,
    nocodo_file,
)
from tests.support.files.every_file import EveryFile
from tests.support.transfer.round_trip import check_round_trip
from turnstore.store import SessionStore


class TestSqlite(EveryFile):
    """With a store in a file."""


# Any cell that SQLite holds


async def check(path: Path, system: str) -> None:
    async with SessionStore("sqlite://") as store:
        await check_round_trip(store, path, system)


@settings(max_examples=40)
@given(tables=NOCODO)
def test_any_nocodo_file_comes_back(tables: dict[str, list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(check, nocodo_file(folder, tables), "nocodo")


@settings(max_examples=60)
@given(events=MICROAGENTS)
def test_any_microagents_file_comes_back(events: list[tuple[Any, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(check, microagents_file(folder, events), "microagents")
