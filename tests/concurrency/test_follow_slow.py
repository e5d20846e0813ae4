"""Followers whose caller is slow, or gone."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.forcing import opened
from tests.support.patience import patient, until, without_polls
from tests.support.watching import SOON_S, take, taken, waits
from turnstore import NewEvent, SessionStore
from turnstore.store.events.following.followers import Followers
from turnstore.store.events.following.subscription import (
    BUFFER_BYTES,
    BUFFER_EVENTS,
    Subscription,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(store_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(store_path, without_polls()) as store:
        await store.sessions.create(id="s")
        yield store


async def append(store: SessionStore, count: int = 1, session_id: str = "s") -> None:
    await store.events.append_many(session_id, [NewEvent(type="t")] * count)


async def test_what_does_not_fit_is_read_later(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    for _ in range(40):
        await append(store, 100)
    assert await following == [1]
    assert 0 < len(follower._subscription.buffer) <= BUFFER_EVENTS
    assert await taken(follower, 3_000) == [*range(2, 3_002)]
    await append(store, 5)
    assert await taken(follower, 1_004) == [*range(3_002, 4_006)]


async def test_what_is_large_is_read_later(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    size = BUFFER_BYTES // 4
    for _ in range(9):
        await store.events.append("s", "t", "x" * size)
    assert await following == [1]
    assert len(follower._subscription.buffer) < 4
    assert await taken(follower, 8) == [*range(2, 10)]
    # Once it is empty there is room again.
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    await append(store)
    assert await following == [10]


async def test_a_busy_session_does_not_keep_others_waiting_for_ever(
    store: SessionStore, store_path: Path
) -> None:
    await store.sessions.create(id="other")
    follower = store.events.follow_all(["s", "other"])
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    await append(store, 3)
    assert await following == [1]
    async with SessionStore(store_path) as elsewhere:
        await append(elsewhere, session_id="other")
    store._followers.touched("other")
    found = []
    for _ in range(BUFFER_EVENTS + 10):
        await append(store)
        found += await take(follower, 1)
        assert follower._subscription.buffer  # the busy one always has more
    assert [each.seq for each in found if each.session_id == "other"] == [1]
    own = [each.seq for each in found if each.session_id == "s"]
    assert own == [*range(2, len(own) + 2)]


# Followers that nobody reads on


async def test_an_abandoned_follower_is_forgotten(store: SessionStore) -> None:
    await append(store, 3)
    for call in (store.events.follow("s"), store.events.follow_all()):
        async for event in call:
            assert event.seq == 1
            break
    del call
    gc.collect()
    await append(store)
    followers = store._followers
    assert (followers._known, followers._by_session, followers._of_all) == (
        {},
        {},
        set(),
    )
    assert store._backend._writers[0].listener is None  # type: ignore[attr-defined]
    assert followers._polling is None


async def test_a_poll_forgets_it_too(store_path: Path) -> None:
    async with SessionStore(store_path, patient(poll_interval_s=SOON_S)) as store:
        await store.sessions.create(id="s")
        await append(store)
        follower = store.events.follow("s")
        await take(follower, 1)
        assert len(store._followers._known) == 1
        del follower
        gc.collect()
        await until(lambda: not store._followers._known)
        # And begins again.
        follower = store.events.follow("s", after=1)
        following = asyncio.create_task(taken(follower, 1))
        await waits(store)
        async with SessionStore(store_path) as other:
            await append(other)
        assert await following == [2]


async def test_one_that_was_never_begun_is_not_known(store: SessionStore) -> None:
    follower = store.events.follow("s")
    await append(store)
    assert store._followers._known == {}
    assert await taken(follower, 1) == [1]


async def test_a_task_that_nobody_holds_waits_on(store: SessionStore) -> None:
    """Nothing but the follower knows of it."""
    found: list[int] = []

    async def follow() -> None:
        async for event in store.events.follow("s"):
            found.append(event.seq)

    asyncio.create_task(follow())  # noqa: RUF006
    await waits(store)
    gc.collect()
    await append(store)
    await until(lambda: found == [1])
    await store.close()


async def test_a_timer_does_not_keep_what_polls(store_path: Path) -> None:
    async with opened(store_path) as backend:
        followers = Followers(backend, without_polls())
        subscription = Subscription(["s"], {})
        followers.add(subscription)
        assert followers._polling is not None
        backend.listen(None)
        ref = weakref.ref(followers)
        del followers
        gc.collect()
        assert ref() is None
