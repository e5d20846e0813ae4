"""``store.tool_calls``: what the tools of a session were asked and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.contract.statuses import FINAL, OPEN
from tests.contract.tool_calls.counts import counts
from turnstore import (
    InvalidArgument,
    MessageNotFound,
    Session,
    SessionFilter,
    SessionStore,
    StatusConflict,
    ToolCall,
    ToolCallExists,
)

MOMENT: Final = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

every_status = pytest.mark.parametrize("status", [*OPEN, *FINAL])


@pytest.fixture
async def one_call(store: SessionStore, session: Session) -> ToolCall:
    """A pending tool call."""
    return await store.tool_calls.create("s", "shell", {"a": 1}, id="c")


# create


async def test_a_tool_call_is_external_and_pending_by_default(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "t", {})
    assert (made.kind, made.status) == ("external", "pending")
    assert (made.call_id, made.message_id) == (None, None)
    assert (made.started_at, made.completed_at) == (None, None)
    assert made.created_at.tzinfo is UTC
    found = await store.sessions.get("s")
    assert found is not None and found.updated_at >= made.created_at


async def test_a_tool_call_without_an_id_gets_a_new_one(
    store: SessionStore, session: Session
) -> None:
    made = [await store.tool_calls.create("s", "t", {}) for _ in range(2)]
    assert made[0].id != made[1].id


async def test_a_tool_call_id_that_the_session_has_is_refused(
    store: SessionStore, one_call: ToolCall
) -> None:
    with pytest.raises(ToolCallExists) as caught:
        await store.tool_calls.create("s", "other", {}, id="c", status="completed")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "c")
    assert await store.tool_calls.list("s") == [one_call]
    assert await counts(store) == (1, 1)


async def test_of_gathered_tool_calls_with_one_id_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.tool_calls.create("s", "t", n, id="c") for n in range(3)),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [ToolCall, ToolCallExists, ToolCallExists]
    assert await store.tool_calls.list("s") == [outcomes[0]]
    assert await counts(store) == (1, 1)


async def test_a_tool_call_of_a_message_that_the_session_has_not(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.messages.append("other", "assistant", id="m")
    with pytest.raises(MessageNotFound):
        await store.tool_calls.create("s", "t", {}, message_id="m")
    assert await counts(store) == (0, 0)


@pytest.mark.parametrize("kind", ["", "mcp", "anything at all"])
async def test_a_tool_calls_kind_is_free_text(
    store: SessionStore, session: Session, kind: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, kind=kind)
    assert await store.tool_calls.get("s", made.id) == made
    assert made.kind == kind


@every_status
async def test_a_tool_call_is_created_in_each_status(
    store: SessionStore, session: Session, status: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, status=status)
    assert made.status == status
    assert (made.started_at is not None) == (status == "executing")
    assert (made.completed_at is not None) == (status in FINAL)
    assert await counts(store) == (1, int(status in OPEN))


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "unknown"},
        {"status": "done"},
        {"kind": None},
        {"call_id": 7},
        {"name": None},
        {"created_at": datetime(2024, 1, 1)},
    ],
    ids=str,
)
async def test_a_tool_call_refuses_what_is_no_field_value(
    store: SessionStore, session: Session, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.tool_calls.create("s", **{"name": "t", "arguments": 0, **wrong})
    assert await store.tool_calls.list("s") == []


# Reading


@pytest.mark.parametrize(("session_id", "id"), [("gone", "c"), ("s", "gone")])
async def test_get_of_a_tool_call_that_is_not_there_is_none(
    store: SessionStore, one_call: ToolCall, session_id: str, id: str
) -> None:
    assert await store.tool_calls.get(session_id, id) is None


async def test_find_gives_the_calls_with_a_call_id_oldest_first(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "t", 9, call_id="x")
    for n, call_id in enumerate(["x", "y", "x", None]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", call_id=call_id)
    found = await store.tool_calls.find("s", "x")
    assert [each.arguments for each in found] == [0, 2]
    assert await store.tool_calls.find("s", "z") == []


async def test_tool_calls_are_listed_oldest_first(
    store: SessionStore, session: Session
) -> None:
    for n, moment in enumerate([MOMENT, MOMENT.replace(year=2000), MOMENT]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", created_at=moment)
    found = await store.tool_calls.list("s")
    assert [each.arguments for each in found] == [0, 1, 2]


@every_status
async def test_tool_calls_are_listed_by_status(
    store: SessionStore, session: Session, status: str
) -> None:
    for each in [*OPEN, *FINAL, *OPEN, *FINAL]:
        await store.tool_calls.create("s", "t", {}, status=each)
    found = await store.tool_calls.list("s", status=status)
    assert [each.status for each in found] == [status, status]
    assert await store.tool_calls.list("s", status="unknown") == []


@pytest.mark.parametrize(
    "call",
    [lambda room: room.list("s", status="done"), lambda room: room.find("s", None)],
    ids=["status", "call id"],
)
async def test_reads_of_tool_calls_refuse_arguments_out_of_bounds(
    store: SessionStore, one_call: ToolCall, call: Callable[[Any], Awaitable[Any]]
) -> None:
    with pytest.raises(InvalidArgument):
        await call(store.tool_calls)


@every_status
async def test_pending_approved_and_executing_are_open(
    store: SessionStore, session: Session, status: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, status=status)
    is_open = status in OPEN
    assert await store.tool_calls.pending("s") == ([made] if is_open else [])
    assert await store.tool_calls.has_pending("s") is is_open


async def test_pending_tool_calls_are_oldest_first(
    store: SessionStore, session: Session
) -> None:
    for n, status in enumerate([*reversed(OPEN), *FINAL, "pending"]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", status=status)
    found = await store.tool_calls.pending("s")
    assert [each.arguments for each in found] == [0, 1, 2, 6]
    assert await counts(store) == (7, 4)


async def test_a_session_whose_tool_calls_have_all_ended_has_none_pending(
    store: SessionStore, session: Session
) -> None:
    for status in [*FINAL, *OPEN, "pending"]:
        await store.tool_calls.create("s", "t", {}, status=status)
    for call in await store.tool_calls.pending("s"):
        await store.tool_calls.update("s", call.id, status="denied")
    assert await store.tool_calls.has_pending("s") is False
    assert await counts(store) == (7, 0)
    assert await store.sessions.count(SessionFilter(has_pending_tool_calls=True)) == 0


async def test_a_session_without_tool_calls_has_none_pending(
    store: SessionStore, session: Session
) -> None:
    assert await store.tool_calls.pending("s") == []
    assert await store.tool_calls.has_pending("s") is False


# interrupt


@pytest.mark.parametrize("status", OPEN)
async def test_interrupt_fails_what_is_open(
    store: SessionStore, session: Session, status: str
) -> None:
    await store.tool_calls.create("s", "t", {}, id="c", status=status)
    [closed] = await store.tool_calls.interrupt("s")
    assert (closed.status, closed.error) == ("failed", "interrupted")
    assert closed.completed_at is not None
    assert await store.tool_calls.get("s", "c") == closed
    assert await counts(store) == (1, 0)


@pytest.mark.parametrize("status", FINAL)
async def test_interrupt_leaves_what_has_ended(
    store: SessionStore, session: Session, status: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, status=status)
    assert await store.tool_calls.interrupt("s") == []
    assert await store.tool_calls.list("s") == [made]


async def test_interrupt_gives_what_it_closed_oldest_first(
    store: SessionStore, session: Session
) -> None:
    for n, status in enumerate([*OPEN, *FINAL]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", status=status)
    before = {each.id: each for each in await store.tool_calls.list("s")}
    closed = await store.tool_calls.interrupt("s")
    assert [each.arguments for each in closed] == [0, 1, 2]
    assert {(each.status, each.error) for each in closed} == {("failed", "interrupted")}
    assert all(each.completed_at is not None for each in closed)
    after = {each.id: each for each in await store.tool_calls.list("s")}
    assert after == before | {each.id: each for each in closed}
    assert await counts(store) == (6, 0)
    assert await store.tool_calls.interrupt("s") == []


async def test_gathered_interrupts_keep_call_order(
    store: SessionStore, session: Session
) -> None:
    outcomes: list[Any] = await asyncio.gather(
        store.tool_calls.create("s", "t", {}, id="a"),
        store.tool_calls.interrupt("s"),
        store.tool_calls.interrupt("s"),
        store.tool_calls.create("s", "t", {}, id="b"),
        store.tool_calls.update("s", "a", status="completed"),
        store.tool_calls.update("s", "b", status="completed"),
        store.tool_calls.interrupt("s"),
        return_exceptions=True,
    )
    assert [each.id for each in outcomes[1]] == ["a"]
    assert outcomes[2] == [] and outcomes[6] == []
    assert isinstance(outcomes[4], StatusConflict)
    assert outcomes[5].status == "completed"
    assert await counts(store) == (2, 0)


async def test_interrupt_leaves_other_sessions(
    store: SessionStore, one_call: ToolCall
) -> None:
    await store.sessions.create(id="other")
    assert await store.tool_calls.interrupt("other") == []
    assert await store.tool_calls.pending("s") == [one_call]
