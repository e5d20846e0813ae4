"""What a call promises: atomic, acknowledged, independent, safe to cancel.

Also between several stores on one database. Several processes, and what a crash or a
loss of power leaves, are for a backend's own tests.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    MessageExists,
    MessageNotFound,
    NewEvent,
    NewMessage,
    SequenceConflict,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    StatusConflict,
    ToolCallNotFound,
)

MESSAGES: Final = [NewMessage(role="user", content=n) for n in range(7)]
EVENTS: Final = [NewEvent(type="e", data=n) for n in range(7)]
GIVE_UP_S: Final = 5
"""After which a cancellation that never comes fails its test."""
every_step = pytest.mark.parametrize("step", range(8))


async def steps(count: int) -> None:
    """Let other tasks run, so that a cancellation meets a call at another place."""
    for _ in range(count):
        await asyncio.sleep(0)


async def expire(timeout: asyncio.Timeout, count: int) -> None:
    """Let a timeout expire after some steps, unless its block has been left."""
    await steps(count)
    with suppress(RuntimeError):
        timeout.reschedule(0)


# 5. Atomic


async def test_readers_see_all_of_a_call_or_nothing(
    store: SessionStore, session: Session
) -> None:
    found = await asyncio.gather(*(seen(store, store) for _ in range(20)))
    assert {count % 7 for counts in found for count in counts} == {0}
    assert await store.events.head("s") == 140


# 7. Independent


async def test_a_call_that_fails_fails_alone(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", id="m")
    outcomes = await asyncio.gather(
        store.events.append("s", "e"),
        store.events.append("gone", "e"),
        store.sessions.create(id="s"),
        store.messages.append("s", "user", id="m"),
        store.messages.append("s", "user", "good", id="n"),
        store.tool_calls.update("s", "gone", status="completed"),
        store.tool_calls.create("s", "ls", {}, message_id="gone"),
        store.events.append("s", "e", expected_head=7),
        store.sessions.update("s", title="t", expected_status="failed"),
        store.events.append("s", "e"),
        store.sessions.create(id="new"),
        return_exceptions=True,
    )
    failed = [type(each) for each in outcomes if isinstance(each, Exception)]
    assert failed == [
        SessionNotFound,
        SessionExists,
        MessageExists,
        ToolCallNotFound,
        MessageNotFound,
        SequenceConflict,
        StatusConflict,
    ]
    assert (outcomes[0], outcomes[-2]) == (1, 2)
    assert await store.events.head("s") == 2
    messages = await store.messages.list("s")
    assert [(each.id, each.content) for each in messages] == [
        ("m", None),
        ("n", "good"),
    ]
    assert messages[1] == outcomes[4]
    assert await store.tool_calls.list("s") == []
    assert await store.sessions.get("new") == outcomes[-1]


# 8. Cancellation


@every_step
async def test_a_call_that_raises_the_cancellation_wrote_nothing(
    store: SessionStore, session: Session, step: int
) -> None:
    task = asyncio.create_task(store.events.append("s", "e"))
    await steps(step)
    task.cancel()
    await asyncio.wait([task])
    written = 0 if task.cancelled() else 1
    assert await store.events.head("s") == written
    assert await store.events.append("s", "e") == written + 1


@every_step
async def test_a_turn_that_raises_the_cancellation_wrote_nothing(
    store: SessionStore, session: Session, step: int
) -> None:
    async def take_turn() -> None:
        async with store.turn("s") as turn:
            turn.message("user")
            turn.event("e")

    task = asyncio.create_task(take_turn())
    await steps(step)
    task.cancel()
    await asyncio.wait([task])
    read = await store.sessions.get("s")
    assert read is not None
    written = 0 if task.cancelled() else 1
    assert (read.message_head, read.event_head) == (written, written)


@every_step
async def test_a_cancellation_during_the_commit_comes_at_the_next_await(
    store: SessionStore, session: Session, step: int
) -> None:
    returned: list[int] = []

    async def append() -> None:
        returned.append(await store.events.append("s", "e"))
        await asyncio.sleep(GIVE_UP_S)

    task = asyncio.create_task(append())
    await steps(step)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await store.events.head("s") == len(returned)


@every_step
async def test_a_cancellation_keeps_its_message_and_count(
    store: SessionStore, session: Session, step: int
) -> None:
    async def append() -> tuple[tuple[Any, ...], int]:
        task = asyncio.current_task()
        assert task is not None
        try:
            await store.events.append("s", "e")
            await asyncio.sleep(GIVE_UP_S)
        except asyncio.CancelledError as cancellation:
            return cancellation.args, task.cancelling()
        raise AssertionError("nothing was cancelled")

    task = asyncio.create_task(append())
    await steps(max(step, 1))  # so that the task has begun
    task.cancel("stop it")
    assert await task == (("stop it",), 1)


@every_step
async def test_a_timeout_during_a_call_comes_at_the_next_await(
    store: SessionStore, session: Session, step: int
) -> None:
    returned: list[int] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            expiring = asyncio.create_task(expire(timeout, step))
            returned.append(await store.events.append("s", "e"))
            await asyncio.Event().wait()
    await expiring
    assert await store.events.head("s") == len(returned)


@every_step
async def test_a_timeout_block_that_ends_with_a_call_leaves_no_cancellation(
    store: SessionStore, session: Session, step: int
) -> None:
    task = asyncio.current_task()
    assert task is not None
    returned: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            expiring = asyncio.create_task(expire(timeout, step))
            returned.append(await store.events.append("s", "e"))
    await expiring
    assert await store.events.head("s") == len(returned)
    assert task.cancelling() == 0


async def test_no_connection_is_lost_to_cancellations(open_store: OpenStore) -> None:
    store = await open_store(readers=2)
    await store.sessions.create(id="s")
    await store.events.append_many("s", [NewEvent(type="e")] * 100)
    for step in range(20):
        tasks = [asyncio.create_task(store.events.list("s")) for _ in range(4)]
        tasks.append(asyncio.create_task(store.events.list("s", after=50)))
        await steps(step)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    found = await asyncio.gather(*(store.events.list("s") for _ in range(8)))
    assert [len(each) for each in found] == [100] * 8
    assert await store.events.append("s", "e") == 101


# 10. Nothing is held between calls


async def test_an_iterator_no_longer_read_holds_no_connection(
    open_store: OpenStore,
) -> None:
    store = await open_store(readers=1)
    await store.sessions.create(id="s")
    await store.events.append_many("s", EVENTS)
    streams = [store.events.stream("s", page_size=1) for _ in range(3)]
    follower = store.events.follow("s")
    assert [(await anext(each)).seq for each in streams] == [1, 1, 1]
    assert (await anext(follower)).seq == 1
    assert await store.events.head("s") == 7
    await follower.aclose()
    await end(streams, store)


async def test_an_iterator_no_longer_read_holds_no_lock(
    store: SessionStore, session: Session
) -> None:
    await store.events.append_many("s", EVENTS)
    streams = [store.events.stream("s", page_size=1)]
    assert (await anext(streams[0])).seq == 1
    assert await store.events.append("s", "e") == 8
    assert await store.events.delete_before("s", 5) == 4
    assert (await anext(streams[0])).seq == 5
    await end(streams, store)


async def seen(writer: SessionStore, reader: SessionStore) -> list[int]:
    """Append messages and events to the session; return how many of each were there
    at several moments."""
    counts: list[int] = []

    async def look() -> None:
        counts.append(len(await reader.messages.list("s")))
        counts.append(len(await reader.events.list("s")))

    await asyncio.gather(
        look(),
        writer.messages.append_many("s", MESSAGES),
        look(),
        writer.events.append_many("s", EVENTS),
        look(),
    )
    return counts


async def end(streams: list[Any], store: SessionStore) -> None:
    """Delete the session, which ends its streams."""
    assert await store.sessions.delete("s")
    for stream in streams:
        with pytest.raises(SessionNotFound):
            await anext(stream)


# Several stores on one database


# 6. Acknowledged


async def test_a_call_that_returned_is_seen_by_every_store(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    other = await open_shared()
    for seq in range(1, 6):
        await store.messages.append("s", "user", seq)
        assert await store.events.append("s", "e") == seq
        assert await other.events.head("s") == seq
        assert len(await other.messages.list("s")) == seq


async def test_readers_of_another_store_see_all_of_a_call_or_nothing(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    other = await open_shared()
    found = await asyncio.gather(*(seen(store, other) for _ in range(20)))
    assert {count % 7 for counts in found for count in counts} == {0}
    assert await other.events.head("s") == 140


# 12. Several processes


async def test_two_stores_share_one_series_without_gaps_or_repeats(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    stores = [store, await open_shared()]
    calls = [stores[n % 2].events.append("s", "e", n) for n in range(60)]
    seqs = await asyncio.gather(*calls)
    assert sorted(seqs) == [*range(1, 61)]
    assert await stores[1].events.list("s") == await store.events.list("s")
    assert await stores[1].sessions.load("s") == await store.sessions.load("s")


async def test_each_of_two_stores_keeps_its_call_order(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    stores = [store, await open_shared()]
    calls = [stores[n % 2].messages.append("s", "user", n) for n in range(60)]
    await asyncio.gather(*calls)
    contents = [each.content for each in await store.messages.list("s")]
    for parity in (0, 1):
        own = [each for each in contents if each % 2 == parity]
        assert own == [*range(parity, 60, 2)]


async def test_an_id_is_taken_once_by_two_stores(
    store: SessionStore, open_shared: OpenStore
) -> None:
    stores = [store, await open_shared()]
    outcomes = await asyncio.gather(
        *(stores[n % 2].sessions.create(id="s") for n in range(10)),
        return_exceptions=True,
    )
    made = [each for each in outcomes if isinstance(each, Session)]
    refused = [each for each in outcomes if isinstance(each, SessionExists)]
    assert (len(made), len(refused)) == (1, 9)


async def test_an_expected_head_holds_against_another_store(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    stores = [store, await open_shared()]
    outcomes = await asyncio.gather(
        *(stores[n % 2].events.append("s", "e", expected_head=0) for n in range(8)),
        return_exceptions=True,
    )
    assert [each for each in outcomes if isinstance(each, int)] == [1]
    conflicts = [each for each in outcomes if isinstance(each, SequenceConflict)]
    assert [each.actual_head for each in conflicts] == [1] * 7


async def test_a_call_that_fails_fails_alone_beside_another_store(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    other = await open_shared()
    outcomes = await asyncio.gather(
        store.messages.append("s", "user", id="m"),
        other.events.append("gone", "e"),
        other.messages.append("s", "user", id="n"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], SessionNotFound)
    ids = {each.id for each in await other.messages.list("s")}
    assert ids == {"m", "n"}
