"""Files of other systems through a store on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.files import nocodo_files
from tests.support.files.any_cell import (
    MICROAGENTS,
    NOCODO,
    microagents_file,
    nocodo_file,
)
from tests.support.files.every_file import EveryFile
from tests.support.files.koda_tables import ADDED, FIRST, KodaFile
from tests.support.postgres.emptying import empty
from tests.support.transfer.round_trip import check_round_trip
from turnstore import SessionStore
from turnstore.transfer import import_file

pytestmark = pytest.mark.anyio

# The database is emptied for each example.
few = settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def store(emptied_database: str) -> AsyncIterator[SessionStore]:
    async with SessionStore(emptied_database) as opened:
        yield opened


class TestPostgres(EveryFile):
    """With a store in a database of the server."""


async def check(url: str, path: Path, system: str) -> None:
    await empty(url)
    async with SessionStore(url) as store:
        await check_round_trip(store, path, system)


@few
@given(tables=NOCODO)
async def test_any_nocodo_file_comes_back(
    shared_database: str, tables: dict[str, list[dict[str, Any]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await check(shared_database, nocodo_file(folder, tables), "nocodo")


@few
@given(events=MICROAGENTS)
async def test_any_microagents_file_comes_back(
    shared_database: str, events: list[tuple[Any, Any, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = microagents_file(folder, events)
        await check(shared_database, path, "microagents")


async def test_two_imports_at_once_add_each_session_once(
    store: SessionStore, emptied_database: str, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    async with SessionStore(emptied_database) as other:
        reports = await asyncio.gather(
            import_file(store, path), import_file(other, path)
        )
    assert sum(each.sessions for each in reports) == 2
    assert sum(each.sessions_skipped for each in reports) == 2
    assert [each.problems for each in reports] == [(), ()]
    await check_round_trip(store, path, "nocodo")


async def test_what_an_index_cannot_hold_is_reported_and_the_rest_imported(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    # Random, so that it can't be compressed into what an index takes.
    value = rng.randbytes(10_000).hex()
    file = KodaFile(tmp_path / "koda.sqlite", FIRST, ADDED)
    for each in ("before", "long", "after"):
        file.session(each)
    file.insert("session_metadata", session_id="long", key="k", value=value)
    report = await import_file(store, file.close())
    assert report.sessions == 2
    [problem] = report.problems
    assert "'long'" in problem.reason
    assert "too long for an index" in problem.reason
    assert await store.sessions.get("long") is None


async def test_a_conversation_that_an_index_cannot_hold_is_reported(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    value = rng.randbytes(10_000).hex()
    lines = [
        {"id": "before", "k": value},  # metadata, which are kept aside then
        {"id": "long", "model": value},
        {"id": "after", "a": "\ud83d"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text(
        "".join(json.dumps({**each, "messages": []}) + "\n" for each in lines)
    )
    report = await import_file(store, path)
    assert report.sessions == 2
    [problem] = report.problems
    assert problem.line == 2
    assert "too long for an index" in problem.reason
