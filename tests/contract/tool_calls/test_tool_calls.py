"""``store.tool_calls``: what the tools of a session were asked and answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.contract.statuses import FINAL, OPEN
from turnstore import (
    InvalidArgument,
    MessageNotFound,
    Session,
    SessionStore,
    ToolCall,
    ToolCallExists,
)

MOMENT: Final = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

every_status = pytest.mark.parametrize("status", [*OPEN, *FINAL])


async def counts(store: SessionStore) -> tuple[int, int]:
    found = await store.sessions.get("s")
    assert found is not None
    return found.tool_call_count, found.pending_tool_calls


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
    assert made.created_at.tzinfo is UTC


async def test_a_tool_call_without_an_id_gets_a_new_one(
    store: SessionStore, session: Session
) -> None:
    made = [await store.tool_calls.create("s", "t", {}) for _ in range(2)]
    assert made[0].id != made[1].id


async def test_a_tool_call_id_that_the_session_has_is_refused(
    store: SessionStore, one_call: ToolCall
) -> None:
    with pytest.raises(ToolCallExists) as caught:
        await store.tool_calls.create("s", "other", {}, id="c")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "c")
    assert await store.tool_calls.list("s") == [one_call]


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


async def test_interrupt_leaves_other_sessions(
    store: SessionStore, one_call: ToolCall
) -> None:
    await store.sessions.create(id="other")
    assert await store.tool_calls.interrupt("other") == []
    assert await store.tool_calls.pending("s") == [one_call]
