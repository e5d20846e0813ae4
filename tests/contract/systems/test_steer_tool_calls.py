"""What a runtime written for steer does with tool calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.seeds import as_steer
from turnstore import (
    Session,
    SessionStore,
    StatusConflict,
    ToolCallNotFound,
    ToolCallStatus,
)

session = as_steer.session


async def test_a_tool_call_is_pending_until_it_is_completed(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "test_tool", {"param": "value"}, id="tc1")
    [found] = await store.tool_calls.pending("s")
    assert (found.id, found.name) == ("tc1", "test_tool")
    assert found.arguments == {"param": "value"}
    assert (found.status, found.kind) == (ToolCallStatus.PENDING, "external")
    await store.tool_calls.update("s", "tc1", status="completed")
    assert await store.tool_calls.pending("s") == []


@pytest.mark.parametrize("status", ["approved", "executing"])
async def test_a_call_that_is_approved_or_runs_is_pending_too(
    store: SessionStore, session: Session, status: str
) -> None:
    """In steer a call is pending until it is approved."""
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    await store.tool_calls.update("s", "tc1", status=status)
    assert [each.id for each in await store.tool_calls.pending("s")] == ["tc1"]
    assert await store.tool_calls.list("s", status="pending") == []


async def test_pending_calls_are_in_order_of_creation(
    store: SessionStore, session: Session
) -> None:
    """steer sorts them by id."""
    for name in ("b", "c", "a"):
        await store.tool_calls.create("s", "ls", {}, id=name)
    found = await store.tool_calls.pending("s")
    assert [each.id for each in found] == ["b", "c", "a"]


async def test_times_are_stamped_as_a_call_starts_and_ends(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    approved = await store.tool_calls.update("s", "tc1", status="approved")
    assert (approved.started_at, approved.completed_at) == (None, None)
    started = await store.tool_calls.update("s", "tc1", status="executing")
    assert started.started_at is not None
    assert started.completed_at is None
    done = await store.tool_calls.update("s", "tc1", status="completed")
    assert done.started_at == started.started_at
    assert done.completed_at is not None


async def test_a_denied_call_is_over(store: SessionStore, session: Session) -> None:
    """steer does not stamp when."""
    await store.tool_calls.create("s", "rm", {}, id="tc1")
    denied = await store.tool_calls.update("s", "tc1", status="denied")
    assert denied.completed_at is not None
    assert await store.tool_calls.pending("s") == []


async def test_a_result_has_text_data_kind_and_duration(
    store: SessionStore, session: Session
) -> None:
    """steer drops the duration."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    await store.tool_calls.update(
        "s",
        "tc1",
        status="completed",
        kind="bash",
        output="ok",
        result={"stdout": "ok", "exit_code": 0},
        execution_time_ms=31,
    )
    found = await store.tool_calls.get("s", "tc1")
    assert found is not None
    assert (found.kind, found.output) == ("bash", "ok")
    assert found.result == {"stdout": "ok", "exit_code": 0}
    assert found.execution_time_ms == 31


async def test_text_alone_leaves_the_data_empty(
    store: SessionStore, session: Session
) -> None:
    """steer wraps the text as data of an unknown tool."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    done = await store.tool_calls.update("s", "tc1", status="completed", output="ok")
    assert (done.output, done.result, done.kind) == ("ok", None, "external")


@pytest.mark.parametrize("given", [{}, {"status": "failed"}])
async def test_an_error_fails_a_call_and_keeps_its_text(
    store: SessionStore, session: Session, given: dict[str, Any]
) -> None:
    """steer needs the status beside it, and changes the kind to error."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    details = {"tool_name": "bash", "exit_code": 127}
    failed = await store.tool_calls.update(
        "s", "tc1", error="not found", error_details=details, **given
    )
    assert (failed.status, failed.error) == (ToolCallStatus.FAILED, "not found")
    assert (failed.error_details, failed.kind) == (details, "external")
    assert failed.completed_at is not None


async def test_an_update_of_nothing_changes_nothing(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "ls", {}, id="tc1")
    assert await store.tool_calls.update("s", "tc1") == made
    assert await store.tool_calls.get("s", "tc1") == made


async def test_a_call_that_is_over_stays_so(
    store: SessionStore, session: Session
) -> None:
    """steer allows any change."""
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    await store.tool_calls.update("s", "tc1", status="denied")
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", "tc1", status="executing")
    assert caught.value.actual_status == "denied"


async def test_updating_a_call_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """steer takes it for done."""
    with pytest.raises(ToolCallNotFound):
        await store.tool_calls.update("s", "tc1", status="completed")
