"""What goes in from a steer file comes out again, cell by cell."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from odd_values import ODD_IDS, scatter
from reading import read_all
from round_trip import check_round_trip
from steer_files import BUILDERS
from steer_tables import DOMAIN, EARLY, REST, TRIGGER, SteerFile

from turnstore import SessionStore
from turnstore.transfer import import_file

pytestmark = pytest.mark.anyio

SESSIONS = (*ODD_IDS, *"abcdefgh")
TABLES = ("sessions", "messages", "tool_calls", "events", "session_snapshots")


@pytest.mark.parametrize("name", BUILDERS)
async def test_nothing_is_lost(store: SessionStore, tmp_path: Path, name: str) -> None:
    path = BUILDERS[name](tmp_path / "steer.sqlite")

    await check_round_trip(store, path, "steer")


@pytest.mark.parametrize("name", BUILDERS)
async def test_a_second_import_adds_nothing(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    path = BUILDERS[name](tmp_path / "steer.sqlite")
    first = await import_file(store, path)

    again = await import_file(store, path)

    assert (again.sessions, again.messages, again.rows_kept) == (0, 0, 0)
    assert again.sessions_skipped == first.sessions
    assert again.problems == ()


@pytest.mark.parametrize("name", BUILDERS)
async def test_all_that_was_imported_can_be_read(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    report = await import_file(store, BUILDERS[name](tmp_path / "steer.sqlite"))

    assert await read_all(store) == report.sessions


async def test_any_cells_come_back(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    file = SteerFile(tmp_path / "steer.sqlite", EARLY, TRIGGER, REST)
    scatter(file.connection, rng, SESSIONS, TABLES)

    await check_round_trip(store, file.close(), "steer")

    await read_all(store)


async def test_any_cells_of_events_come_back(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    file = SteerFile(tmp_path / "steer.sqlite", DOMAIN)
    tables = ("domain_sessions", "domain_events", "session_todos")
    scatter(file.connection, rng, SESSIONS, tables)

    await check_round_trip(store, file.close(), "steer")

    await read_all(store)
