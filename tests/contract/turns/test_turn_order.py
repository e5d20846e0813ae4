"""The order of the calls of a turn, and of turns among other calls."""

from __future__ import annotations

import asyncio
import random

import pytest

from turnstore import (
    Message,
    MessageNotFound,
    SequenceConflict,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
)

# Within a turn


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


async def test_a_key_of_an_earlier_call_replays_its_call_of_a_turn_alone(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1, idempotency_key="k")
    async with store.turn("s") as turn:
        turn.event("e", 2)
        turn.event("e", 3, idempotency_key="k", expected_head=99)
        turn.event("e", 4)
    assert turn.results == [2, 1, 3]
    assert [each.data for each in await store.events.list("s")] == [1, 2, 4]


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


# Among other calls


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


async def test_random_turns_and_other_calls_keep_their_order(
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
