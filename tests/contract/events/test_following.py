"""``store.events.follow`` and ``follow_all``: what is there, then what is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from tests.support.patience import LIMIT_S
from turnstore import (
    Event,
    InvalidArgument,
    NewEvent,
    SequenceConflict,
    Session,
    SessionNotFound,
    SessionStore,
    StoreClosed,
)

HANGS_S: Final = LIMIT_S
"""A wait of so long is an error."""

WRONG: Final[dict[str, Callable[[Any], object]]] = {
    "id": lambda events: events.follow(""),
    "no text": lambda events: events.follow(7),
    "after": lambda events: events.follow("s", after=-1),
    "after nothing": lambda events: events.follow("s", after=None),
    "idle": lambda events: events.follow("s", idle_timeout_s=-1),
    "idle for ever": lambda events: events.follow("s", idle_timeout_s=float("inf")),
    "one id": lambda events: events.follow_all("s"),
    "ids": lambda events: events.follow_all([""]),
    "one after": lambda events: events.follow_all(after=3),
    "afters": lambda events: events.follow_all(after={"s": -1}),
}


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(HANGS_S):
        return [await anext(events) for _ in range(count)]


async def seqs(events: AsyncIterator[Event], count: int) -> list[int]:
    return [each.seq for each in await take(events, count)]


async def rest(events: AsyncIterator[Event]) -> list[int]:
    """Read to the end."""
    async with asyncio.timeout(HANGS_S):
        return [each.seq async for each in events]


async def places(events: AsyncIterator[Event], count: int) -> list[tuple[str, int]]:
    return [(each.session_id, each.seq) for each in await take(events, count)]


async def append(store: SessionStore, count: int, session_id: str = "s") -> None:
    new = [NewEvent(type="e", data=n) for n in range(count)]
    await store.events.append_many(session_id, new)


async def create(store: SessionStore, *session_ids: str) -> None:
    for name in session_ids:
        await store.sessions.create(id=name)


# Backlog, then live


async def test_follow_gives_the_backlog_then_what_is_committed(
    store: SessionStore, session: Session
) -> None:
    await append(store, 2)
    follower = store.events.follow("s")
    assert await seqs(follower, 2) == [1, 2]
    found, _ = await asyncio.gather(seqs(follower, 3), append(store, 3))
    assert found == [3, 4, 5]


async def test_what_is_followed_is_what_is_listed(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "a", {"n": 1}, model="m", turn_id="t")
    follower = store.events.follow("s")
    found = await take(follower, 1)
    live, _ = await asyncio.gather(
        take(follower, 1), store.events.append("s", "b", [None, 10**30], model="m")
    )
    assert found + live == await store.events.list("s")


@pytest.mark.parametrize("after", range(4))
async def test_follow_begins_after_a_seq(
    store: SessionStore, session: Session, after: int
) -> None:
    await append(store, 3)
    follower = store.events.follow("s", after=after)
    await append(store, 3)
    assert await seqs(follower, 6 - after) == [*range(after + 1, 7)]


async def test_follow_has_no_gap_and_no_repeat_while_others_append(
    store: SessionStore, session: Session
) -> None:
    async def write() -> None:
        for _ in range(40):
            await store.events.append("s", "e")

    await append(store, 40)
    follower = store.events.follow("s")
    found, *_ = await asyncio.gather(seqs(follower, 160), *(write() for _ in range(3)))
    assert found == [*range(1, 161)]


async def test_a_backlog_of_any_length_is_followed(
    store: SessionStore, session: Session
) -> None:
    await append(store, 2_500)
    follower = store.events.follow("s")
    assert await seqs(follower, 10) == [*range(1, 11)]
    await append(store, 1_500)
    assert await seqs(follower, 3_990) == [*range(11, 4_001)]


async def test_each_follower_gets_everything(
    store: SessionStore, session: Session
) -> None:
    followers = [store.events.follow("s") for _ in range(3)]
    found = await asyncio.gather(
        *(seqs(each, 3) for each in followers), append(store, 3)
    )
    assert found[:3] == [[1, 2, 3]] * 3


async def test_events_of_a_turn_are_followed(
    store: SessionStore, session: Session
) -> None:
    async def write() -> None:
        async with store.turn("s") as turn:
            turn.event("e")
            turn.message("user")
            turn.event("e")

    follower = store.events.follow("s")
    found, _ = await asyncio.gather(seqs(follower, 2), write())
    assert found == [1, 2]


async def test_only_what_was_written_is_followed(
    store: SessionStore, session: Session
) -> None:
    follower = store.events.follow("s")
    await store.events.append("s", "e", 1, idempotency_key="k")
    assert await seqs(follower, 1) == [1]
    await store.events.append("s", "e", 1, idempotency_key="k")
    with pytest.raises(SequenceConflict):
        await store.events.append("s", "e", 2, expected_head=9)
    await store.events.append("s", "e", 3)
    assert [each.data for each in await take(follower, 1)] == [3]


async def test_deleted_events_are_passed_over(
    store: SessionStore, session: Session
) -> None:
    await append(store, 3)
    await store.events.delete_before("s", 3)
    follower = store.events.follow("s")
    assert await seqs(follower, 1) == [3]


async def test_an_abandoned_follower_holds_nothing(open_store: OpenStore) -> None:
    store = await open_store(readers=1)
    await store.sessions.create(id="s")
    await append(store, 2)
    followers = [store.events.follow("s") for _ in range(5)]
    for follower in followers:
        assert await seqs(follower, 1) == [1]
    assert await store.events.append("s", "e") == 3
    assert await store.sessions.delete("s")


async def test_a_cancelled_wait_takes_nothing_away(
    store: SessionStore, session: Session
) -> None:
    follower = store.events.follow("s")
    waiting = asyncio.create_task(seqs(follower, 1))
    await store.events.head("s")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await append(store, 2)
    assert await seqs(follower, 2) == [1, 2]


# Endings


async def test_an_idle_timeout_ends_following_quietly(
    store: SessionStore, session: Session
) -> None:
    await append(store, 3)
    follower = store.events.follow("s", after=1, idle_timeout_s=0.01)
    assert await rest(follower) == [2, 3]


async def test_an_idle_timeout_of_0_gives_what_is_there(
    store: SessionStore, session: Session
) -> None:
    await append(store, 1_200)
    follower = store.events.follow("s", idle_timeout_s=0)
    assert await rest(follower) == [*range(1, 1_201)]


async def test_closing_the_store_ends_following(
    store: SessionStore, session: Session
) -> None:
    await append(store, 2)
    follower = store.events.follow("s")
    assert await seqs(follower, 2) == [1, 2]
    left, _ = await asyncio.gather(rest(follower), store.close())
    assert left == []


async def test_following_a_closed_store(store: SessionStore, session: Session) -> None:
    await store.close()
    with pytest.raises(StoreClosed):
        await anext(store.events.follow("s"))


async def test_following_a_session_that_is_deleted(
    store: SessionStore, session: Session
) -> None:
    await append(store, 1)
    follower = store.events.follow("s")
    assert await seqs(follower, 1) == [1]
    outcomes = await asyncio.gather(
        take(follower, 1), store.sessions.delete("s"), return_exceptions=True
    )
    assert isinstance(outcomes[0], SessionNotFound)


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
async def test_following_refuses_arguments_out_of_bounds(
    store: SessionStore, session: Session, call: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidArgument):
        call(store.events)


# follow_all


async def test_follow_all_gives_each_session_in_its_order(store: SessionStore) -> None:
    await create(store, "a", "b")
    for name in "abab":
        await append(store, 2, name)
    found = await places(store.events.follow_all(["a", "b"]), 8)
    for name in "ab":
        of_one = [seq for session_id, seq in found if session_id == name]
        assert of_one == [1, 2, 3, 4]


async def test_follow_all_leaves_other_sessions_out(store: SessionStore) -> None:
    await create(store, "a", "b")
    follower = store.events.follow_all(["b"])
    await append(store, 1, "a")
    found, *_ = await asyncio.gather(
        places(follower, 2), append(store, 1, "a"), append(store, 2, "b")
    )
    assert found == [("b", 1), ("b", 2)]


async def test_follow_all_begins_after_the_seq_of_each_session(
    store: SessionStore,
) -> None:
    await create(store, "a", "b")
    await append(store, 3, "a")
    await append(store, 1, "b")
    follower = store.events.follow_all(after={"a": 2, "unknown": 5})
    assert sorted(await places(follower, 2)) == [("a", 3), ("b", 1)]


async def test_follow_all_follows_sessions_that_come_later(store: SessionStore) -> None:
    await create(store, "a")
    follower = store.events.follow_all()
    await append(store, 1, "a")
    assert await places(follower, 1) == [("a", 1)]
    await create(store, "new")
    found, _ = await asyncio.gather(places(follower, 2), append(store, 2, "new"))
    assert found == [("new", 1), ("new", 2)]


async def test_follow_all_of_no_sessions_ends(store: SessionStore) -> None:
    assert await rest(store.events.follow_all([])) == []


async def test_follow_all_ends_after_an_idle_timeout(
    store: SessionStore, session: Session
) -> None:
    await append(store, 2)
    assert await rest(store.events.follow_all(idle_timeout_s=0.01)) == [1, 2]


# Several stores on one database


async def test_follow_gives_what_another_store_commits(open_shared: OpenStore) -> None:
    ours, theirs = await open_shared(), await open_shared()
    await create(ours, "s")
    await append(ours, 1)
    follower = ours.events.follow("s")
    assert await seqs(follower, 1) == [1]
    found, *_ = await asyncio.gather(seqs(follower, 3), append(theirs, 3))
    assert found == [2, 3, 4]


async def test_follow_has_no_gap_and_no_repeat_with_several_stores(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await create(stores[0], "s")

    async def write(store: SessionStore) -> None:
        for _ in range(40):
            await store.events.append("s", "e")

    followers = [each.events.follow("s") for each in stores]
    found = await asyncio.gather(
        *(take(each, 80) for each in followers), *(write(each) for each in stores)
    )
    assert found[0] == found[1] == await stores[0].events.list("s")


async def test_follow_all_gives_sessions_that_another_store_creates(
    open_shared: OpenStore,
) -> None:
    ours, theirs = await open_shared(), await open_shared()
    await create(ours, "a")
    await append(ours, 1, "a")
    follower = ours.events.follow_all()
    assert await places(follower, 1) == [("a", 1)]
    await create(theirs, "new")
    found, _ = await asyncio.gather(places(follower, 2), append(theirs, 2, "new"))
    assert found == [("new", 1), ("new", 2)]


async def test_following_a_session_that_another_store_deletes(
    open_shared: OpenStore,
) -> None:
    ours, theirs = await open_shared(), await open_shared()
    await create(ours, "s")
    await append(ours, 1)
    follower = ours.events.follow("s")
    assert await seqs(follower, 1) == [1]
    outcomes = await asyncio.gather(
        take(follower, 1), theirs.sessions.delete("s"), return_exceptions=True
    )
    assert isinstance(outcomes[0], SessionNotFound)
