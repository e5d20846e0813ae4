"""``store.turn``: several writes as one transaction, and what they give back."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.contract.turns.collecting import GOOD, Collect
from tests.contract.ways import OpenStore
from turnstore import (
    Message,
    SequenceConflict,
    Session,
    SessionNotFound,
    SessionStore,
    StoreClosed,
    StoreError,
    ToolCall,
    Usage,
)

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
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        usage = Usage(prompt_tokens=3)
        asked = turn.message("assistant", "Let me look", usage=usage, model="m")
        first = turn.tool_call("ls", {"path": "."}, message_id=asked, call_id="c1")
        second = turn.tool_call("cat", None, status="executing")
        turn.event("tool_call.started", {"n": 1})
        turn.event("tool_call.started", {"n": 2}, turn_id="t1")
        turn.update_tool_call(first, status="completed", output="a b")
        turn.update_session(status="running")
    message, one, two, three, four, five, session = turn.results
    assert [type(each) for each in turn.results] == [
        *(Message, ToolCall, ToolCall, int, int, ToolCall, Session)
    ]
    assert message == (await store.messages.list("s", last=1))[0]
    assert (message.id, message.usage) == (asked, usage)
    assert (one.id, one.message_id, one.status) == (first, asked, "pending")
    assert two == await store.tool_calls.get("s", second)
    assert two.started_at == two.created_at
    assert [three, four] == [1, 2]
    assert five == await store.tool_calls.get("s", first)
    assert (five.status, five.output) == ("completed", "a b")
    assert session == await store.sessions.get("s")
    assert (session.status, session.event_head, session.message_head) == (
        "running",
        2,
        2,
    )
    assert session.usage == Usage(prompt_tokens=3, api_calls=1)


async def test_a_new_tool_call_is_returned_as_it_is_read(
    store: SessionStore, sessions: None
) -> None:
    arguments = {"big": 10**30, "none": None, "text": "\x00é", "list": (1, 2)}
    async with store.turn("s") as turn:
        for status in ("pending", "approved", "denied", "executing", "failed"):
            turn.tool_call("t", arguments, status=status, message_id="old", kind="k")
    listed = await store.tool_calls.list("s")
    assert turn.results == listed[1:]


async def test_an_id_is_known_before_the_commit(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        assert turn.message("user", id="m") == "m"
        assert turn.tool_call("t", {}, id="c") == "c"
        made = [turn.message("user"), turn.tool_call("t", {})]
    assert [turn.results[2].id, turn.results[3].id] == made


async def test_a_turn_without_calls_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    before = await store.statistics()
    for name in ("s", "gone"):
        async with store.turn(name) as turn:
            pass
        assert turn.results == []
    assert await store.sessions.get("s") == session
    assert (await store.statistics()).batches == before.batches


async def test_a_turn_is_one_command(store: SessionStore, sessions: None) -> None:
    before = await store.statistics()
    async with store.turn("s") as turn:
        for _ in range(50):
            turn.event("e")
            turn.message("user")
    after = await store.statistics()
    assert after.commands - before.commands == 1
    assert after.batches - before.batches == 1


async def test_a_turn_takes_data_as_it_is_at_the_call(
    store: SessionStore, sessions: None
) -> None:
    data = {"n": 1}
    async with store.turn("s") as turn:
        turn.event("e", data)
        data["n"] = 2
        turn.event("e", data)
        data["n"] = 3
    assert [each.data for each in await store.events.list("s")] == [{"n": 1}, {"n": 2}]


# The block


async def test_a_turn_holds_nothing_while_it_is_open(open_store: OpenStore) -> None:
    store = await open_store(readers=1)
    await store.sessions.create(id="s")
    async with store.turn("s") as turn:
        turn.event("e")
        assert await store.events.head("s") == 0
        assert await store.events.append("s", "between") == 1
    assert turn.results == [2]


async def test_a_turns_results_are_there_after_its_block_only(
    store: SessionStore, sessions: None
) -> None:
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
async def test_a_turn_takes_calls_inside_its_block_only(
    store: SessionStore, sessions: None, call: Collect
) -> None:
    turn = store.turn("s")
    with pytest.raises(StoreError, match="inside its block"):
        call(turn)
    async with turn:
        pass
    with pytest.raises(StoreError, match="inside its block"):
        call(turn)
    assert await store.events.head("s") == 0


async def test_a_turn_of_a_closed_store(store: SessionStore, session: Session) -> None:
    turn = store.turn("s")
    await store.close()
    with pytest.raises(StoreClosed):
        async with turn:
            turn.event("e")


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
def test_a_turn_takes_what_the_room_takes(name: str, room: str, method: str) -> None:
    store = SessionStore("sqlite://")

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


# Creating a session


async def test_a_turn_creates_a_session_with_its_first_events(
    store: SessionStore,
) -> None:
    async with store.turn("new") as turn:
        turn.create_session(
            agent_name="coder", metadata={"k": "v"}, title="A title", status="running"
        )
        turn.event("session.init", {"cwd": "/repo"}, expected_head=0)
        turn.message("user", "hello")
        turn.update_session(title="Another")
    created, seq, message, updated = turn.results
    assert (created.id, created.event_head, created.title) == ("new", 0, "A title")
    assert (created.agent_name, created.metadata) == ("coder", {"k": "v"})
    assert (seq, message.seq) == (1, 1)
    assert updated == await store.sessions.get("new")
    assert (updated.title, updated.metadata) == ("Another", {"k": "v"})
    assert updated.event_head == 1
    listed = await store.sessions.list()
    assert [each.id for each in listed.items] == ["new"]


async def test_a_session_that_was_not_made_can_be_made_later(
    store: SessionStore,
) -> None:
    with pytest.raises(SequenceConflict):
        async with store.turn("new") as turn:
            turn.create_session()
            turn.event("e")
            turn.event("e", expected_head=9)
    assert await store.sessions.get("new") is None
    # Where keys are given again, that of the one undone is the next one's.
    await store.sessions.create(id="next")
    with pytest.raises(SessionNotFound):
        await store.events.append("new", "e")
    async with store.turn("new") as turn:
        turn.create_session()
        turn.event("e")
    assert turn.results[1] == 1
    assert await store.events.head("next") == 0


async def test_a_turn_writes_to_several_sessions(store: SessionStore) -> None:
    async with store.turn("a") as turn:
        turn.create_session(agent_name="parent")
        turn.create_session(session_id="b", parent_session_id="a")
        turn.event("spawned", {"child": "b"})
        turn.event("started", session_id="b")
        turn.message("user", "task", id="m", session_id="b")
        turn.message("user", "same id", id="m")
        turn.tool_call("t", {}, id="c", message_id="m", session_id="b")
        turn.update_tool_call("c", status="denied", session_id="b")
        turn.update_session(status="completed", session_id="b")
        turn.event("ended")
    sessions_of = [getattr(each, "session_id", None) for each in turn.results[4:8]]
    assert sessions_of == ["b", "a", "b", "b"]
    assert turn.results[2:4] == [1, 1]
    assert turn.results[9] == 2
    [event] = await store.events.list("b")
    assert event.type == "started"
    state = await store.sessions.load("b")
    assert state is not None
    assert (state.session.status, state.session.event_head) == ("completed", 1)
    assert [each.content for each in state.messages] == ["task"]
    assert [each.status for each in state.tool_calls] == ["denied"]
