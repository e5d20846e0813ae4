"""``store.turn``: several writes as one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Message,
    MessageExists,
    MessageNotFound,
    PayloadInvalid,
    SequenceConflict,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    StatusConflict,
    StoreError,
    ToolCall,
    ToolCallExists,
    ToolCallNotFound,
    Usage,
)

Collect: TypeAlias = Callable[[Any], object]

GOOD: Final[list[Collect]] = [
    lambda turn: turn.message("user", id="m", usage=Usage(prompt_tokens=1), model="m"),
    lambda turn: turn.tool_call("t", {}, id="c", message_id="m"),
    lambda turn: turn.event("e", idempotency_key="k"),
    lambda turn: turn.update_tool_call("old", status="completed"),
    lambda turn: turn.update_session(title="new", metadata={"a": "b"}),
    lambda turn: turn.create_session(session_id="new"),
    lambda turn: turn.event("e", session_id="new"),
]
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
    "head": (lambda turn: turn.event("e", expected_head=99), SequenceConflict),
    "session's status": (
        lambda turn: turn.update_session(title="x", expected_status="failed"),
        StatusConflict,
    ),
    "session": (lambda turn: turn.create_session(), SessionExists),
    "no session": (lambda turn: turn.event("e", session_id="gone"), SessionNotFound),
}
WRONG: Final[dict[str, tuple[Collect, type[StoreError]]]] = {
    "role": (lambda turn: turn.message("judge"), InvalidArgument),
    "content": (lambda turn: turn.message("user", float("nan")), PayloadInvalid),
    "arguments": (lambda turn: turn.tool_call("t", {1: 2}), PayloadInvalid),
    "call's status": (
        lambda turn: turn.update_tool_call("c", status=5),
        InvalidArgument,
    ),
    "type": (lambda turn: turn.event(""), InvalidArgument),
    "status": (lambda turn: turn.update_session(status="over"), InvalidArgument),
}


async def whole(store: SessionStore) -> list[Any]:
    """Read all there is of sessions, messages, tool calls and events."""
    page = await store.sessions.list()
    return [
        (await store.sessions.load(each.id), await store.events.list(each.id))
        for each in page.items
    ]


@pytest.fixture
async def used_session(store: SessionStore, session: Session) -> Session:
    """The session ``s``, with a message and a tool call named ``old``."""
    await store.messages.append("s", "user", id="old")
    await store.tool_calls.create("s", "t", {}, id="old")
    found = await store.sessions.get("s")
    assert found is not None
    return found


# Results


async def test_a_turn_commits_what_it_collects_when_its_block_ends(
    store: SessionStore, session: Session
) -> None:
    async with store.turn("s") as turn:
        asked = turn.message("assistant", "Let me look")
        call = turn.tool_call("ls", {}, message_id=asked)
        turn.event("tool_call.started", {"n": 1})
        turn.update_tool_call(call, status="completed", output="a b")
        turn.update_session(status="running")
        assert await store.sessions.get("s") == session
    state = await store.sessions.load("s")
    assert state is not None
    assert (state.session.status, state.session.event_head) == ("running", 1)
    assert [each.content for each in state.messages] == ["Let me look"]
    [made] = state.tool_calls
    assert (made.id, made.message_id, made.status) == (call, asked, "completed")


async def test_results_are_in_the_order_of_the_calls(
    store: SessionStore, used_session: Session
) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
        turn.message("user", "hello")
        turn.tool_call("t", {})
        turn.event("e")
        turn.update_tool_call("old", output="x")
        turn.update_session(title="t")
    kinds = [type(each) for each in turn.results]
    assert kinds == [int, Message, ToolCall, int, ToolCall, Session]
    assert [turn.results[0], turn.results[3]] == [1, 2]
    assert turn.results[1] == (await store.messages.list("s", last=1))[0]
    assert turn.results[4] == await store.tool_calls.get("s", "old")
    assert turn.results[5] == await store.sessions.get("s")


async def test_the_ids_of_a_turn_are_known_before_it_commits(
    store: SessionStore, session: Session
) -> None:
    async with store.turn("s") as turn:
        given = turn.message("user", id="m")
        made = [turn.message("user"), turn.tool_call("t", {})]
    assert given == "m"
    assert [each.id for each in turn.results] == ["m", *made]


async def test_a_turn_without_calls_has_no_results(
    store: SessionStore, session: Session
) -> None:
    async with store.turn("s") as turn:
        pass
    assert turn.results == []
    assert await store.sessions.get("s") == session


async def test_a_turns_results_are_there_after_its_block_only(
    store: SessionStore, session: Session
) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
        with pytest.raises(StoreError):
            _ = turn.results
    assert turn.results == [1]


async def test_a_turn_takes_calls_inside_its_block_only(
    store: SessionStore, session: Session
) -> None:
    turn = store.turn("s")
    with pytest.raises(StoreError):
        turn.event("early")
    async with turn:
        pass
    with pytest.raises(StoreError):
        turn.event("late")
    assert await store.events.head("s") == 0


async def test_a_turn_is_entered_once(store: SessionStore, session: Session) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
    with pytest.raises(StoreError):
        await turn.__aenter__()
    assert await store.events.head("s") == 1


async def test_a_turn_takes_data_as_it_is_at_the_call(
    store: SessionStore, session: Session
) -> None:
    data = {"n": 1}
    async with store.turn("s") as turn:
        turn.event("e", data)
        data["n"] = 2
    assert [each.data for each in await store.events.list("s")] == [{"n": 1}]


async def test_a_turn_holds_nothing_while_it_is_open(open_store: OpenStore) -> None:
    store = await open_store(readers=1)
    await store.sessions.create(id="s")
    async with store.turn("s") as turn:
        turn.event("e")
        assert await store.events.append("s", "between") == 1
    assert turn.results == [2]


# Creating a session


async def test_a_turn_creates_a_session_with_its_first_event(
    store: SessionStore,
) -> None:
    async with store.turn("new") as turn:
        turn.create_session(agent_name="coder", metadata={"k": "v"})
        turn.event("session.init", {"cwd": "/repo"}, expected_head=0)
    created, seq = turn.results
    assert (created.id, created.agent_name, seq) == ("new", "coder", 1)
    found = await store.sessions.get("new")
    assert found is not None
    assert (found.metadata, found.event_head) == ({"k": "v"}, 1)


async def test_a_session_of_a_failed_turn_is_not_there(store: SessionStore) -> None:
    with pytest.raises(SequenceConflict):
        async with store.turn("new") as turn:
            turn.create_session()
            turn.event("e", expected_head=9)
    assert await store.sessions.get("new") is None
    assert (await store.sessions.create(id="new")).event_head == 0


async def test_a_turn_writes_to_several_sessions(store: SessionStore) -> None:
    async with store.turn("a") as turn:
        turn.create_session()
        turn.create_session(session_id="b", parent_session_id="a")
        turn.event("spawned")
        turn.event("started", session_id="b")
    assert turn.results[2:] == [1, 1]
    [event] = await store.events.list("b")
    assert event.type == "started"


# All or nothing


async def test_what_the_other_tests_take_for_good_is(
    store: SessionStore, used_session: Session
) -> None:
    async with store.turn("s") as turn:
        for call in GOOD:
            call(turn)
    assert len(turn.results) == len(GOOD)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_call_that_fails_fails_the_turn_wherever_it_stands(
    store: SessionStore, used_session: Session, name: str
) -> None:
    before = await whole(store)
    fail, error = FAULTS[name]
    for place in range(len(GOOD) + 1):
        with pytest.raises(error):
            async with store.turn("s") as turn:
                for call in [*GOOD[:place], fail, *GOOD[place:]]:
                    call(turn)
        assert await whole(store) == before


@pytest.mark.parametrize("name", FAULTS)
async def test_the_first_call_that_fails_gives_the_turns_error(
    store: SessionStore, used_session: Session, name: str
) -> None:
    fail, error = FAULTS[name]
    for other, _ in FAULTS.values():
        with pytest.raises(error):
            async with store.turn("s") as turn:
                fail(turn)
                other(turn)
        with pytest.raises(StoreError):
            _ = turn.results


async def test_an_exception_inside_the_block_writes_nothing(
    store: SessionStore, used_session: Session
) -> None:
    before = await whole(store)
    with pytest.raises(ZeroDivisionError):
        async with store.turn("s") as turn:
            for call in GOOD:
                call(turn)
            raise ZeroDivisionError
    assert await whole(store) == before


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_raised_by_the_turns_method(
    store: SessionStore, session: Session, name: str
) -> None:
    call, error = WRONG[name]
    async with store.turn("s") as turn:
        turn.event("before")
        with pytest.raises(error):
            call(turn)
        turn.event("after")
    assert turn.results == [1, 2]


async def test_a_turn_of_no_possible_session_is_refused(store: SessionStore) -> None:
    with pytest.raises(InvalidArgument):
        store.turn("")


async def test_readers_see_all_of_a_turn_or_none(
    store: SessionStore, session: Session
) -> None:
    async def write() -> None:
        async with store.turn("s") as turn:
            turn.message("user")
            turn.tool_call("t", {})
            turn.event("e")

    for _ in range(10):
        found = await asyncio.gather(
            write(), *(store.sessions.get("s") for _ in range(5)), write()
        )
        for each in found[1:-1]:
            assert each is not None
            assert each.message_count == each.tool_call_count == each.event_head


# Order


async def test_a_turns_calls_build_on_one_another(
    store: SessionStore, session: Session
) -> None:
    async with store.turn("s") as turn:
        call = turn.tool_call("t", {})
        turn.update_tool_call(call, status="approved", expected_status="pending")
        turn.update_tool_call(call, status="executing", expected_status="approved")
        turn.event("e", expected_head=0)
        turn.event("e", expected_head=1)
        turn.message("user", id="first")
        turn.message("assistant")
    states = [each.status for each in turn.results[:3]]
    assert states == ["pending", "approved", "executing"]
    assert turn.results[3:5] == [1, 2]
    assert turn.results[6].parent_id == "first"


async def test_an_idempotency_key_in_a_turn_is_of_its_call_alone(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1, idempotency_key="k")
    async with store.turn("s") as turn:
        turn.event("e", 2)
        turn.event("e", 3, idempotency_key="k", expected_head=99)
        turn.event("e", 4)
    assert turn.results == [2, 1, 3]
    assert [each.data for each in await store.events.list("s")] == [1, 2, 4]


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


async def test_gathered_turns_and_other_calls_keep_their_order(
    store: SessionStore, session: Session
) -> None:
    async def two(n: int) -> None:
        async with store.turn("s") as turn:
            turn.event("e", n)
            turn.event("e", n + 1)

    await asyncio.gather(
        store.events.append("s", "e", 0),
        two(1),
        store.events.append("s", "e", 3),
        two(4),
        two(6),
    )
    data = [each.data for each in await store.events.list("s")]
    assert data == [*range(8)]


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
