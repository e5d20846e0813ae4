"""Calls made at once: each stands or falls alone, and they follow call order.

Through one store, through two on one database, and over a session's deletion.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnstore import SessionExists, SessionNotFound, SessionStore, Usage

pytestmark = pytest.mark.anyio


async def whole(store: SessionStore) -> list[Any]:
    """All that is stored."""
    page = await store.sessions.list(limit=1_000)
    return [
        (await store.sessions.load(each.id), await store.events.list(each.id))
        for each in page.items
    ]


async def test_a_bad_call_among_good_ones_fails_alone(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.messages.append("s", "user", id="m")
    outcomes = await asyncio.gather(
        store.events.append("s", "e"),
        store.events.append("gone", "e"),
        store.sessions.create(id="s"),
        store.messages.append("s", "user", id="m"),
        store.messages.append("s", "user", "good"),
        store.tool_calls.update("s", "gone", status="completed"),
        store.tool_calls.create("s", "t", {}, message_id="gone"),
        store.events.append("s", "e", expected_head=7),
        store.events.append("s", "e"),
        store.sessions.create(id="new"),
        return_exceptions=True,
    )
    names = [type(each).__name__ for each in outcomes]
    assert names == [
        "int",
        "SessionNotFound",
        "SessionExists",
        "MessageExists",
        "Message",
        "ToolCallNotFound",
        "MessageNotFound",
        "SequenceConflict",
        "int",
        "Session",
    ]
    assert await store.events.head("s") == 2
    assert [each.content for each in await store.messages.list("s")] == [None, "good"]
    assert await store.tool_calls.list("s") == []


async def test_gathered_calls_of_every_room_keep_call_order(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s")
    outcomes: list[Any] = await asyncio.gather(
        store.messages.append("s", "assistant", "calls", id="m"),
        store.tool_calls.create("s", "t", {}, id="c", message_id="m"),
        store.tool_calls.update("s", "c", status="executing"),
        store.events.append("s", "started", expected_head=0),
        store.tool_calls.update(
            "s", "c", status="completed", expected_status="executing"
        ),
        store.messages.append("s", "tool", "result", parent_id="m"),
        store.events.append("s", "ended", expected_head=1),
        store.sessions.update("s", status="completed", active_message_id="m"),
        store.messages.append("s", "user", "branch"),
    )
    assert [each.status for each in (outcomes[1], outcomes[2], outcomes[4])] == [
        "pending",
        "executing",
        "completed",
    ]
    assert outcomes[8].parent_id == "m"
    session = await store.sessions.get("s")
    assert session is not None
    assert (session.pending_tool_calls, session.tool_call_count) == (0, 1)
    assert (session.event_head, session.message_head) == (2, 3)


async def test_many_gathered_appends_to_many_sessions_keep_their_order(
    store: SessionStore,
) -> None:
    names = [f"s{n}" for n in range(10)]
    await asyncio.gather(*(store.sessions.create(id=name) for name in names))
    appends = [
        store.events.append(name, "e", n) for n in range(50) for name in reversed(names)
    ]
    seqs = await asyncio.gather(*appends)
    assert seqs == [n + 1 for n in range(50) for _ in names]
    for name in names:
        assert [each.data for each in await store.events.list(name)] == [*range(50)]


async def test_two_stores_on_one_database_share_everything(
    store: SessionStore, second_store: SessionStore
) -> None:
    await store.sessions.create(id="s")
    pairs = zip([store, second_store] * 20, range(40), strict=True)
    seqs = await asyncio.gather(*(each.events.append("s", "e", n) for each, n in pairs))
    assert sorted(seqs) == [*range(1, 41)]
    with pytest.raises(SessionExists):
        await second_store.sessions.create(id="s")
    assert await whole(store) == await whole(second_store)


@pytest.mark.parametrize("by_another", [False, True])
async def test_a_session_made_again_with_the_same_id_starts_afresh(
    store: SessionStore, second_store: SessionStore, by_another: bool
) -> None:
    other = second_store if by_another else store
    for n in range(3):
        await other.sessions.create(id="s", title=str(n), metadata={"n": str(n)})
        for each in (store, other):
            await each.events.append("s", "e", idempotency_key=f"{n}")
            await each.messages.append("s", "user", idempotency_key="k", usage=Usage())
        assert (await store.messages.append("s", "user", id="m")).seq == 2
        await store.tool_calls.create("s", "t", {}, id="c")
        assert await other.events.head("s") == 1
        assert await other.sessions.delete("s")
        with pytest.raises(SessionNotFound):
            await store.events.append("s", "e")
        with pytest.raises(SessionNotFound):
            await store.messages.list("s")
    fresh = await other.sessions.create(id="s")
    assert (fresh.event_head, fresh.message_count, fresh.metadata) == (0, 0, {})
    assert fresh.usage == Usage() and fresh.tool_call_count == 0
    assert (await store.messages.append("s", "user", idempotency_key="k")).seq == 1


async def test_delete_and_create_in_one_gather_follow_call_order(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s", title="old")
    await store.messages.append("s", "user", id="m")
    outcomes = await asyncio.gather(
        store.events.append("s", "e"),
        store.sessions.delete("s"),
        store.events.append("s", "e"),
        store.sessions.create(id="s", title="new"),
        store.events.append("s", "e"),
        store.messages.append("s", "user", id="m"),
        store.sessions.delete("s"),
        store.sessions.delete("s"),
        store.sessions.create(id="s", title="newest"),
        store.sessions.update("s", agent_name="a"),
        return_exceptions=True,
    )
    assert outcomes[:3:2] == [1, outcomes[2]] and outcomes[1] is True
    assert isinstance(outcomes[2], SessionNotFound)
    assert (outcomes[4], outcomes[6], outcomes[7]) == (1, True, False)
    session = await store.sessions.get("s")
    assert session == outcomes[9] and session is not None
    assert (session.title, session.event_head, session.message_count) == (
        "newest",
        0,
        0,
    )


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_raises_the_cancellation_wrote_nothing(
    store: SessionStore, turns: int
) -> None:
    await store.sessions.create(id="s")
    task = asyncio.create_task(store.events.append("s", "e"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    written = not isinstance(outcome, asyncio.CancelledError)
    assert await store.events.head("s") == int(written)
    assert await store.events.append("s", "e") == written + 1
