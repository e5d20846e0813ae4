"""What fails a turn, where, and what is left of it: nothing."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.contract.turns.collecting import GOOD, Collect
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    MessageExists,
    MessageNotFound,
    PayloadInvalid,
    PayloadTooLarge,
    SequenceConflict,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    StatusConflict,
    StoreError,
    ToolCallExists,
    ToolCallNotFound,
)

FAULTS: Final[dict[str, tuple[Collect, type[StoreError]]]] = {
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
WRONG: Final[dict[str, tuple[Collect, type[StoreError]]]] = {
    "role": (lambda turn: turn.message("judge"), InvalidArgument),
    "content": (lambda turn: turn.message("user", float("nan")), PayloadInvalid),
    "size": (lambda turn: turn.message("user", "x" * 2_000), PayloadTooLarge),
    "usage": (lambda turn: turn.message("user", usage=3), InvalidArgument),
    "key": (lambda turn: turn.message("user", idempotency_key=""), InvalidArgument),
    "arguments": (lambda turn: turn.tool_call("t", {1: 2}), PayloadInvalid),
    "call's id": (lambda turn: turn.tool_call("t", {}, id=""), InvalidArgument),
    "updated status": (
        lambda turn: turn.update_tool_call("old", status=5),
        InvalidArgument,
    ),
    "call's status": (
        lambda turn: turn.tool_call("t", {}, status="unknown"),
        InvalidArgument,
    ),
    "output": (lambda turn: turn.update_tool_call("old", output=3), InvalidArgument),
    "type": (lambda turn: turn.event(""), InvalidArgument),
    "data": (lambda turn: turn.event("e", {"a": object()}), PayloadInvalid),
    "head": (lambda turn: turn.event("e", expected_head=-1), InvalidArgument),
    "metadata": (
        lambda turn: turn.create_session(metadata={"a": 1}),
        InvalidArgument,
    ),
    "status": (lambda turn: turn.update_session(status="over"), InvalidArgument),
    "session": (lambda turn: turn.event("e", session_id=""), InvalidArgument),
}


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
    assert turn.results[3] == 1


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
        with pytest.raises(StoreError):
            _ = turn.results


async def test_an_exception_in_the_block_writes_nothing(
    store: SessionStore, sessions: None
) -> None:
    before = await whole(store)
    turn = store.turn("s")
    with pytest.raises(ZeroDivisionError):
        async with turn:
            for call in GOOD:
                call(turn)
            raise ZeroDivisionError
    assert await whole(store) == before
    with pytest.raises(StoreError):
        _ = turn.results


async def test_a_turn_that_fails_fails_alone(
    store: SessionStore, session: Session
) -> None:
    async def write(n: int) -> None:
        async with store.turn("s") as turn:
            turn.event("e", n)
            if n % 3 == 1:
                turn.event("e", expected_head=99)

    outcomes = await asyncio.gather(
        *(write(n) for n in range(12)), return_exceptions=True
    )
    failed = [n for n in range(12) if isinstance(outcomes[n], SequenceConflict)]
    assert failed == [1, 4, 7, 10]
    data = [each.data for each in await store.events.list("s")]
    assert data == [0, 2, 3, 5, 6, 8, 9, 11]


@pytest.mark.parametrize("bad", [{0}, {31}, {5, 6, 20}, set(range(0, 32, 3))])
async def test_a_bad_turn_fails_alone(
    store: SessionStore, sessions: None, bad: set[int]
) -> None:
    async def turn(at: int) -> Any:
        async with store.turn("s") as turn:
            turn.event("e", at)
            turn.message("user", at, session_id="other")
            if at in bad:
                turn.message("user", id="old")
        return turn.results[0]

    outcomes = await asyncio.gather(
        *(turn(at) for at in range(32)),
        store.events.append("s", "e", 32),
        return_exceptions=True,
    )
    good = [at for at in range(33) if at not in bad]
    assert [outcomes[at] for at in good] == list(range(1, len(good) + 1))
    assert {type(outcomes[at]) for at in bad} == {MessageExists}
    assert [each.data for each in await store.events.list("s")] == good
    contents = [each.content for each in await store.messages.list("other")]
    assert contents == [None, *good[:-1]]
    assert (await store.statistics()).batch_size_p99 >= 33


async def test_a_key_whose_message_was_purged_fails_the_turn(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", 1, idempotency_key="k")
    await store.messages.compact("s", "so far", preserve=0)
    await store.archive.purge(older_than_days=0)
    before = await store.sessions.load("s")
    with pytest.raises(InvalidArgument, match="purged"):
        async with store.turn("s") as turn:
            turn.message("user", 1, idempotency_key="k")
            turn.event("e")
    assert await store.sessions.load("s") == before


# Arguments


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_raised_by_the_turns_method(
    open_store: OpenStore, name: str
) -> None:
    call, error = WRONG[name]
    store = await open_store(payload_bytes_max=1_024)
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
