"""A whole store to PostgreSQL and back."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import LIMIT_S, patient
from tests.support.transfer.full_store import fill, records, rows
from turnstore import SessionStore
from turnstore.transfer import copy_store
from turnstore.transfer.copy.walk import GROUP_SESSIONS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SessionStore]:
    """A store with everything, in a file."""
    async with SessionStore(tmp_path / "source.db") as opened:
        await fill(opened, tmp_path)
        yield opened


async def test_there_and_back(
    file: SessionStore, store: SessionStore, tmp_path: Path
) -> None:
    there = await copy_store(file, store)
    assert there.problems == ()
    async with SessionStore(tmp_path / "back.db") as again:
        back = await copy_store(store, again)
        assert back == there
        expected = await rows(file)
        empty = {name for name, listed in expected.items() if not listed}
        assert empty == {"session_leases"}
        assert await rows(store) == expected
        assert await rows(again) == expected
        shown = await records(file)
        assert await records(store) == shown
        assert await records(again) == shown
        assert await again.admin.check() == []
    assert await store.admin.check() == []


async def test_again_adds_nothing(file: SessionStore, store: SessionStore) -> None:
    first = await copy_store(file, store)
    again = await copy_store(file, store)
    assert (again.rows, again.problems) == ({}, ())
    assert again.skipped == first.sessions + first.deleted_sessions + first.imports


async def test_a_copy_goes_on_like_its_source(
    file: SessionStore, store: SessionStore
) -> None:
    await copy_store(file, store)
    for each in (file, store):
        assert await each.events.append("plain 漢", "t", idempotency_key="Zeh") == 4
        made = await each.sessions.create()
        assert (await each.usage.session(made.id)).prompt_tokens == 0


@pytest.mark.parametrize("back", [False, True])
async def test_a_stopped_copy_is_resumed(
    file: SessionStore, store: SessionStore, tmp_path: Path, back: bool
) -> None:
    for n in range(2 * GROUP_SESSIONS):
        await file.sessions.create(id=f"{n}")
    source, target = file, store
    if back:
        await copy_store(file, store)
        source, target = store, SessionStore(tmp_path / "back.db")
        await target.open()
    copying: asyncio.Task[Any]

    def stop(done: int, total: int) -> None:
        copying.cancel()

    copying = asyncio.create_task(copy_store(source, target, stop))
    with pytest.raises(asyncio.CancelledError):
        await copying
    there = await target.sessions.count()
    assert 0 < there < await source.sessions.count()
    report = await copy_store(source, target)
    assert (report.problems, report.skipped) == ((), there)
    assert await rows(target) == await rows(file)
    if back:
        await target.close()


async def test_a_changed_session_is_reported(
    file: SessionStore, store: SessionStore
) -> None:
    await copy_store(file, store)
    await store.events.append("plain 漢", "mine")
    report = await copy_store(file, store)
    assert [each.file for each in report.problems] == ["plain 漢"]
    assert report.rows == {}


async def test_what_the_target_refuses_is_reported_and_the_rest_copied(
    store: SessionStore, tmp_path: Path, rng: random.Random
) -> None:
    # Random, so that it can't be compressed into what an index takes.
    value = rng.randbytes(10_000).hex()
    async with SessionStore(tmp_path / "source.db") as file:
        await file.sessions.create(id="before")
        await file.sessions.create(id="too long", metadata={"k": value})
        await file.sessions.fork("before", new_id="after")
        report = await copy_store(file, store)
    assert [each.file for each in report.problems] == ["too long"]
    assert "too long for an index" in report.problems[0].reason
    assert report.sessions == 2
    assert await store.sessions.get("too long") is None


async def test_a_pooler_may_lie_between(
    file: SessionStore, database: str, tmp_path: Path
) -> None:
    options = patient(behind_pooler=True)
    async with SessionStore(database, options) as store:
        assert (await copy_store(file, store)).problems == ()
        assert await rows(store) == await rows(file)


async def test_the_command(file: SessionStore, database: str, tmp_path: Path) -> None:
    await file.close()
    source, back = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/back.db"

    def copy(from_url: str, to_url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "turnstore", "copy", from_url, to_url],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    there = copy(source, database)
    assert (there.returncode, there.stderr) == (0, "")
    assert copy(database, back).stdout == there.stdout
    async with SessionStore(source) as one, SessionStore(back) as other:
        assert await rows(one) == await rows(other)
