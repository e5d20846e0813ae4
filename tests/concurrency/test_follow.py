"""``store.events.follow``: what was there, then what is committed, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from watching import NEVER_S, SOON_S, busy_readers, reader_waits, take, taken, waits

from turnstore import (
    AcquireTimeout,
    BackendError,
    InvalidArgument,
    NewEvent,
    SequenceConflict,
    SessionNotFound,
    SessionStore,
    StoreClosed,
    StoreError,
    StoreOptions,
)
from turnstore._event_writes import AppendEvents
from turnstore._session_writes import CreateSession
from turnstore.turns import Turn

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["file", "memory"])
async def store(
    request: pytest.FixtureRequest, store_path: Path
) -> AsyncIterator[SessionStore]:
    """A store that does not poll while a test runs."""
    url = store_path if request.param == "file" else "sqlite://"
    options = StoreOptions(poll_interval_s=NEVER_S, readers=1)
    async with SessionStore(url, options) as opened:
        await opened.sessions.create(id="s")
        yield opened


@pytest.fixture
async def file_store(store_path: Path) -> AsyncIterator[SessionStore]:
    options = StoreOptions(poll_interval_s=NEVER_S, readers=1)
    async with SessionStore(store_path, options) as opened:
        await opened.sessions.create(id="s")
        yield opened


async def append(store: SessionStore, count: int = 1, session_id: str = "s") -> None:
    new = [NewEvent(type="t", data={"at": at}) for at in range(count)]
    await store.events.append_many(session_id, new)


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


@pytest.mark.parametrize("after", [0, 1, 3, 5, 9])
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
        assert len(follower._intake.buffer) == 2
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

    def fail() -> None:
        raise BackendError("after the commit")

    with monkeypatch.context() as patched:
        patched.setattr(store._backend._wal, "check_identity", fail)  # type: ignore[attr-defined]
        with pytest.raises(BackendError, match="after the commit"):
            await append(store)
    assert await following == [1]


async def test_a_read_that_failed_is_made_again(store_path: Path) -> None:
    options = StoreOptions(poll_interval_s=NEVER_S, readers=1, acquire_timeout_s=SOON_S)
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


# Endings


async def test_an_idle_timeout_of_nothing_gives_what_is_there(
    store: SessionStore,
) -> None:
    await append(store, 600)
    follower = store.events.follow("s", after=2, idle_timeout_s=0)
    assert [event.seq async for event in follower] == [*range(3, 601)]
    await append(store)
    assert [event async for event in follower] == []
    assert store._followers._known == {}


@pytest.fixture
async def let_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[[float], None]]:
    """Put the event loop's clock forward."""
    loop = asyncio.get_running_loop()
    passed_s = 0.0
    time = loop.time

    def let_pass(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds
        loop.call_soon(lambda: None)  # wakes it

    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: time() + passed_s)
        yield let_pass


async def test_an_idle_timeout_ends_a_wait(
    let_pass: Callable[[float], None], store: SessionStore
) -> None:
    await append(store)
    follower = store.events.follow("s", idle_timeout_s=10)
    following = asyncio.create_task(collect(follower))
    await waits(store)
    let_pass(11)
    assert await following == [1]


async def test_a_callers_own_time_is_not_idle_time(
    let_pass: Callable[[float], None], store: SessionStore
) -> None:
    await append(store)
    follower = store.events.follow("s", idle_timeout_s=10)
    assert await taken(follower, 1) == [1]
    let_pass(11)
    following = asyncio.create_task(taken(follower, 1))
    await waits(store)
    await append(store)
    assert await following == [2]


async def test_being_told_of_nothing_new_does_not_put_the_timeout_off(
    let_pass: Callable[[float], None], store: SessionStore
) -> None:
    follower = store.events.follow("s", idle_timeout_s=10)
    following = asyncio.create_task(collect(follower))
    for _ in range(2):
        await waits(store)
        let_pass(6)
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
