"""``store.tool_calls``: creating, changing and finding the calls of each session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    MessageNotFound,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    StatusConflict,
    ToolCall,
    ToolCallExists,
    ToolCallNotFound,
    ToolCallStatus,
)

pytestmark = pytest.mark.anyio

OPEN = ["pending", "approved", "executing"]
FINAL = ["completed", "failed", "denied"]


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def counts(store: SessionStore) -> tuple[int, int]:
    read = await store.sessions.get("s")
    assert read is not None
    return read.tool_call_count, read.pending_tool_calls


async def test_create_keeps_every_field(store: SessionStore, session: Session) -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    message = await store.messages.append("s", "assistant", id="m")
    made = await store.tool_calls.create(
        "s",
        "shell",
        {"command": "ls"},
        id="c",
        call_id="call_1",
        message_id=message.id,
        kind="builtin",
        status="approved",
        created_at=moment,
    )
    assert made == ToolCall(
        id="c",
        call_id="call_1",
        session_id="s",
        message_id="m",
        name="shell",
        arguments={"command": "ls"},
        kind="builtin",
        status=ToolCallStatus.APPROVED,
        created_at=moment,
    )
    assert await store.tool_calls.get("s", "c") == made
    assert await store.tool_calls.list("s") == [made]


async def test_create_by_default_is_external_and_pending(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "t", None)
    assert (made.kind, made.status, made.call_id) == ("external", "pending", None)
    assert (made.started_at, made.completed_at) == (None, None)
    read = await store.sessions.get("s")
    assert read is not None and read.updated_at >= made.created_at


@pytest.mark.parametrize("status", [*OPEN, *FINAL])
async def test_create_with_a_status_stamps_and_counts_as_entering_it(
    store: SessionStore, session: Session, status: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, status=status)
    assert made.status == status
    assert (made.started_at is not None) == (status == "executing")
    assert (made.completed_at is not None) == (status in FINAL)
    assert await counts(store) == (1, int(status in OPEN))


async def test_create_refuses_what_is_there_or_not_there(
    store: SessionStore, session: Session
) -> None:
    first = await store.tool_calls.create("s", "t", {}, id="c")
    with pytest.raises(ToolCallExists) as caught:
        await store.tool_calls.create("s", "other", {}, id="c", status="completed")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "c")
    with pytest.raises(SessionNotFound):
        await store.tool_calls.create("gone", "t", {})
    with pytest.raises(MessageNotFound):
        await store.tool_calls.create("s", "t", {}, message_id="gone")
    assert await store.tool_calls.list("s") == [first]
    assert await counts(store) == (1, 1)


async def test_of_gathered_creations_with_one_id_the_first_wins(
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


# update


async def test_update_is_partial(store: SessionStore, session: Session) -> None:
    made = await store.tool_calls.create("s", "t", {"a": 1}, id="c", call_id="x")
    done = await store.tool_calls.update(
        "s", "c", output="out", result={"r": [1]}, execution_time_ms=12, kind="k"
    )
    assert done.status == "pending"
    assert (done.output, done.result, done.execution_time_ms) == ("out", {"r": [1]}, 12)
    assert (done.name, done.arguments, done.call_id) == ("t", {"a": 1}, "x")
    assert done.created_at == made.created_at
    cleared = await store.tool_calls.update("s", "c", output=None, result=None)
    assert (cleared.output, cleared.result, cleared.kind) == (None, None, "k")
    assert cleared.execution_time_ms == 12
    assert await store.tool_calls.update("s", "c", execution_time_ms=None) == (
        await store.tool_calls.get("s", "c")
    )


async def test_update_of_nothing_changes_nothing(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "t", {}, id="c")
    before = await store.sessions.get("s")
    assert await store.tool_calls.update("s", "c") == made
    assert await store.sessions.get("s") == before


async def test_executing_stamps_started_at(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "t", {}, id="c")
    started = await store.tool_calls.update("s", "c", status="executing")
    assert started.started_at is not None and started.completed_at is None
    same = await store.tool_calls.update("s", "c", status="executing", output="x")
    assert same.started_at == started.started_at


@pytest.mark.parametrize("status", FINAL)
async def test_final_statuses_stamp_completed_at(
    store: SessionStore, session: Session, status: str
) -> None:
    await store.tool_calls.create("s", "t", {}, id="c")
    started = await store.tool_calls.update("s", "c", status="executing")
    done = await store.tool_calls.update("s", "c", status=status)
    assert done.started_at == started.started_at
    assert done.completed_at is not None
    late = await store.tool_calls.update("s", "c", status=status, output="late")
    assert (late.completed_at, late.output) == (done.completed_at, "late")


async def test_an_error_without_a_status_means_failed(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "t", {}, id="a")
    failed = await store.tool_calls.update("s", "a", error="no", error_details={"x": 1})
    assert (failed.status, failed.error) == ("failed", "no")
    assert failed.error_details == {"x": 1}
    assert failed.completed_at is not None
    await store.tool_calls.create("s", "t", {}, id="b")
    kept = await store.tool_calls.update("s", "b", error="retry", status="pending")
    assert (kept.status, kept.error) == ("pending", "retry")
    cleared = await store.tool_calls.update("s", "b", error=None)
    assert (cleared.status, cleared.error) == ("pending", None)
    details = await store.tool_calls.update("s", "b", error_details=[1])
    assert details.status == "pending"
    assert await counts(store) == (2, 1)


@pytest.mark.parametrize("final", FINAL)
async def test_terminal_states_do_not_change_back(
    store: SessionStore, session: Session, final: str
) -> None:
    done = await store.tool_calls.create("s", "t", {}, id="c", status=final)
    for status in {*OPEN, *FINAL} - {final}:
        with pytest.raises(StatusConflict) as caught:
            await store.tool_calls.update("s", "c", status=status, output="x")
        assert (caught.value.session_id, caught.value.actual_status) == ("s", final)
    if final != "failed":
        with pytest.raises(StatusConflict):
            await store.tool_calls.update("s", "c", error="late")
    assert await store.tool_calls.get("s", "c") == done
    assert await counts(store) == (1, 0)


async def test_open_states_change_freely(store: SessionStore, session: Session) -> None:
    await store.tool_calls.create("s", "t", {}, id="c")
    for status in ("executing", "pending", "approved", "executing", "approved"):
        updated = await store.tool_calls.update("s", "c", status=status)
        assert updated.status == status
        assert await counts(store) == (1, 1)


async def test_expected_status_is_a_compare_and_set(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "t", {}, id="c")
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", "c", output="x", expected_status="approved")
    assert caught.value.actual_status == "pending"
    with pytest.raises(StatusConflict):
        await store.tool_calls.update("s", "c", expected_status="approved")
    assert await store.tool_calls.get("s", "c") == made
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
    read = await store.tool_calls.get("s", "c")
    assert read == outcomes[0] and read is not None and read.output == "0"


async def test_each_gathered_update_returns_what_it_made(
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


async def test_update_of_what_is_not_there(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "t", {}, id="c")
    with pytest.raises(ToolCallNotFound) as caught:
        await store.tool_calls.update("s", "c", status="completed")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "c")
    with pytest.raises(SessionNotFound):
        await store.tool_calls.update("gone", "c", status="completed")
    assert await store.tool_calls.has_pending("other")


# Reading


async def test_find_gives_every_call_with_the_providers_id_oldest_first(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "t", 0, call_id="x")
    for n in (1, 2, 3):
        name = "y" if n == 2 else "x"
        await store.tool_calls.create("s", "t", n, call_id=name)
    await store.tool_calls.create("s", "t", 4)
    assert [each.arguments for each in await store.tool_calls.find("s", "x")] == [1, 3]
    assert await store.tool_calls.find("s", "z") == []


async def test_list_is_oldest_first_and_narrowed_by_status(
    store: SessionStore, session: Session
) -> None:
    for n, status in enumerate([*FINAL, *OPEN, *FINAL]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", status=status)
    assert [each.arguments for each in await store.tool_calls.list("s")] == [*range(9)]
    for status in [*OPEN, *FINAL]:
        found = await store.tool_calls.list("s", status=status)
        assert {str(each.status) for each in found} == {status}
        assert len(found) == (1 if status in OPEN else 2)
    assert await store.tool_calls.list("s", status="unknown") == []


async def test_pending_gives_the_open_ones(
    store: SessionStore, session: Session
) -> None:
    assert await store.tool_calls.pending("s") == []
    assert await store.tool_calls.has_pending("s") is False
    for status in [*FINAL, *OPEN, "pending"]:
        await store.tool_calls.create("s", "t", {}, status=status)
    pending = await store.tool_calls.pending("s")
    assert [str(each.status) for each in pending] == [*OPEN, "pending"]
    assert await store.tool_calls.has_pending("s") is True
    assert await counts(store) == (7, 4)
    for call in pending:
        await store.tool_calls.update("s", call.id, status="denied")
    assert await store.tool_calls.has_pending("s") is False
    assert await counts(store) == (7, 0)
    assert await store.sessions.count(SessionFilter(has_pending_tool_calls=True)) == 0


async def test_reads_of_what_is_not_there(store: SessionStore) -> None:
    assert await store.tool_calls.get("s", "c") is None
    reads: list[Awaitable[Any]] = [
        store.tool_calls.find("s", "c"),
        store.tool_calls.list("s"),
        store.tool_calls.list("s", status="failed"),
        store.tool_calls.pending("s"),
        store.tool_calls.has_pending("s"),
        store.tool_calls.interrupt("s"),
    ]
    for read in reads:
        with pytest.raises(SessionNotFound):
            await read
    await store.sessions.create(id="s")
    assert await store.tool_calls.get("s", "c") is None


# interrupt


async def test_interrupt_fails_the_open_ones(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "t", {})
    for n, status in enumerate([*OPEN, *FINAL]):
        await store.tool_calls.create("s", "t", n, id=f"{9 - n}", status=status)
    before = {each.id: each for each in await store.tool_calls.list("s")}
    closed = await store.tool_calls.interrupt("s")
    assert [each.arguments for each in closed] == [0, 1, 2]
    assert {(str(each.status), each.error) for each in closed} == {
        ("failed", "interrupted")
    }
    assert all(each.completed_at is not None for each in closed)
    after = {each.id: each for each in await store.tool_calls.list("s")}
    assert after == before | {each.id: each for each in closed}
    assert await counts(store) == (6, 0)
    assert await store.tool_calls.interrupt("s") == []
    assert await store.tool_calls.has_pending("other")


async def test_interrupt_in_a_gather_follows_call_order(
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


async def test_arguments_out_of_bounds(store: SessionStore, session: Session) -> None:
    await store.tool_calls.create("s", "t", {}, id="c")
    before = await store.sessions.load("s")
    room: Any = store.tool_calls
    calls: list[Awaitable[Any]] = [
        room.create("s", None, {}),
        room.create("s", "t", {}, kind=None),
        room.create("s", "t", {}, status="unknown"),
        room.create("s", "t", {}, status="done"),
        room.create("s", "t", {}, status=None),
        room.create("s", "t", {}, call_id=7),
        room.update("s", "c", status="unknown"),
        room.update("s", "c", status=None),
        room.update("s", "c", status=["failed"]),
        room.update("s", "c", output=b"x"),
        room.update("s", "c", error=1),
        room.update("s", "c", kind=None),
        room.update("s", "c", execution_time_ms=-1),
        room.update("s", "c", execution_time_ms=1.5),
        room.update("s", "c", execution_time_ms=2**63),
        room.list("s", status="done"),
        room.find("s", None),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    others = [each for each in outcomes if type(each) is not InvalidArgument]
    assert others == []
    assert await store.sessions.load("s") == before
