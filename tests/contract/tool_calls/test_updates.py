"""``store.tool_calls.update``: fields, stamps, and what may follow what."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import pytest

from tests.contract.statuses import FINAL, OPEN
from tests.contract.tool_calls.counts import counts
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Session,
    SessionStore,
    StatusConflict,
    ToolCall,
    ToolCallNotFound,
)

UPDATES: Final[dict[str, Any]] = {
    "output": "text",
    "result": {"r": [1, None]},
    "error_details": [{"code": 5}],
    "kind": "builtin",
    "execution_time_ms": 12,
}


@pytest.fixture
async def pending_call(store: SessionStore, session: Session) -> ToolCall:
    """The tool call ``c`` of ``session``."""
    return await store.tool_calls.create("s", "shell", {"a": 1}, id="c")


@pytest.mark.parametrize("name", UPDATES)
async def test_a_tool_call_update_writes_only_what_is_given(
    store: SessionStore, pending_call: ToolCall, name: str
) -> None:
    given = {name: UPDATES[name]}
    updated = await store.tool_calls.update("s", "c", **given)
    assert updated == msgspec.structs.replace(pending_call, **given)
    assert await store.tool_calls.get("s", "c") == updated


@pytest.mark.parametrize("name", sorted({*UPDATES} - {"kind"}))
async def test_a_tool_call_update_with_none_clears(
    store: SessionStore, pending_call: ToolCall, name: str
) -> None:
    filled = await store.tool_calls.update("s", "c", **UPDATES)
    assert filled == msgspec.structs.replace(pending_call, **UPDATES)
    nothing: dict[str, Any] = {name: None}
    cleared = await store.tool_calls.update("s", "c", **nothing)
    assert cleared == msgspec.structs.replace(filled, **nothing)
    assert await store.tool_calls.get("s", "c") == cleared


async def test_a_tool_call_update_clears_several_fields(
    store: SessionStore, pending_call: ToolCall
) -> None:
    filled = await store.tool_calls.update("s", "c", **UPDATES)
    cleared = await store.tool_calls.update("s", "c", output=None, result=None)
    assert cleared == msgspec.structs.replace(filled, output=None, result=None)


async def test_a_tool_call_update_of_nothing_changes_nothing(
    store: SessionStore, pending_call: ToolCall
) -> None:
    before = await store.sessions.get("s")
    assert await store.tool_calls.update("s", "c") == pending_call
    assert await store.tool_calls.get("s", "c") == pending_call
    assert await store.sessions.get("s") == before


async def test_executing_stamps_started_at(
    store: SessionStore, pending_call: ToolCall
) -> None:
    started = await store.tool_calls.update("s", "c", status="executing")
    assert started.started_at is not None
    assert started.started_at >= pending_call.created_at
    assert started.completed_at is None
    again = await store.tool_calls.update("s", "c", status="executing", output="x")
    assert again == msgspec.structs.replace(started, output="x")


@pytest.mark.parametrize("status", FINAL)
async def test_terminal_states_stamp_completed_at(
    store: SessionStore, pending_call: ToolCall, status: str
) -> None:
    started = await store.tool_calls.update("s", "c", status="executing")
    done = await store.tool_calls.update("s", "c", status=status)
    assert done.started_at == started.started_at
    assert done.completed_at is not None
    assert done.completed_at >= pending_call.created_at


@pytest.mark.parametrize("status", ["pending", "approved"])
async def test_pending_and_approved_stamp_no_time(
    store: SessionStore, pending_call: ToolCall, status: str
) -> None:
    updated = await store.tool_calls.update("s", "c", status=status)
    assert (updated.started_at, updated.completed_at) == (None, None)


async def test_open_states_change_freely(
    store: SessionStore, pending_call: ToolCall
) -> None:
    for status in ("executing", "pending", "approved", "executing", "approved"):
        updated = await store.tool_calls.update("s", "c", status=status)
        assert updated.status == status
        assert await counts(store) == (1, 1)


async def test_each_gathered_tool_call_update_returns_what_it_made(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        store.tool_calls.create("s", "t", {}, id="c"),
        store.tool_calls.create("s", "t", {}, id="d"),
        store.tool_calls.update("s", "c", output="one"),
        store.tool_calls.update("s", "d", status="completed"),
        store.tool_calls.update("s", "c", status="executing"),
        store.tool_calls.update("s", "c", status="failed", output=None),
    )
    made = [(each.id, each.status, each.output) for each in outcomes]
    assert made == [
        ("c", "pending", None),
        ("d", "pending", None),
        ("c", "pending", "one"),
        ("d", "completed", None),
        ("c", "executing", "one"),
        ("c", "failed", None),
    ]
    assert await counts(store) == (2, 0)


async def test_an_error_without_a_status_means_failed(
    store: SessionStore, pending_call: ToolCall
) -> None:
    failed = await store.tool_calls.update("s", "c", error="no", error_details={"x": 1})
    assert (failed.status, failed.error) == ("failed", "no")
    assert failed.error_details == {"x": 1}
    assert failed.completed_at is not None
    assert await counts(store) == (1, 0)


async def test_an_error_with_a_status_keeps_the_status(
    store: SessionStore, pending_call: ToolCall
) -> None:
    retried = await store.tool_calls.update("s", "c", error="timeout", status="pending")
    assert (retried.status, retried.error) == ("pending", "timeout")
    cleared = await store.tool_calls.update("s", "c", error=None)
    assert (cleared.status, cleared.error) == ("pending", None)
    assert await counts(store) == (1, 1)


async def test_clearing_an_error_does_not_mean_failed(
    store: SessionStore, pending_call: ToolCall
) -> None:
    assert (await store.tool_calls.update("s", "c", error=None)).status == "pending"


@pytest.mark.parametrize("status", [*OPEN, *FINAL])
@pytest.mark.parametrize("final", FINAL)
async def test_terminal_states_do_not_change_back(
    store: SessionStore, session: Session, final: str, status: str
) -> None:
    done = await store.tool_calls.create("s", "t", {}, id="c", status=final)
    if status == final:
        same = await store.tool_calls.update("s", "c", status=status, output="x")
        assert same == msgspec.structs.replace(done, output="x")
        return
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", "c", status=status, output="x")
    assert (caught.value.session_id, caught.value.actual_status) == ("s", final)
    assert await store.tool_calls.get("s", "c") == done
    assert await counts(store) == (1, 0)


@pytest.mark.parametrize("final", ["completed", "denied"])
async def test_an_error_does_not_change_a_terminal_state(
    store: SessionStore, session: Session, final: str
) -> None:
    done = await store.tool_calls.create("s", "t", {}, id="c", status=final)
    with pytest.raises(StatusConflict):
        await store.tool_calls.update("s", "c", error="late")
    assert await store.tool_calls.get("s", "c") == done


@pytest.mark.parametrize("expected", ["pending", ["approved", "pending"]], ids=str)
async def test_a_tool_call_of_the_expected_status_is_updated(
    store: SessionStore, pending_call: ToolCall, expected: Any
) -> None:
    updated = await store.tool_calls.update(
        "s", "c", output="x", expected_status=expected
    )
    assert updated.output == "x"


@pytest.mark.parametrize("expected", ["approved", ["approved", "failed"]], ids=str)
async def test_a_tool_call_of_another_status_stays_as_it_is(
    store: SessionStore, pending_call: ToolCall, expected: Any
) -> None:
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", "c", output="x", expected_status=expected)
    assert (caught.value.session_id, caught.value.actual_status) == ("s", "pending")
    with pytest.raises(StatusConflict):
        await store.tool_calls.update("s", "c", expected_status=expected)
    assert await store.tool_calls.get("s", "c") == pending_call


async def test_of_gathered_tool_call_updates_that_expect_a_status_the_first_wins(
    store: SessionStore, pending_call: ToolCall
) -> None:
    outcomes = await asyncio.gather(
        *(
            store.tool_calls.update(
                "s", "c", status="executing", output=str(n), expected_status="pending"
            )
            for n in range(3)
        ),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [ToolCall, StatusConflict, StatusConflict]
    found = await store.tool_calls.get("s", "c")
    assert found == outcomes[0]
    assert found is not None and found.output == "0"


async def test_update_of_a_tool_call_that_the_session_has_not(
    store: SessionStore, pending_call: ToolCall
) -> None:
    await store.sessions.create(id="other")
    with pytest.raises(ToolCallNotFound) as caught:
        await store.tool_calls.update("other", "c", status="completed")
    assert caught.value.session_id == "other"
    assert caught.value.tool_call_id == "c"
    assert await store.tool_calls.get("s", "c") == pending_call


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "unknown"},
        {"status": None},
        {"status": ["failed"]},
        {"kind": None},
        {"output": 5},
        {"output": b"x"},
        {"error": 5},
        {"execution_time_ms": -1},
        {"execution_time_ms": 1.5},
        {"execution_time_ms": 2**63},
    ],
    ids=str,
)
async def test_a_tool_call_update_refuses_what_is_no_field_value(
    store: SessionStore, pending_call: ToolCall, wrong: dict[str, Any]
) -> None:
    before = await store.sessions.load("s")
    with pytest.raises(InvalidArgument):
        await store.tool_calls.update("s", "c", **wrong)
    assert await store.sessions.load("s") == before


# Several stores on one database


async def test_of_two_stores_that_take_one_call_one_wins(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    await stores[0].tool_calls.create("s", "t", {}, id="c")
    outcomes = await asyncio.gather(
        *(
            each.tool_calls.update(
                "s", "c", status="executing", expected_status="pending"
            )
            for each in stores
        ),
        return_exceptions=True,
    )
    kinds = sorted(type(each).__name__ for each in outcomes)
    assert kinds == ["StatusConflict", "ToolCall"]
