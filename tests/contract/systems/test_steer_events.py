"""What a runtime written for steer does with events."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.seeds import as_steer
from turnstore import InvalidArgument, Session, SessionNotFound, SessionStore

session = as_steer.session


async def test_the_first_event_has_seq_1_and_is_read_after_0(
    store: SessionStore, session: Session
) -> None:
    """In steer it has 0, which can only be read after the largest number there is."""
    data = {"session_id": "s", "metadata": {"model": "claude", "metadata": {}}}
    assert await store.events.head("s") == 0
    assert await store.events.append("s", "session_created", data) == 1
    [found] = await store.events.list("s", after=0)
    assert (found.seq, found.type, found.data) == (1, "session_created", data)
    assert await store.events.list("s", after=1) == []


@pytest.mark.parametrize("after", [-1, 2**64 - 1])
async def test_a_seq_out_of_range_is_refused(
    store: SessionStore, session: Session, after: int
) -> None:
    """In steer the largest number there is means -1."""
    with pytest.raises(InvalidArgument):
        await store.events.list("s", after=after)


async def test_events_are_in_order_and_at_most_the_limit(
    store: SessionStore, session: Session
) -> None:
    for part in range(5):
        await store.events.append("s", "message_part", {"content": part})
    found = await store.events.list("s", after=1, limit=3)
    assert [(each.seq, each.data["content"]) for each in found] == [
        (2, 1),
        (3, 2),
        (4, 3),
    ]


async def test_a_reader_follows_what_is_streamed(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "operation_started")
    async with store.events.follow("s", after=0) as events:
        assert (await anext(events)).type == "operation_started"
        await store.events.append("s", "operation_completed")
        assert (await anext(events)).seq == 2


async def test_two_writers_never_take_the_same_seq(
    store: SessionStore, second_store: SessionStore, session: Session
) -> None:
    """In steer one of them fails, and its event is lost."""
    given = [
        each.events.append("s", "message_part")
        for _ in range(20)
        for each in (store, second_store)
    ]
    assert sorted(await asyncio.gather(*given)) == list(range(1, 41))
    found = await store.events.list("s")
    assert [each.seq for each in found] == list(range(1, 41))


async def test_events_before_a_seq_are_deleted_and_counted(
    store: SessionStore, session: Session
) -> None:
    for _ in range(5):
        await store.events.append("s", "message_part")
    assert await store.events.delete_before("s", 4) == 3
    assert [each.seq for each in await store.events.list("s")] == [4, 5]
    assert await store.events.delete_before("s", 4) == 0


async def test_no_number_is_used_again_once_all_are_deleted(
    store: SessionStore, session: Session
) -> None:
    """steer begins at 0 again."""
    for _ in range(3):
        await store.events.append("s", "message_part")
    assert await store.events.delete_before("s", 4) == 3
    assert await store.events.append("s", "message_part") == 4
    assert await store.events.head("s") == 4


async def test_events_of_an_unknown_session_are_an_error(
    store: SessionStore,
) -> None:
    """steer gives an empty list, and deletes none."""
    with pytest.raises(SessionNotFound):
        await store.events.append("nowhere", "message_part")
    with pytest.raises(SessionNotFound):
        await store.events.list("nowhere")
    with pytest.raises(SessionNotFound):
        await store.events.delete_before("nowhere", 1)
