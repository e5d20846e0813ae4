"""Purges: giving the space of what is deleted back to the file system."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnstore import DatabaseBusy, NewMessage, SessionStore, StoreOptions
from turnstore.engine.sqlite import maintenance as maintenance
from turnstore.engine.sqlite.thread import SqliteThread

pytestmark = pytest.mark.anyio

LARGE = 100
"""Messages of 50,000 characters, whose space takes many steps to give back."""


async def make_large(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.messages.append_many(
        "s", [NewMessage(role="user", content="x" * 50_000) for _ in range(LARGE)]
    )
    await store.messages.compact("s", "so far", preserve=0)


async def test_the_space_of_what_is_purged_is_given_back(
    store: SessionStore, store_path: Path
) -> None:
    await make_large(store)
    await store.admin.checkpoint()
    before = os.stat(store_path).st_size
    assert await store.archive.purge(older_than_days=0) == LARGE
    assert os.stat(store_path).st_size < before / 2


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
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["so far"]


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
