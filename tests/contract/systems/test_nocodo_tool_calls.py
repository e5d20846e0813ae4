"""What a runtime written for nocodo does with tool calls."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.seeds import as_nocodo
from tests.support.seeds.as_nocodo import STARTED
from turnstore import (
    MessageNotFound,
    Session,
    SessionNotFound,
    SessionStore,
    ToolCallNotFound,
    ToolCallStatus,
)

session = as_nocodo.session


async def test_a_tool_call_comes_back_with_its_request(
    store: SessionStore, session: Session
) -> None:
    asked = await store.messages.append("1", "assistant", "Let me see.")
    made = await store.tool_calls.create(
        "1",
        "sqlite_reader",
        {"mode": "reflect", "target": None},
        call_id="toolu_01",
        message_id=asked.id,
        created_at=STARTED,
    )
    [found] = await store.tool_calls.list("1")
    assert found == made
    assert (found.session_id, found.message_id) == ("1", asked.id)
    assert (found.name, found.call_id) == ("sqlite_reader", "toolu_01")
    assert found.arguments == {"mode": "reflect", "target": None}
    assert (found.status, found.created_at) == (ToolCallStatus.PENDING, STARTED)
    assert (found.result, found.completed_at) == (None, None)


async def test_a_tool_call_needs_no_message(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("1", "query", {})
    assert made.message_id is None


async def test_a_message_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """nocodo writes the call without it when the id is no number."""
    with pytest.raises(MessageNotFound):
        await store.tool_calls.create("1", "query", {}, message_id="404")
    assert await store.tool_calls.list("1") == []


@pytest.mark.parametrize("status", ["pending", "executing", "completed", "failed"])
async def test_each_status_of_a_tool_call_comes_back(
    store: SessionStore, session: Session, status: str
) -> None:
    await store.tool_calls.create("1", "query", {}, status=status)
    [found] = await store.tool_calls.list("1")
    assert str(found.status) == status


async def test_a_providers_id_may_repeat(store: SessionStore, session: Session) -> None:
    first = await store.tool_calls.create("1", "query", {"n": 1}, call_id="call_0")
    second = await store.tool_calls.create("1", "query", {"n": 2}, call_id="call_0")
    await store.tool_calls.update("1", second.id, status="completed", result=2)
    found = await store.tool_calls.list("1")
    assert [(each.id, each.result) for each in found] == [
        (first.id, None),
        (second.id, 2),
    ]


async def test_an_update_completes_a_tool_call(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "query", {}, status="executing")
    response = {"rows": [["users"], ["orders"]], "truncated": False}
    await store.tool_calls.update(
        "1", call.id, status="completed", result=response, execution_time_ms=12
    )
    [found] = await store.tool_calls.list("1")
    assert (found.status, found.result) == (ToolCallStatus.COMPLETED, response)
    assert found.execution_time_ms == 12
    assert found.completed_at is not None


async def test_an_update_fails_a_tool_call_with_its_details(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "query", {})
    details = "near 'FORM': syntax error"
    await store.tool_calls.update("1", call.id, status="failed", error_details=details)
    [found] = await store.tool_calls.list("1")
    assert (found.status, found.error_details) == (ToolCallStatus.FAILED, details)
    assert found.completed_at is not None


async def test_an_update_leaves_what_it_does_not_name(
    store: SessionStore, session: Session
) -> None:
    """nocodo clears it."""
    call = await store.tool_calls.create("1", "query", {}, status="executing")
    await store.tool_calls.update("1", call.id, result={"rows": 3})
    done = await store.tool_calls.update("1", call.id, status="completed")
    assert done.result == {"rows": 3}
    cleared = await store.tool_calls.update("1", call.id, result=None)
    assert cleared.result is None


async def test_updating_a_tool_call_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """nocodo takes it for done."""
    with pytest.raises(ToolCallNotFound):
        await store.tool_calls.update("1", "404", status="completed")


async def test_tool_calls_are_in_order_of_creation_whatever_their_times(
    store: SessionStore, session: Session
) -> None:
    """nocodo sorts by the caller's clock, in seconds."""
    for seconds, name in ((5, "one"), (5, "two"), (1, "three")):
        at = STARTED + timedelta(seconds=seconds)
        await store.tool_calls.create("1", name, {}, created_at=at)
    found = await store.tool_calls.list("1")
    assert [each.name for each in found] == ["one", "two", "three"]


async def test_executing_calls_are_pending_too(
    store: SessionStore, session: Session
) -> None:
    """nocodo gives those that nobody has begun; ``list(status=…)`` does so here."""
    for status in ("pending", "executing", "completed", "failed"):
        await store.tool_calls.create("1", status, {}, status=status)
    found = await store.tool_calls.pending("1")
    assert [each.name for each in found] == ["pending", "executing"]
    found = await store.tool_calls.list("1", status="pending")
    assert [each.name for each in found] == ["pending"]


async def test_tool_calls_of_a_session_that_is_not_there_are_an_error(
    store: SessionStore,
) -> None:
    """nocodo gives empty lists, and writes none."""
    with pytest.raises(SessionNotFound):
        await store.tool_calls.create("404", "query", {})
    with pytest.raises(SessionNotFound):
        await store.tool_calls.list("404")
    with pytest.raises(SessionNotFound):
        await store.tool_calls.pending("404")
