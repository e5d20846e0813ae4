"""``store.turn``: several writes as one transaction, and what they give back."""

from __future__ import annotations

import pytest

from tests.support.seeds import turning
from turnstore import (
    Message,
    SequenceConflict,
    Session,
    SessionNotFound,
    SessionStore,
    ToolCall,
    Usage,
)

pytestmark = pytest.mark.anyio

sessions = turning.sessions

# Results


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
    store: SessionStore, sessions: None
) -> None:
    before = await store.statistics()
    async with store.turn("gone") as turn:
        pass
    assert turn.results == []
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


async def test_what_is_given_is_taken_at_once(
    store: SessionStore, sessions: None
) -> None:
    data = {"n": 1}
    async with store.turn("s") as turn:
        turn.event("e", data)
        data["n"] = 2
        turn.event("e", data)
        data["n"] = 3
    assert [each.data for each in await store.events.list("s")] == [{"n": 1}, {"n": 2}]


async def test_nothing_is_written_before_the_end(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
        assert await store.events.head("s") == 0
        assert await store.events.append("s", "between") == 1
    assert turn.results == [2]


# Creating a session


async def test_a_session_with_its_first_events(store: SessionStore) -> None:
    async with store.turn("new") as turn:
        turn.create_session(
            agent_name="coder", metadata={"k": "v"}, title="A title", status="running"
        )
        turn.event("session.init", {"cwd": "/repo"}, expected_head=0)
        turn.message("user", "hello")
        turn.update_session(title="Another")
    created, seq, message, updated = turn.results
    assert (created.id, created.event_head, created.title) == ("new", 0, "A title")
    assert (seq, message.seq) == (1, 1)
    assert updated == await store.sessions.get("new")
    assert (updated.title, updated.metadata) == ("Another", {"k": "v"})
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
    # Its integer key is given to the next one.
    await store.sessions.create(id="next")
    with pytest.raises(SessionNotFound):
        await store.events.append("new", "e")
    async with store.turn("new") as turn:
        turn.create_session()
        turn.event("e")
    assert turn.results[1] == 1
    assert await store.events.head("next") == 0


async def test_several_sessions_at_once(store: SessionStore) -> None:
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
    assert turn.results[9] == 2
    state = await store.sessions.load("b")
    assert state is not None
    assert (state.session.status, state.session.event_head) == ("completed", 1)
    assert [each.content for each in state.messages] == ["task"]
    assert [each.status for each in state.tool_calls] == ["denied"]
