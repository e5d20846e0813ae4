"""``store.messages.context`` of content blocks, and of both formats in one branch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.messages.sendable import check_sendable
from tests.contract.messages.talks import answer, ask, give, given, say, sent, use
from turnstore import Json, Message, NewMessage, Role, Session, SessionStore


async def test_blocks_that_are_in_order_change_nothing(
    store: SessionStore, session: Session
) -> None:
    talk = [say("user"), use("a", "b", text="look"), give(a="1", b="2", text="go on")]
    made = await store.messages.append_many("s", [*talk, say("assistant")])
    assert await store.messages.context("s") == made


async def test_results_come_first_in_the_order_of_the_calls(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a", "b"), give(text="so", b="2", a="1"))
    assert found[1].content == given(a="1", b="2", text="so")


async def test_results_in_several_messages_become_one(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a", "b"), give(b="2"), give(a="1", text="so"))
    assert [each.content for each in found[1:]] == [
        given(a="1", b="2"),
        given(text="so"),
    ]
    assert [each.seq for each in found] == [1, 2, 3]


async def test_what_was_said_between_comes_after_the_results(
    store: SessionStore, session: Session
) -> None:
    found = await context(
        store, use("a"), say("user", "hurry"), say("system", "notice"), give(a="1")
    )
    assert [each.seq for each in found] == [1, 4, 2, 3]


async def test_a_message_whose_results_move_away_comes_in_two_parts(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a"), say("user", "hurry"), give(a="1", text="so"))
    assert [each.content for each in found[1:]] == [
        given(a="1"),
        "hurry",
        given(text="so"),
    ]
    assert [each.seq for each in found] == [1, 3, 2, 3]


async def test_results_of_two_messages_in_one_go_to_each(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a"), use("b"), give(b="2", a="1", text="so"))
    contents = [each.content for each in found if each.role is Role.USER]
    assert contents == [given(a="1"), given(b="2", text="so")]
    assert [each.seq for each in found] == [1, 3, 2, 3]


async def test_a_call_without_its_result_goes_and_the_rest_of_the_message_stays(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a", "b", text="look"), give(b="2"), use("c"))
    assert [each.content for each in found] == [
        use("b", text="look").content,
        given(b="2"),
    ]


async def test_results_without_their_call_go_and_the_text_stays(
    store: SessionStore, session: Session
) -> None:
    found = await context(
        store, give(a="1"), give(b="2", text="so"), use("b", text="x")
    )
    assert [each.content for each in found] == [given(text="so"), given(text="x")]


@pytest.mark.parametrize(
    "rest",
    [
        [{"type": "thinking", "thinking": "hm", "signature": "s"}],
        [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": " "}],
    ],
    ids=["thinking", "blank"],
)
async def test_thinking_alone_is_no_text(
    store: SessionStore, session: Session, rest: list[Json]
) -> None:
    blocks = [*rest, *given_use("a")]
    assert await context(store, NewMessage(role="assistant", content=blocks)) == []


async def test_thinking_of_a_call_that_goes_does_not_end_the_message(
    store: SessionStore, session: Session
) -> None:
    thought: Json = {"type": "thinking", "thinking": "hm", "signature": "s"}
    blocks = [thought, *given_use("a"), thought, *given_use("b")]
    asked, _ = await context(
        store, NewMessage(role="assistant", content=blocks), give(a="1")
    )
    assert asked.content == [thought, *given_use("a")]


async def test_a_result_takes_the_form_of_its_call(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, use("a"), answer("a", "1"), ask("b"), give(b="2"))
    shapes = [(str(each.role), each.content, each.tool_call_id) for each in found]
    assert shapes[1] == ("user", given(a="1"), None)
    assert shapes[3] == ("tool", "2", "b")


@pytest.mark.parametrize(
    "result", [answer("a", "1"), give(a="1")], ids=["tool", "block"]
)
async def test_a_call_that_is_written_both_ways_is_one(
    store: SessionStore, session: Session, result: NewMessage
) -> None:
    both = NewMessage(
        role="assistant", content=use("a").content, tool_calls=ask("a").tool_calls
    )
    made = await store.messages.append_many("s", [both, result])
    assert await store.messages.context("s") == made


async def test_blocks_of_other_kinds_stay(
    store: SessionStore, session: Session
) -> None:
    blocks: list[Json] = [
        {"type": "server_tool_use", "id": "a", "name": "search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "a", "content": []},
        {"type": "tool_use", "name": "no id"},
        {"type": "text", "text": "found"},
        "no block",
    ]
    [found] = await context(store, NewMessage(role="assistant", content=blocks))
    assert found.content == [*blocks[:2], *blocks[3:]]


async def test_a_compaction_splits_no_block_from_its_result(
    store: SessionStore, session: Session
) -> None:
    talk = [say("user", "q"), use("a"), say("user", "hurry"), give(a="1")]
    await store.messages.append_many("s", talk)
    done = await store.messages.compact("s", "so far", preserve=1)
    assert (done.archived, done.boundary_seq) == (1, 2)
    expected = ["so far", use("a").content, given(a="1"), "hurry"]
    assert await sent(store) == expected


# Answered by tool calls


@pytest.mark.parametrize("call", [ask, use], ids=["chat", "blocks"])
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"output": "out", "result": {"a": 1}, "status": "completed"}, "out"),
        ({"output": "", "result": {"a": 1}, "status": "completed"}, ""),
        ({"result": {"ä": [1, None]}, "status": "completed"}, '{"ä":[1,null]}'),
        ({"error": "broke"}, "broke"),
        ({"status": "denied"}, ""),
    ],
    ids=["output", "no output", "result", "error", "denied"],
)
async def test_a_tool_call_that_has_ended_answers(
    store: SessionStore, session: Session, call: Any, fields: Any, text: str
) -> None:
    asked, after = await store.messages.append_many("s", [call("a"), say("user")])
    row = await store.tool_calls.create("s", "f", {}, call_id="a", message_id=asked.id)
    ended = await store.tool_calls.update("s", row.id, **fields)
    first, told, last = await store.messages.context("s")
    assert (first, last) == (asked, after)
    assert (told.id, told.seq, told.created_at) == (row.id, 1, ended.completed_at)
    if call is ask:
        assert (told.role, told.content, told.tool_call_id) == (Role.TOOL, text, "a")
        return
    block: Any = given(a=text)[0]
    if ended.status != "completed":
        block["is_error"] = True
    assert (told.role, told.content) == (Role.USER, [block])


async def test_tool_calls_with_one_id_answer_by_position(
    store: SessionStore, session: Session
) -> None:
    [asked] = await store.messages.append_many("s", [ask("a", "a", "b")])
    for output in ("1", "2"):
        await ended(store, output, call_id="a", message_id=asked.id)
    found = await store.messages.context("s")
    assert [each.content for each in found] == [None, "1", "2"]
    await store.messages.append_many("s", [answer("a", "said")])
    found = await store.messages.context("s")
    assert [each.content for each in found] == [None, "said", "2"]


async def test_other_tool_calls_do_not_answer(
    store: SessionStore, session: Session
) -> None:
    asked, other = await store.messages.append_many(
        "s", [ask("a", text="x"), say("user", "y")]
    )
    await ended(store, "of no message", call_id="a")
    await ended(store, "of another", call_id="a", message_id=other.id)
    await ended(store, "with another id", call_id="b", message_id=asked.id)
    await store.tool_calls.create("s", "f", {}, call_id="a", message_id=asked.id)
    assert await sent(store) == ["x", "y"]


async def test_a_tool_call_without_a_call_id_answers_by_its_own(
    store: SessionStore, session: Session
) -> None:
    [asked] = await store.messages.append_many("s", [ask("a")])
    await ended(store, "done", id="a", message_id=asked.id)
    assert await sent(store) == [None, "done"]


def given_use(call_id: str) -> list[Any]:
    content: Any = use(call_id).content
    return list(content)


async def ended(store: SessionStore, output: str, **fields: Any) -> None:
    call = await store.tool_calls.create("s", "f", {}, **fields)
    await store.tool_calls.update("s", call.id, status="completed", output=output)


async def context(store: SessionStore, *talk: NewMessage) -> list[Message]:
    await store.messages.append_many("s", talk)
    found = await store.messages.context("s")
    check_sendable(found)
    return found
