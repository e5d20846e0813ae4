"""What goes in from a koda file comes out again, cell by cell."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from koda_files import BUILDERS
from koda_tables import ADDED, FIRST, LATER, KodaFile
from odd_values import ODD_IDS, scatter
from reading import read_all
from round_trip import check_round_trip

from turnstore import SessionStore
from turnstore.transfer import import_file

pytestmark = pytest.mark.anyio

SESSIONS = (*ODD_IDS, *"abcdefgh")
TABLES = ("sessions", "messages", "session_metadata", "session_events", "tasks")


@pytest.mark.parametrize("name", BUILDERS)
async def test_nothing_is_lost(store: SessionStore, tmp_path: Path, name: str) -> None:
    path = BUILDERS[name](tmp_path / "koda.sqlite")

    await check_round_trip(store, path, "koda")


@pytest.mark.parametrize("name", BUILDERS)
async def test_a_second_import_adds_nothing(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    path = BUILDERS[name](tmp_path / "koda.sqlite")
    first = await import_file(store, path)

    again = await import_file(store, path)

    assert (again.sessions, again.messages, again.rows_kept) == (0, 0, 0)
    assert again.sessions_skipped == first.sessions
    assert again.problems == ()


@pytest.mark.parametrize("name", BUILDERS)
async def test_all_that_was_imported_can_be_read(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    report = await import_file(store, BUILDERS[name](tmp_path / "koda.sqlite"))

    assert await read_all(store) == report.sessions


async def test_any_cells_come_back(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    file = KodaFile(tmp_path / "koda.sqlite", FIRST, ADDED, LATER)
    scatter(file.connection, rng, SESSIONS, TABLES)

    await check_round_trip(store, file.close(), "koda")

    await read_all(store)
