"""``store.turn``: several writes as one transaction."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    Message,
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
    StoreClosed,
    StoreError,
    StoreOptions,
    ToolCall,
    ToolCallExists,
    ToolCallNotFound,
    Usage,
)
from turnstore.open_turns import OpenTurn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sessions(store: SessionStore) -> None:
    """``s`` and ``other``, each with a message and a tool call ``old``."""
    for name in ("s", "other"):
        await store.sessions.create(id=name)
        await store.messages.append(name, "user", id="old")
        await store.tool_calls.create(name, "t", {}, id="old")


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


# Order


async def test_the_last_model_is_that_of_the_last_call(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        turn.event("e", model="a")
        turn.message("assistant", model="b")
        turn.update_session()
        turn.event("e", model="c")
        turn.update_session()
    assert [each.last_model for each in (turn.results[2], turn.results[4])] == [
        "b",
        "c",
    ]


async def test_a_session_is_returned_as_it_was_after_its_call(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        turn.event("e")
        turn.update_session(title="one")
        turn.event("e")
        turn.tool_call("t", {})
        turn.update_session(error="two")
    first, second = turn.results[1], turn.results[4]
    assert (first.event_head, first.pending_tool_calls, first.error) == (1, 1, None)
    assert (second.event_head, second.pending_tool_calls) == (2, 2)
    assert (second.title, second.error) == ("one", "two")


async def test_a_tool_call_goes_through_its_statuses(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        call = turn.tool_call("t", {})
        turn.update_tool_call(call, status="approved", expected_status="pending")
        turn.update_tool_call(call, status="executing", expected_status="approved")
        turn.update_tool_call(call, result=[1])
        turn.update_tool_call(call, status="completed", expected_status="executing")
    assert [each.status for each in turn.results] == [
        *("pending", "approved", "executing", "executing", "completed")
    ]
    assert [each.result for each in turn.results] == [None, None, None, [1], [1]]
    assert turn.results[-1].started_at is not None
    assert turn.results[-1].completed_at is not None


async def test_a_message_follows_the_active_one_of_its_place(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        first = turn.message("user", id="first")
        second = turn.message("assistant")
        turn.update_session(active_message_id="first")
        turn.message("assistant")
        turn.update_session(active_message_id=None)
        turn.message("user")
        turn.message("user", parent_id=second)
    made = [each for each in turn.results if isinstance(each, Message)]
    assert [each.parent_id for each in made] == ["old", first, first, None, second]
    assert [each.seq for each in made] == [2, 3, 4, 5, 6]


async def test_a_tool_call_comes_after_its_message(
    store: SessionStore, sessions: None
) -> None:
    with pytest.raises(MessageNotFound):
        async with store.turn("s") as turn:
            turn.tool_call("t", {}, message_id="m")
            turn.message("assistant", id="m")
    with pytest.raises(MessageNotFound):
        async with store.turn("s") as turn:
            turn.message("assistant", id="m", session_id="other")
            turn.tool_call("t", {}, message_id="m")


async def test_an_expected_head_counts_the_turns_own_events(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        turn.event("e", expected_head=0)
        turn.event("e")
        turn.event("e", expected_head=2)
        turn.event("e", expected_head=0, session_id="other")
    assert turn.results == [1, 2, 3, 1]


async def test_an_idempotency_key_is_of_its_call_alone(
    store: SessionStore, sessions: None
) -> None:
    async with store.turn("s") as turn:
        turn.event("e", 1)
        turn.event("e", 2, idempotency_key="k")
        turn.event("e", 3)
        turn.event("e", 4, idempotency_key="k")
        turn.message("user", 1, id="m", idempotency_key="k")
    async with store.turn("s") as again:
        again.event("e", 5)
        again.event("e", 6, idempotency_key="k", expected_head=99)
        given = again.message("user", 2, idempotency_key="k")
        again.message("user", 3)
    assert turn.results[:4] == [1, 2, 3, 2]
    assert again.results[:2] == [4, 2]
    assert again.results[2] == turn.results[4]
    assert again.results[2].id == "m" != given
    assert [each.data for each in await store.events.list("s")] == [1, 2, 3, 5]
    contents = [each.content for each in await store.messages.list("s")]
    assert contents == [None, 1, 3]


async def test_a_tool_call_of_a_replayed_message_needs_the_message_it_names(
    store: SessionStore, sessions: None
) -> None:
    await store.messages.append("s", "user", idempotency_key="k")
    with pytest.raises(MessageNotFound):
        async with store.turn("s") as turn:
            new = turn.message("user", idempotency_key="k")
            turn.tool_call("t", {}, message_id=new)


# Beside others


async def test_gathered_turns_and_plain_calls_keep_their_order(
    store: SessionStore, rng: random.Random
) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await store.sessions.create(id=name)
    count = 0

    def number() -> int:
        nonlocal count
        count += 1
        return count

    async def turn_of(several: list[str]) -> None:
        async with store.turn(several[0]) as turn:
            for name in several:
                if rng.random() < 0.6:
                    turn.event("e", number(), session_id=name)
                else:
                    turn.message("user", number(), session_id=name)

    async def plain(name: str) -> None:
        if rng.random() < 0.5:
            await store.events.append(name, "e", number())
        else:
            await store.messages.append(name, "user", number())

    for _ in range(20):
        calls = [
            turn_of(rng.choices(names, k=rng.randint(1, 6)))
            if rng.random() < 0.5
            else plain(rng.choice(names))
            for _ in range(15)
        ]
        await asyncio.gather(*calls)
    found = 0
    for name in names:
        for rows in (
            [each.data for each in await store.events.list(name)],
            [each.content for each in await store.messages.list(name)],
        ):
            assert rows == sorted(rows)
            found += len(rows)
    assert found == count


async def test_a_parent_is_the_message_before_across_turns_and_calls(
    store: SessionStore, sessions: None
) -> None:
    async def turn(id: str) -> None:
        async with store.turn("other") as turn:
            turn.event("e")
            turn.message("user", id=id, session_id="s")

    await asyncio.gather(
        store.messages.append("s", "user", id="1"),
        store.events.append("s", "e"),
        turn("2"),
        store.messages.append("s", "user", id="3"),
        turn("4"),
        turn("5"),
    )
    listed = await store.messages.list("s")
    assert [each.id for each in listed] == ["old", "1", "2", "3", "4", "5"]
    assert [each.parent_id for each in listed[1:]] == ["old", "1", "2", "3", "4"]


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


async def test_turns_that_build_on_one_another(store: SessionStore) -> None:
    """Each sees what the turns before it have written, and nothing of those undone."""

    async def create(at: int, *, then_fail: bool) -> None:
        async with store.turn("new") as turn:
            turn.create_session(agent_name=str(at))
            if then_fail:
                turn.event("e", expected_head=9)

    async def append(expected_head: int) -> None:
        async with store.turn("new") as turn:
            turn.event("e", expected_head=expected_head)

    outcomes = await asyncio.gather(
        create(0, then_fail=True),
        append(0),
        create(2, then_fail=False),
        append(0),
        create(4, then_fail=False),
        append(0),
        append(1),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [
        SequenceConflict,
        SessionNotFound,
        type(None),
        type(None),
        SessionExists,
        SequenceConflict,
        type(None),
    ]
    session = await store.sessions.get("new")
    assert session is not None and (session.agent_name, session.event_head) == ("2", 2)


async def test_a_fork_and_what_is_appended_to_it(
    store: SessionStore, sessions: None
) -> None:
    _, fork, seq, other = await asyncio.gather(
        store.events.append("other", "e"),
        store.sessions.fork("s", new_id="fork"),
        store.events.append("fork", "e"),
        store.messages.append("fork", "user"),
    )
    assert (fork.id, seq, other.session_id) == ("fork", 1, "fork")
