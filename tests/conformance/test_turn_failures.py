"""What fails a turn, where, and what is left of it: nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.seeds import turning
from turnstore import (
    InvalidArgument,
    MessageExists,
    MessageNotFound,
    PayloadInvalid,
    PayloadTooLarge,
    SequenceConflict,
    SessionExists,
    SessionNotFound,
    SessionStore,
    StatusConflict,
    StoreClosed,
    StoreError,
    StoreOptions,
    ToolCallExists,
    ToolCallNotFound,
    Usage,
)
from turnstore.store.turns import OpenTurn

pytestmark = pytest.mark.anyio

sessions = turning.sessions


async def whole(store: SessionStore) -> Any:
    """All that can be read."""
    page = await store.sessions.list()
    return [
        (
            each,
            await store.messages.list(each.id),
            await store.tool_calls.list(each.id),
            await store.events.list(each.id),
        )
        for each in page.items
    ]


# All or nothing


FAULTS: dict[str, tuple[Callable[[OpenTurn], object], type[StoreError]]] = {
    "message": (lambda turn: turn.message("user", id="old"), MessageExists),
    "parent": (lambda turn: turn.message("user", parent_id="no"), MessageNotFound),
    "call": (lambda turn: turn.tool_call("t", {}, id="old"), ToolCallExists),
    "asker": (lambda turn: turn.tool_call("t", 0, message_id="no"), MessageNotFound),
    "no call": (lambda turn: turn.update_tool_call("no", kind="k"), ToolCallNotFound),
    "call's status": (
        lambda turn: turn.update_tool_call("old", kind="k", expected_status="failed"),
        StatusConflict,
    ),
    "event": (lambda turn: turn.event("e", expected_head=99), SequenceConflict),
    "session's status": (
        lambda turn: turn.update_session(title="x", expected_status={"failed"}),
        StatusConflict,
    ),
    "active message": (
        lambda turn: turn.update_session(active_message_id="no"),
        MessageNotFound,
    ),
    "session": (lambda turn: turn.create_session(), SessionExists),
    "other session": (
        lambda turn: turn.message("user", id="old", session_id="other"),
        MessageExists,
    ),
    "no session": (lambda turn: turn.event("e", session_id="gone"), SessionNotFound),
}

GOOD: list[Callable[[OpenTurn], object]] = [
    lambda turn: turn.message("user", id="m", usage=Usage(prompt_tokens=1), model="m"),
    lambda turn: turn.tool_call("t", {}, id="c", message_id="old"),
    lambda turn: turn.event("e", idempotency_key="k"),
    lambda turn: turn.event("e", session_id="other"),
    lambda turn: turn.update_tool_call("old", status="completed"),
    lambda turn: turn.update_session(title="new", metadata={"a": "b"}),
    lambda turn: turn.create_session(session_id="new"),
    lambda turn: turn.event("e", session_id="new"),
]


async def test_the_good_calls_are_good(store: SessionStore, sessions: None) -> None:
    async with store.turn("s") as turn:
        for call in GOOD:
            call(turn)
    assert len(turn.results) == len(GOOD)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_call_that_fails_fails_the_turn_wherever_it_stands(
    store: SessionStore, sessions: None, name: str
) -> None:
    before = await whole(store)
    fail, error = FAULTS[name]
    for place in range(len(GOOD) + 1):
        turn = store.turn("s")
        with pytest.raises(error):
            async with turn:
                for call in GOOD[:place]:
                    call(turn)
                fail(turn)
                for call in GOOD[place:]:
                    call(turn)
        assert await whole(store) == before
        with pytest.raises(StoreError, match="committed"):
            _ = turn.results
    # Nothing of them is remembered: neither ids nor idempotency keys.
    async with store.turn("s") as turn:
        for call in GOOD:
            call(turn)
    assert turn.results[2] == 1


@pytest.mark.parametrize("first", FAULTS)
async def test_the_first_call_that_fails_gives_the_error(
    store: SessionStore, sessions: None, first: str
) -> None:
    """Also where another one's fault is found out sooner."""
    fail, error = FAULTS[first]
    with pytest.raises(error) as alone:
        async with store.turn("s") as turn:
            fail(turn)
    for second, _ in FAULTS.values():
        with pytest.raises(error) as caught:
            async with store.turn("s") as turn:
                turn.message("user")
                turn.message("user", session_id="other")
                fail(turn)
                second(turn)
        assert str(caught.value) == str(alone.value)


async def test_an_exception_in_the_block_writes_nothing(
    store: SessionStore, sessions: None
) -> None:
    before = await whole(store)
    turn = store.turn("s")
    with pytest.raises(ZeroDivisionError):
        async with turn:
            turn.event("e")
            _ = 1 / 0
    assert await whole(store) == before
    with pytest.raises(StoreError):
        _ = turn.results


# Arguments


BAD: dict[str, tuple[Callable[[OpenTurn], object], type[StoreError]]] = {
    "role": (lambda turn: turn.message("judge"), InvalidArgument),
    "content": (lambda turn: turn.message("user", float("nan")), PayloadInvalid),
    "size": (lambda turn: turn.message("user", "x" * 2_000), PayloadTooLarge),
    "usage": (lambda turn: turn.message("user", usage=3), InvalidArgument),  # type: ignore[arg-type]
    "key": (lambda turn: turn.message("user", idempotency_key=""), InvalidArgument),
    "arguments": (lambda turn: turn.tool_call("t", {1: 2}), PayloadInvalid),
    "call's id": (lambda turn: turn.tool_call("t", {}, id=""), InvalidArgument),
    "call's status": (
        lambda turn: turn.tool_call("t", {}, status="unknown"),
        InvalidArgument,
    ),
    "output": (lambda turn: turn.update_tool_call("old", output=3), InvalidArgument),  # type: ignore[arg-type]
    "type": (lambda turn: turn.event(""), InvalidArgument),
    "data": (lambda turn: turn.event("e", {"a": object()}), PayloadInvalid),
    "head": (lambda turn: turn.event("e", expected_head=-1), InvalidArgument),
    "metadata": (
        lambda turn: turn.create_session(metadata={"a": 1}),  # type: ignore[dict-item]
        InvalidArgument,
    ),
    "status": (lambda turn: turn.update_session(status="over"), InvalidArgument),
    "session": (lambda turn: turn.event("e", session_id=""), InvalidArgument),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_argument_is_raised_by_the_method(
    store_path: Any, name: str
) -> None:
    call, error = BAD[name]
    async with SessionStore(store_path, StoreOptions(payload_bytes_max=1_024)) as store:
        await store.sessions.create(id="s")
        async with store.turn("s") as turn:
            turn.event("before")
            with pytest.raises(error):
                call(turn)
            turn.event("after")
        assert turn.results == [1, 2]
        state = await store.sessions.load("s")
        assert state is not None
        assert (state.messages, state.tool_calls) == ([], [])


@pytest.mark.parametrize("session_id", ["", "x" * 256, "a\x00b", 3])
async def test_a_turn_of_no_possible_session(
    store: SessionStore, session_id: Any
) -> None:
    with pytest.raises(InvalidArgument):
        store.turn(session_id)


@pytest.mark.parametrize(
    ("name", "room", "method"),
    [
        ("message", "messages", "append"),
        ("tool_call", "tool_calls", "create"),
        ("update_tool_call", "tool_calls", "update"),
        ("event", "events", "append"),
        ("create_session", "sessions", "create"),
        ("update_session", "sessions", "update"),
    ],
)
async def test_a_turn_takes_what_the_room_takes(
    store: SessionStore, name: str, room: str, method: str
) -> None:
    def arguments(function: Any, without: set[str]) -> dict[str, tuple[Any, Any]]:
        return {
            each.name: (each.kind, each.default)
            for each in inspect.signature(function).parameters.values()
            if each.name not in without
        }

    session = "id" if room == "sessions" else "session_id"
    assert arguments(getattr(store.turn("s"), name), {"session_id"}) == arguments(
        getattr(getattr(store, room), method), {session}
    )


# The block


async def test_results_before_the_end(store: SessionStore, sessions: None) -> None:
    turn = store.turn("s")
    with pytest.raises(StoreError):
        _ = turn.results
    async with turn:
        turn.event("e")
        with pytest.raises(StoreError):
            _ = turn.results
    assert turn.results == [1]


async def test_a_turn_is_entered_once(store: SessionStore, sessions: None) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
        with pytest.raises(StoreError, match="another one"):
            await turn.__aenter__()
    with pytest.raises(StoreError, match="another one"):
        async with turn:
            pass
    assert turn.results == [1]
    assert await store.events.head("s") == 1


@pytest.mark.parametrize("call", GOOD)
async def test_a_call_outside_of_the_block(
    store: SessionStore, sessions: None, call: Callable[[OpenTurn], object]
) -> None:
    turn = store.turn("s")
    with pytest.raises(StoreError, match="inside its block"):
        call(turn)
    async with turn:
        pass
    with pytest.raises(StoreError, match="inside its block"):
        call(turn)


async def test_a_turn_of_a_closed_store(store_path: Any) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        turn = store.turn("s")
    with pytest.raises(StoreClosed):
        async with turn:
            turn.event("e")
