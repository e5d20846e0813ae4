"""Followers and what comes at any of their waits: commits, failures, cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import watching
from tests.support.patience import without_polls
from tests.support.watching import append, busy_readers, reader_waits, taken, waits
from turnstore import AcquireTimeout, BackendError, SessionStore

pytestmark = pytest.mark.anyio

store = watching.store
file_store = watching.file_store

# Between reads and commits


async def test_committed_while_the_follower_begins(file_store: SessionStore) -> None:
    store = file_store
    await append(store)
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        following = asyncio.create_task(taken(store.events.follow("s"), 4))
        await reader_waits(store, 1, since)
        await append(store, 2)
    await waits(store)
    await append(store)
    assert await following == [1, 2, 3, 4]


async def test_committed_while_a_page_is_read(
    file_store: SessionStore, store_path: Path
) -> None:
    store = file_store
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 4))
    await waits(store)
    async with SessionStore(store_path) as other:
        await append(other)
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        await append(store)
        await reader_waits(store, 1, since)
        await append(store)
    await waits(store)
    await append(store)
    assert await following == [1, 2, 3, 4]


async def test_pushed_while_a_page_is_read(file_store: SessionStore) -> None:
    """The page holds what was pushed, and gives it no second time."""
    store = file_store
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 3))
    await waits(store)
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        store._followers.touched("s")
        await reader_waits(store, 1, since)
        await append(store, 2)
        assert len(follower._subscription.buffer) == 2
    await waits(store)
    await append(store)
    assert await following == [1, 2, 3]


async def test_a_batch_that_failed_after_its_commit(
    file_store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = file_store
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)

    def fail(_thread: object) -> None:
        raise BackendError("after the commit")

    with monkeypatch.context() as patched:
        patched.setattr(store._backend._wal, "have_committed", fail)  # type: ignore[attr-defined]
        with pytest.raises(BackendError, match="after the commit"):
            await append(store)
    assert await following == [1]


async def test_a_read_that_failed_is_made_again(store_path: Path) -> None:
    options = without_polls(readers=1, acquire_timeout_s=0)
    async with SessionStore(store_path, options) as store:
        await store.sessions.create(id="s")
        await append(store, 3)
        follower = store.events.follow("s")
        async with busy_readers(store):
            with pytest.raises(AcquireTimeout):
                await anext(follower)
        assert await taken(follower, 3) == [1, 2, 3]
        store._followers.touched("s")
        async with busy_readers(store):
            with pytest.raises(AcquireTimeout):
                await anext(follower)
        await append(store)
        assert await taken(follower, 1) == [4]


# Cancellation


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancelled_call_takes_nothing_away(
    store: SessionStore, turns: int
) -> None:
    """Cancelled after so many turns of the loop: at each of its waits."""
    await append(store, 3)
    follower = store.events.follow("s")
    calls = 0
    found: list[int] = []
    while len(found) < 6:
        call = asyncio.create_task(taken(follower, 1))
        calls += 1
        if calls == 4:
            await append(store, 2)
        if calls == 8:
            store._followers.touched("s")
            await append(store)
        for _ in range(turns if calls < 12 else 0):
            await asyncio.sleep(0)
        if calls < 12:
            call.cancel()
        await asyncio.wait([call])
        if not call.cancelled():
            found += call.result()
    assert found == [1, 2, 3, 4, 5, 6]


async def test_cancelled_while_it_waits(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    following.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await following
    await append(store, 2)
    assert await taken(follower, 2) == [1, 2]


async def test_cancelled_in_the_turn_that_it_is_told(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    told = store._followers.appended

    def tell(*arguments: Any) -> None:
        told(*arguments)
        following.cancel()

    store._followers.appended = tell  # type: ignore[assignment,method-assign]
    await append(store)
    await asyncio.wait([following])
    assert following.cancelled()
    assert await taken(follower, 1) == [1]


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelled_while_it_waits_for_a_reader(
    file_store: SessionStore, begun: bool
) -> None:
    store = file_store
    await append(store)
    follower = store.events.follow("s")
    if begun:
        assert await taken(follower, 1) == [1]
        store._followers.touched("s")
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        following = asyncio.create_task(taken(follower, 1))
        await reader_waits(store, 1, since)
        await append(store)
        following.cancel()
        await asyncio.wait([following])
        assert following.cancelled()
        await append(store)
    assert await taken(follower, 3 - begun) == [1, 2, 3][begun:]
