"""``store.events.follow_all``: several sessions, or all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.support.patience import patient, without_polls
from tests.support.watching import SOON_S, places, take, waits
from turnstore import NewEvent, SessionNotFound, SessionStore
from turnstore.store.events.following.reads import BLOCK_KEYS, list_blocks

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(store_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(store_path, without_polls()) as opened:
        yield opened


async def create(store: SessionStore, *session_ids: str) -> None:
    for name in session_ids:
        await store.sessions.create(id=name)


async def append(store: SessionStore, session_id: str, count: int = 1) -> None:
    await store.events.append_many(session_id, [NewEvent(type="t")] * count)


async def test_each_session_comes_in_order(store: SessionStore) -> None:
    await create(store, "a", "b", "c")
    await append(store, "a", 2)
    await append(store, "b", 3)
    await append(store, "c", 1)
    follower = store.events.follow_all(["a", "b"], after={"b": 1, "c": 7})
    found = places(await take(follower, 4))
    assert sorted(found) == [("a", 1), ("a", 2), ("b", 2), ("b", 3)]
    following = asyncio.create_task(take(follower, 3))
    await waits(store)
    await append(store, "c")
    await append(store, "b")
    await append(store, "a", 2)
    assert places(await following) == [("b", 4), ("a", 3), ("a", 4)]


async def test_of_all_sessions_new_ones_too(store: SessionStore) -> None:
    await create(store, "a", "b")
    await append(store, "a", 3)
    await append(store, "b", 2)
    follower = store.events.follow_all(after={"a": 2, "new": 1})
    assert places(await take(follower, 3)) == [("a", 3), ("b", 1), ("b", 2)]
    await create(store, "new", "other")
    await append(store, "new", 3)
    await append(store, "other")
    found = places(await take(follower, 3))
    assert sorted(found) == [("new", 2), ("new", 3), ("other", 1)]


async def test_a_fork_is_one_of_all_sessions(store: SessionStore) -> None:
    await create(store, "a")
    await append(store, "a", 2)
    follower = store.events.follow_all()
    assert places(await take(follower, 2)) == [("a", 1), ("a", 2)]
    await store.sessions.fork("a", new_id="f")
    assert places(await take(follower, 2)) == [("f", 1), ("f", 2)]
    await append(store, "f")
    assert places(await take(follower, 1)) == [("f", 3)]


async def test_one_that_is_not_there_leaves_the_others(store: SessionStore) -> None:
    await create(store, "a", "b")
    await append(store, "a")
    follower = store.events.follow_all(["a", "?", "b", "!"])
    missing = []
    for _ in range(2):
        with pytest.raises(SessionNotFound) as caught:
            await anext(follower)
        missing.append(caught.value.session_id)
    assert missing == ["?", "!"]
    assert places(await take(follower, 1)) == [("a", 1)]
    await store.sessions.delete("a")
    with pytest.raises(SessionNotFound):
        await anext(follower)
    await append(store, "b")
    assert places(await take(follower, 1)) == [("b", 1)]


async def test_of_all_sessions_a_deleted_one_is_none(store: SessionStore) -> None:
    await create(store, "a", "b")
    await append(store, "a")
    follower = store.events.follow_all()
    assert places(await take(follower, 1)) == [("a", 1)]
    following = asyncio.create_task(take(follower, 1))
    await waits(store)
    await store.sessions.delete("a")
    await append(store, "b")
    assert places(await following) == [("b", 1)]
    await create(store, "a")
    await append(store, "a", 2)
    assert places(await take(follower, 2)) == [("a", 1), ("a", 2)]


async def test_of_no_session_nothing(store: SessionStore) -> None:
    follower = store.events.follow_all([])
    assert [event async for event in follower] == []


async def test_an_event_is_made_once_for_all_that_follow(store: SessionStore) -> None:
    await create(store, "a")
    followers = [
        store.events.follow("a"),
        store.events.follow_all(["a"]),
        store.events.follow_all(),
    ]
    following = [asyncio.create_task(take(each, 1)) for each in followers]
    await waits(store, 3)
    await append(store, "a")
    [[first], [second], [third]] = await asyncio.gather(*following)
    assert first is second is third


# Of other stores


@pytest.fixture
async def reader(store: SessionStore, store_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(store_path, patient(poll_interval_s=SOON_S)) as opened:
        yield opened


async def test_sessions_of_another_store(
    store: SessionStore, reader: SessionStore
) -> None:
    await create(store, "a", "b")
    follower = reader.events.follow_all()
    following = asyncio.create_task(take(follower, 2))
    await waits(reader)
    await append(store, "b")
    await append(reader, "a")
    assert sorted(places(await following)) == [("a", 1), ("b", 1)]
    await create(store, "c")
    await append(store, "c")
    assert places(await take(follower, 1)) == [("c", 1)]
    await store.sessions.delete("c")
    await create(store, "c")
    await append(store, "c", 3)
    assert places(await take(follower, 3)) == [("c", 1), ("c", 2), ("c", 3)]


async def test_only_blocks_that_changed_are_read(store: SessionStore) -> None:
    """A digest changes with events, with sessions that come and with those that go,
    also where counts and sums of one of them would be as before."""
    await asyncio.gather(
        *(store.sessions.create(id=f"s{n}") for n in range(2 * BLOCK_KEYS))
    )
    await append(store, "s5", 3)
    digests = [await store._backend.read(list_blocks)]

    async def changed() -> list[int]:
        digests.append(await store._backend.read(list_blocks))
        before, after = digests[-2:]
        return [number for number in after if after[number] != before.get(number)]

    assert await changed() == []
    await append(store, "s1500")
    assert await changed() == [1]
    await store.messages.append("s7", "user", "hello")
    assert await changed() == []
    await store.sessions.delete("s5")
    await append(store, "s6", 3)
    assert await changed() == [0]
    await store.sessions.delete("s2000")
    await create(store, "s2000")
    assert await changed() == [1, 2]


async def test_digests_are_read_by_key(store: SessionStore) -> None:
    statements: list[str] = []

    def plan(connection: Connection) -> list[str]:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(statements.append)
        list_blocks(connection)
        driver.set_trace_callback(None)
        rows = driver.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
        return [row[-1] for row in rows]

    found = await store._backend.read(plan)
    heads = [each for each in found if "session_heads" in each]
    assert heads == [
        "SEARCH session_heads USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    ]
