"""Copying a whole store: everything, again, after an interruption, onto changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.transfer.full_store import fill, records, rows
from turnstore import (
    InvalidArgument,
    NewEvent,
    ReadOnlyStore,
    SessionStore,
    StoreOptions,
)
from turnstore.sql.bounded import READ_BYTES
from turnstore.transfer import copy_store
from turnstore.transfer.copy.spool import SpooledRows
from turnstore.transfer.copy.walk import GROUP_SESSIONS
from turnstore.transfer.rows import EVENTS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(tmp_path / "target.db") as opened:
        yield opened


async def test_everything_is_copied(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    # Other keys than in the source.
    await target.sessions.create(id="for a moment")
    await target.sessions.delete("for a moment")
    report = await copy_store(store, target)
    assert report.problems == ()
    expected = await rows(store)
    # Leases are not copied: their holders write to the source.
    empty = {name for name, listed in expected.items() if not listed}
    assert empty == {"session_leases"}
    assert await rows(target) == expected
    assert await records(target) == await records(store)
    added = {name: len(listed) for name, listed in expected.items() if listed}
    assert report.rows == added
    assert report.sessions == added["sessions"]
    assert report.deleted_sessions == 2
    assert (report.imports, report.skipped) == (3, 0)
    assert await target.admin.check() == []


async def test_again_adds_nothing(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    first = await copy_store(store, target)
    before = await rows(target)
    again = await copy_store(store, target)
    assert (again.sessions, again.deleted_sessions, again.imports) == (0, 0, 0)
    assert again.skipped == first.sessions + first.deleted_sessions + first.imports
    assert (again.rows, again.problems) == ({}, ())
    assert await rows(target) == before


async def test_a_copy_goes_on_like_its_source(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    await copy_store(store, target)
    for each in (store, target):
        head = await each.events.head("fork")
        assert await each.events.append("fork", "t") == head + 1
        assert await each.events.append("plain 漢", "t", idempotency_key="Zeh") == 4
        made = await each.sessions.create(id="new")
        assert await each.usage.session(made.id) == await each.usage.session("fork")


async def test_a_stopped_copy_is_resumed(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    for n in range(3 * GROUP_SESSIONS):
        await store.sessions.create(id=f"{n}")
    await fill(store, tmp_path)
    copying: asyncio.Task[Any]

    def stop(done: int, total: int) -> None:
        if done >= GROUP_SESSIONS:
            copying.cancel()

    copying = asyncio.create_task(copy_store(store, target, stop))
    with pytest.raises(asyncio.CancelledError):
        await copying
    there = await target.sessions.count()
    assert GROUP_SESSIONS <= there < await store.sessions.count()
    report = await copy_store(store, target)
    assert report.problems == ()
    assert report.skipped == there
    assert await rows(target) == await rows(store)


async def test_a_stopped_copy_leaves_the_source_usable(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    for _ in range(2 * store.options.readers):
        copying = asyncio.create_task(copy_store(store, target))
        await asyncio.sleep(0)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert len(await store.events.list("wide 漢")) == 4


async def test_a_changed_session_is_reported_and_left(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await fill(store, tmp_path)
    await copy_store(store, target)
    await target.events.append("plain 漢", "mine")
    await store.events.append("heir", "t")
    before = await rows(target)
    report = await copy_store(store, target)
    assert [each.file for each in report.problems] == ["plain 漢", "heir"]
    assert all("differs" in each.reason for each in report.problems)
    assert report.sessions == 0
    assert await rows(target) == before


async def test_a_fork_of_a_changed_session_is_not_copied(
    store: SessionStore, target: SessionStore
) -> None:
    await store.sessions.create(id="s")
    await store.messages.append("s", "user", "x")
    await store.sessions.fork("s", new_id="f")
    await target.sessions.create(id="s")
    report = await copy_store(store, target)
    assert [each.file for each in report.problems] == ["s", "f"]
    assert "source 's'" in report.problems[1].reason
    assert await target.sessions.get("f") is None


async def test_what_the_target_has_beside_it_stays(
    store: SessionStore, target: SessionStore
) -> None:
    await store.sessions.create(id="s")
    await target.sessions.create(id="mine")
    report = await copy_store(store, target)
    assert (report.sessions, report.problems) == (1, ())
    assert await target.sessions.count() == 2


async def test_rows_come_in_pages_of_bounded_bytes(
    store: SessionStore, target: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    add = SpooledRows.add

    def watched(self: Any, table: Any, some: Any) -> None:
        if table is EVENTS:
            sizes.append(sum(len(row.data) for row in some))
        add(self, table, some)

    monkeypatch.setattr(SpooledRows, "add", watched)
    await store.sessions.create(id="s")
    large = [NewEvent(type="t", data="x" * 3_000_000)] * 8
    await store.events.append_many("s", large)
    await store.events.append_many("s", [NewEvent(type="t", data=1)] * 5_000)
    report = await copy_store(store, target)
    assert (report.problems, report.rows["events"]) == ((), 5_008)
    assert max(sizes) <= READ_BYTES
    assert await target.events.list("s") == await store.events.list("s")


async def test_progress_is_of_sessions(
    store: SessionStore, target: SessionStore
) -> None:
    for n in range(GROUP_SESSIONS + 1):
        await store.sessions.create(id=f"{n}")
    told: list[tuple[int, int]] = []
    await copy_store(store, target, lambda *given: told.append(given))
    total = GROUP_SESSIONS + 1
    assert told == [(GROUP_SESSIONS, total), (total, total)]


async def test_an_empty_store(store: SessionStore, target: SessionStore) -> None:
    report = await copy_store(store, target)
    assert (report.sessions, report.rows, report.problems) == (0, {}, ())


async def test_a_store_is_not_copied_to_itself(store: SessionStore) -> None:
    with pytest.raises(InvalidArgument):
        await copy_store(store, store)


async def test_a_failing_target_ends_the_copy(
    store: SessionStore, target: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="s")
    options = StoreOptions(read_only=True)
    async with SessionStore(tmp_path / "target.db", options) as read_only:
        with pytest.raises(ReadOnlyStore):
            await copy_store(store, read_only)
    assert await store.sessions.count() == 1
