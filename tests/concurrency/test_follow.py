"""``store.events.follow``: what was there, then what is committed, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import watching
from tests.support.watching import append, take, taken, waits
from turnstore import InvalidArgument, SequenceConflict, SessionNotFound, SessionStore
from turnstore.store.events.writes import AppendEvents
from turnstore.store.sessions.writes import CreateSession
from turnstore.store.turns.command import Turn

pytestmark = pytest.mark.anyio

store = watching.store
file_store = watching.file_store


async def test_what_was_there_comes_first(store: SessionStore) -> None:
    await append(store, 3)
    follower = store.events.follow("s")
    assert await take(follower, 3) == await store.events.list("s")


async def test_what_is_committed_comes_without_a_poll(store: SessionStore) -> None:
    await append(store, 2)
    follower = store.events.follow("s")
    assert await taken(follower, 2) == [1, 2]
    following = asyncio.create_task(take(follower, 2))
    await waits(store)
    await append(store)
    await append(store)
    assert await following == await store.events.list("s", after=2)


async def test_what_is_committed_while_nobody_asks_comes_next(
    store: SessionStore,
) -> None:
    await append(store)
    follower = store.events.follow("s")
    assert await taken(follower, 1) == [1]
    await append(store, 3)
    await append(store, 2)
    assert await taken(follower, 5) == [2, 3, 4, 5, 6]


async def test_what_comes_is_what_a_list_gives(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(take(follower, 5))
    await waits(store)
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)
    await store.events.append("s", "a", {"b": [1, None, 10**400]}, model="m")
    await store.events.append("s", "a", turn_id="u", created_at=moment)
    await store.events.append("s", "a", "text \0 ü", idempotency_key="k")
    await append(store, 2)
    assert await following == await store.events.list("s")


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_after_is_exclusive(store: SessionStore, after: int) -> None:
    await append(store, 3)
    follower = store.events.follow("s", after=after)
    following = asyncio.create_task(taken(follower, 3))
    for _ in range(12):
        await append(store)
    assert await following == [after + 1, after + 2, after + 3]


async def test_a_turn_is_followed(store: SessionStore) -> None:
    follower = store.events.follow_all()
    following = asyncio.create_task(take(follower, 3))
    await waits(store)
    rows = [("e", "1", None, None, None), ("e", None, "m", None, 7)]
    turn = Turn(
        "new",
        0,
        [
            CreateSession("new", 0, {"agent_name": "", "status": "idle"}, {}),
            AppendEvents("new", 0, rows),
            AppendEvents("s", 0, rows[:1]),
        ],
    )
    await store._backend.write(turn)
    found = await following
    assert found[:2] == await store.events.list("new")
    assert found[2:] == await store.events.list("s")


async def test_a_replay_is_not_followed(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(take(follower, 2))
    await waits(store)
    await store.events.append("s", "t", "first", idempotency_key="k")
    await store.events.append("s", "t", "second", idempotency_key="k")
    await store.events.append("s", "t", "third")
    assert [event.data for event in await following] == ["first", "third"]


async def test_a_replay_of_what_another_store_wrote(
    file_store: SessionStore, store_path: Path
) -> None:
    """The event is the one that was written, not the one that the replay gave."""
    follower = file_store.events.follow("s")
    following = asyncio.create_task(take(follower, 2))
    await waits(file_store)
    async with SessionStore(store_path) as other:
        await other.events.append("s", "t", "theirs", idempotency_key="k")
    await file_store.events.append("s", "t", "ours", idempotency_key="k")
    await file_store.events.append("s", "t", "more")
    assert [event.data for event in await following] == ["theirs", "more"]


async def test_what_was_refused_is_not_followed(store: SessionStore) -> None:
    follower = store.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    with pytest.raises(SequenceConflict):
        await store.events.append("s", "t", expected_head=7)
    await store.events.append_many("s", [])
    assert not following.done()
    await append(store)
    assert await following == [1]


async def test_a_fork_is_followed_through_its_parent(store: SessionStore) -> None:
    await append(store, 3)
    await store.sessions.fork("s", at_event_seq=2, new_id="f")
    follower = store.events.follow("f")
    assert await take(follower, 2) == await store.events.list("f")
    await append(store, 4)
    await append(store, 1, "f")
    assert await take(follower, 1) == await store.events.list("f", after=2)


async def test_more_than_a_page(store: SessionStore) -> None:
    await append(store, 1_700)
    follower = store.events.follow("s")
    assert await taken(follower, 1_000) == [*range(1, 1_001)]
    await append(store, 3)
    assert await taken(follower, 703) == [*range(1_001, 1_704)]


# Sessions that are not there


@pytest.mark.parametrize("call", ["follow", "follow_all"])
async def test_an_unknown_session(store: SessionStore, call: str) -> None:
    events = store.events
    follower = events.follow("?") if call == "follow" else events.follow_all(["?"])
    with pytest.raises(SessionNotFound):
        await anext(follower)
    assert [event async for event in follower] == []


async def test_a_session_that_is_deleted(store: SessionStore) -> None:
    await append(store)
    follower = store.events.follow("s")
    assert await taken(follower, 1) == [1]
    following = asyncio.create_task(take(follower, 1))
    await waits(store)
    await store.sessions.delete("s")
    with pytest.raises(SessionNotFound):
        await following
    assert [event async for event in follower] == []


async def test_a_session_that_is_made_again_is_another(store: SessionStore) -> None:
    await append(store)
    follower = store.events.follow("s")
    assert await taken(follower, 1) == [1]
    await store.sessions.delete("s")
    await store.sessions.create(id="s")
    await append(store, 5)
    with pytest.raises(SessionNotFound):
        await anext(follower)


async def test_events_that_are_deleted_are_passed_over(store: SessionStore) -> None:
    await append(store, 3)
    follower = store.events.follow("s")
    assert await taken(follower, 1) == [1]
    early = store.events.follow("s")
    await append(store, 3)
    await store.events.delete_before("s", 6)
    await append(store)
    assert await taken(early, 2) == [6, 7]
    # What it took in before they were deleted it has.
    assert await taken(follower, 6) == [2, 3, 4, 5, 6, 7]
    await store.events.delete_before("s", 99)
    await append(store)
    assert await taken(early, 1) == [8]
    assert await taken(follower, 1) == [8]


# Arguments


@pytest.mark.parametrize(
    "call",
    [
        lambda events: events.follow(""),
        lambda events: events.follow(7),
        lambda events: events.follow("s", after=-1),
        lambda events: events.follow("s", after="1"),
        lambda events: events.follow("s", after=None),
        lambda events: events.follow("s", idle_timeout_s=-0.1),
        lambda events: events.follow("s", idle_timeout_s=float("nan")),
        lambda events: events.follow("s", idle_timeout_s=float("inf")),
        lambda events: events.follow("s", idle_timeout_s=10**400),
        lambda events: events.follow("s", idle_timeout_s="1"),
        lambda events: events.follow("s", idle_timeout_s=True),
        lambda events: events.follow_all("s"),
        lambda events: events.follow_all(7),
        lambda events: events.follow_all([""]),
        lambda events: events.follow_all([None]),
        lambda events: events.follow_all(after=3),
        lambda events: events.follow_all(after={"s": -1}),
        lambda events: events.follow_all(after={7: 1}),
    ],
)
async def test_bad_arguments_are_refused_by_the_call(
    memory_store: SessionStore, call: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidArgument):
        call(memory_store.events)
