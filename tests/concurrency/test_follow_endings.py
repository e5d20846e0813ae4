"""What ends a follower: idle time, its own ``aclose``, the end of the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import watching
from tests.support.clock import Clock
from tests.support.watching import append, busy_readers, reader_waits, taken, waits
from turnstore import SessionStore, StoreClosed, StoreError

pytestmark = pytest.mark.anyio

store = watching.store
file_store = watching.file_store


async def test_an_idle_timeout_of_nothing_gives_what_is_there(
    store: SessionStore,
) -> None:
    await append(store, 600)
    follower = store.events.follow("s", after=2, idle_timeout_s=0)
    assert [event.seq async for event in follower] == [*range(3, 601)]
    await append(store)
    assert [event async for event in follower] == []
    assert store._followers._known == {}


async def test_an_idle_timeout_ends_a_wait(clock: Clock, store: SessionStore) -> None:
    await append(store)
    follower = store.events.follow("s", idle_timeout_s=3_600)
    following = asyncio.create_task(collect(follower))
    await waits(store)
    clock.advance(3_601)
    assert await following == [1]


async def test_a_callers_own_time_is_not_idle_time(
    clock: Clock, store: SessionStore
) -> None:
    await append(store)
    follower = store.events.follow("s", idle_timeout_s=3_600)
    assert await taken(follower, 1) == [1]
    clock.advance(3_601)
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    await append(store)
    assert await following == [2]


async def test_being_told_of_nothing_new_does_not_put_the_timeout_off(
    clock: Clock, store: SessionStore
) -> None:
    follower = store.events.follow("s", idle_timeout_s=3_600)
    following = asyncio.create_task(collect(follower))
    for _ in range(2):
        await waits(store)
        clock.advance(2_000)
        store._followers.touched("s")
    assert await following == []


async def collect(follower: Any) -> list[int]:
    return [event.seq async for event in follower]


async def test_closing_the_store_ends_it(store: SessionStore) -> None:
    await append(store, 2)
    followers = [store.events.follow("s"), store.events.follow_all()]
    following = [asyncio.create_task(collect(each)) for each in followers]
    await waits(store, 2)
    slow = store.events.follow("s")
    assert await taken(slow, 1) == [1]
    await store.close()
    assert await asyncio.gather(*following) == [[1, 2], [1, 2]]
    assert await collect(slow) == [2]
    assert await collect(slow) == []


async def test_what_a_closing_store_commits_is_given(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(collect(follower))
    await waits(store)
    appends = [asyncio.create_task(store.events.append("s", "t")) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    assert [task.result() for task in appends] == [1, 2, 3]
    assert await following == [1, 2, 3]


async def test_closed_while_the_follower_waits_for_a_reader(
    file_store: SessionStore,
) -> None:
    store = file_store
    follower = store.events.follow("s")
    following = asyncio.create_task(collect(follower))
    await waits(store)
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        store._followers.touched("s")
        await reader_waits(store, 1, since)
        closing = asyncio.create_task(store.close())
        assert await following == []
    await closing


async def test_following_a_store_that_is_not_open(store_path: Path) -> None:
    store = SessionStore(store_path)
    follower = store.events.follow("s")
    with pytest.raises(StoreClosed):
        await anext(follower)
    assert store._followers._known == {}
    assert store._followers._polling is None
    async with store:
        await store.sessions.create(id="s")
        await append(store)
        assert await taken(follower, 1) == [1]
    with pytest.raises(StoreClosed):
        await anext(store.events.follow("s"))


async def test_aclose_ends_a_wait(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(collect(follower))
    await waits(store)
    await follower.aclose()
    assert await following == []
    await follower.aclose()
    await append(store)
    assert await collect(follower) == []


async def test_aclose_while_a_page_is_read(
    file_store: SessionStore, store_path: Path
) -> None:
    store = file_store
    follower = store.events.follow("s")
    following = asyncio.create_task(collect(follower))
    await waits(store)
    async with SessionStore(store_path) as other:
        await append(other)
    since = store._backend.statistics().reader_waits
    async with busy_readers(store):
        store._followers.touched("s")
        await reader_waits(store, 1, since)
        await follower.aclose()
    assert await following == []


async def test_a_block_ends_it(store: SessionStore) -> None:
    await append(store, 2)
    async with store.events.follow("s") as follower:
        assert await taken(follower, 1) == [1]
        assert len(store._followers._known) == 1
    assert store._followers._known == {}
    assert await collect(follower) == []


async def test_one_task_reads_it(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    with pytest.raises(StoreError, match="one task"):
        await anext(follower)
    await append(store)
    assert await following == [1]
