"""``store.archive``: what is archived, and purging it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    CompactedStatistics,
    DatabaseBusy,
    InvalidArgument,
    NewMessage,
    SessionStore,
    StoreOptions,
    Usage,
)
from turnstore.engine.sqlite import maintenance as maintenance
from turnstore.engine.sqlite.thread import SqliteThread

pytestmark = pytest.mark.anyio

EMPTY = CompactedStatistics(message_count=0, session_count=0, size_bytes=0, oldest=None)


async def make(
    store: SessionStore, name: str, count: int = 5, *, root: str | None = None
) -> None:
    """A session with all but its last message archived."""
    await store.sessions.create(id=name, project_root=root)
    await store.messages.append_many(
        name,
        [NewMessage(role="user", content=f"m{at}") for at in range(1, count + 1)],
    )
    await store.messages.compact(name, "so far", preserve=1)


async def texts(store: SessionStore, name: str) -> list[object]:
    return [each.content for each in await store.messages.list(name)]


async def test_nothing_is_archived_at_first(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.messages.append("s", "user", "x")
    assert await store.archive.statistics() == EMPTY


async def test_statistics_count_archived_messages(store: SessionStore) -> None:
    await make(store, "a", 5)
    await make(store, "b", 3)
    [first, *_] = await store.messages.list("a")
    found = await store.archive.statistics()
    assert (found.message_count, found.session_count) == (6, 2)
    # Each is two characters and two quotes.
    assert found.size_bytes == 6 * 4
    assert found.oldest == first.compacted_at


async def test_statistics_count_bytes_not_characters(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    calls = [{"id": "é"}]
    await store.messages.append("s", "assistant", "日本", tool_calls=calls)
    await store.messages.append("s", "assistant", None)
    await store.messages.compact("s", "x", preserve=0)
    found = await store.archive.statistics()
    size_bytes = len('"日本"'.encode()) + len('[{"id":"é"}]'.encode())
    assert (found.message_count, found.size_bytes) == (2, size_bytes)


async def test_summaries_count_once_they_are_archived(store: SessionStore) -> None:
    await make(store, "s", 2)
    await store.messages.compact("s", "again", preserve=0)
    assert (await store.archive.statistics()).message_count == 3


async def test_statistics_have_a_scope(store: SessionStore) -> None:
    await make(store, "a", 5, root="/one")
    await make(store, "b", 3, root="/two")
    one = await store.archive.statistics(project_root="/one")
    assert (one.message_count, one.session_count) == (4, 1)
    assert (await store.archive.statistics(session_id="b")).message_count == 2
    both = await store.archive.statistics(session_id="b", project_root="/one")
    assert both == EMPTY
    assert await store.archive.statistics(session_id="nowhere") == EMPTY


async def test_purging_deletes_what_is_archived(store: SessionStore) -> None:
    await make(store, "s", 5)
    assert await store.archive.purge(older_than_days=0) == 4
    assert await texts(store, "s") == ["m5", "so far"]
    context = await store.messages.context("s")
    assert [each.content for each in context] == ["so far", "m5"]
    assert await store.archive.statistics() == EMPTY
    assert await store.archive.purge(older_than_days=0) == 0
    session = await store.sessions.get("s")
    assert session is not None
    assert (session.message_count, session.message_head) == (2, 6)


async def test_what_was_archived_lately_stays(store: SessionStore) -> None:
    await make(store, "s", 5)
    assert await store.archive.purge(older_than_days=1) == 0
    assert len(await texts(store, "s")) == 6


async def test_what_was_archived_long_ago_goes(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from turnstore.sql import codec

    clock = codec.now_micros
    week_us = 7 * 24 * 3_600 * 1_000_000
    monkeypatch.setattr(codec, "now_micros", lambda: clock() - week_us)
    await make(store, "s", 5)
    monkeypatch.undo()
    await store.messages.append("s", "user", "new")
    await store.messages.compact("s", "again", preserve=0)
    assert await store.archive.purge(older_than_days=8, dry_run=True) == 0
    assert await store.archive.purge(older_than_days=6, dry_run=True) == 4
    assert await store.archive.purge(older_than_days=6) == 4
    # What the second compaction archived is left, its summary of the first too.
    assert await texts(store, "s") == ["m5", "so far", "new", "again"]


async def test_a_dry_run_only_counts(store: SessionStore) -> None:
    await make(store, "s", 5)
    assert await store.archive.purge(older_than_days=0, dry_run=True) == 4
    assert len(await texts(store, "s")) == 6


async def test_a_purge_has_a_scope(store: SessionStore) -> None:
    for name, root in (("a", "/one"), ("b", "/two"), ("c", None)):
        await make(store, name, 3, root=root)
    assert await store.archive.purge(older_than_days=0, project_root="/one") == 2
    assert await store.archive.purge(older_than_days=0, session_id="c") == 2
    assert await store.archive.purge(older_than_days=0, session_id="nowhere") == 0
    assert len(await texts(store, "b")) == 4
    assert len(await texts(store, "a")) == len(await texts(store, "c")) == 2


async def test_usage_survives_a_purge(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    used = Usage(prompt_tokens=3, completion_tokens=4, api_calls=1)
    await store.messages.append("s", "assistant", "x", usage=used)
    await store.messages.append("s", "user", "y")
    await store.messages.compact("s", "z", preserve=1)
    await store.archive.purge(older_than_days=0)
    session = await store.sessions.get("s")
    assert session is not None
    assert session.usage == used


async def test_a_purged_compaction_can_not_be_taken_back(store: SessionStore) -> None:
    await make(store, "s", 3)
    await store.archive.purge(older_than_days=0)
    with pytest.raises(InvalidArgument, match="purged"):
        await store.messages.uncompact("s")
    assert await texts(store, "s") == ["m3", "so far"]


async def test_a_later_compaction_can_still_be_taken_back(store: SessionStore) -> None:
    await make(store, "s", 3)
    await store.archive.purge(older_than_days=0)
    await store.messages.compact("s", "again", preserve=0)
    assert await store.messages.uncompact("s") is not None
    context = await store.messages.context("s")
    assert [each.content for each in context] == ["so far", "m3"]


async def test_forks_keep_what_the_parent_purges(store: SessionStore) -> None:
    await make(store, "p", 4)
    await store.sessions.fork("p", at_message_seq=3, new_id="early")
    await store.sessions.fork("p", new_id="late")
    purged = await store.archive.purge(older_than_days=0, session_id="p")
    assert purged == 3
    assert await texts(store, "p") == ["m4", "so far"]
    assert await texts(store, "early") == ["m1", "m2", "m3"]
    assert len(await texts(store, "late")) == 5


async def test_a_purge_of_a_fork_leaves_the_parent(store: SessionStore) -> None:
    await make(store, "p", 4)
    await store.sessions.fork("p", new_id="f")
    assert (await store.archive.statistics(session_id="f")).message_count == 3
    dry = await store.archive.purge(older_than_days=0, session_id="f", dry_run=True)
    assert dry == 3
    assert await store.archive.purge(older_than_days=0, session_id="f") == 3
    assert await texts(store, "f") == ["m4", "so far"]
    assert len(await texts(store, "p")) == 5


async def test_the_space_of_what_is_purged_is_given_back(
    store: SessionStore, store_path: Path
) -> None:
    await store.sessions.create(id="s")
    await store.messages.append_many(
        "s", [NewMessage(role="user", content="x" * 50_000) for _ in range(100)]
    )
    await store.messages.compact("s", "so far", preserve=0)
    await store.admin.checkpoint()
    before = os.stat(store_path).st_size
    assert await store.archive.purge(older_than_days=0) == 100
    assert os.stat(store_path).st_size < before / 2


@pytest.mark.parametrize("days", [-1, 1.5, "1", None, 10**9])
async def test_days_have_bounds(store: SessionStore, days: int) -> None:
    with pytest.raises(InvalidArgument, match="older_than_days"):
        await store.archive.purge(older_than_days=days)


LARGE = 100
"""Messages of 50,000 characters, whose space takes many steps to give back."""


async def make_large(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.messages.append_many(
        "s", [NewMessage(role="user", content="x" * 50_000) for _ in range(LARGE)]
    )
    await store.messages.compact("s", "so far", preserve=0)


async def test_a_purge_that_is_cancelled_while_it_gives_space_back(
    store: SessionStore,
    store_path: Path,
    connect: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_large(store)
    monkeypatch.setattr(maintenance, "RECLAIM_PAGES", 5)
    some = maintenance.SqliteMaintenance._reclaim_some
    steps = 0

    def stop(self: Any, thread: SqliteThread) -> None:
        nonlocal steps
        steps += 1
        some(self, thread)
        if steps == 3:
            loop.call_soon_threadsafe(task.cancel, "enough")

    monkeypatch.setattr(maintenance.SqliteMaintenance, "_reclaim_some", stop)
    loop = asyncio.get_running_loop()
    returned: list[int] = []

    async def purge() -> None:
        returned.append(await store.archive.purge(older_than_days=0))
        await asyncio.Event().wait()

    task = asyncio.create_task(purge())
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert (returned, steps, task.cancelling()) == ([LARGE], 3, 1)
    free_pages = connect(store_path).execute("PRAGMA freelist_count").fetchone()[0]
    assert free_pages > 100
    assert await texts(store, "s") == ["so far"]


async def test_a_timeout_block_that_ends_with_a_cancelled_purge_is_left_in_peace(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of any write: the result stands, and nothing comes after the block."""
    await make_large(store)
    some = maintenance.SqliteMaintenance._reclaim_some

    def expire(self: Any, thread: SqliteThread) -> None:
        some(self, thread)
        loop.call_soon_threadsafe(timeout.reschedule, 0)

    monkeypatch.setattr(maintenance.SqliteMaintenance, "_reclaim_some", expire)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as timeout:
            purged = await store.archive.purge(older_than_days=0)
    except TimeoutError:
        pass  # where Python tells of it all the same
    assert timeout.expired()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert (purged, task.cancelling()) == (LARGE, 0)


async def test_a_purge_whose_space_can_not_be_given_back_returns_its_count(
    store_path: Path,
    connect: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    some = maintenance.SqliteMaintenance._reclaim_some
    async with SessionStore(store_path, StoreOptions(busy_timeout_s=0.05)) as store:
        await make_large(store)
        other = connect(store_path)

        def come_too_late(self: Any, thread: SqliteThread) -> None:
            other.execute("BEGIN IMMEDIATE")
            some(self, thread)

        monkeypatch.setattr(
            maintenance.SqliteMaintenance, "_reclaim_some", come_too_late
        )
        with caplog.at_level(logging.WARNING, logger="turnstore"):
            assert await store.archive.purge(older_than_days=0) == LARGE
        other.execute("ROLLBACK")
        [record] = caplog.records
        assert record.levelno == logging.WARNING and "vacuum" in record.message
        assert record.exc_info is not None
        assert record.exc_info[0] is DatabaseBusy
        monkeypatch.undo()
        await store.admin.vacuum()
        assert other.execute("PRAGMA freelist_count").fetchone()[0] == 0
