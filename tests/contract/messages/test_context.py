"""``store.messages.context``: what a model may be sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.messages.talks import answer, ask, say
from turnstore import (
    Json,
    Message,
    NewMessage,
    Role,
    Session,
    SessionStore,
)


async def test_an_empty_session_has_an_empty_context(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.context("s") == []


async def test_a_context_is_the_messages_by_seq(
    store: SessionStore, session: Session
) -> None:
    roles = ["system", "user", "assistant", "user"]
    made = await store.messages.append_many("s", [say(role) for role in roles])
    assert await store.messages.context("s") == made


async def test_a_call_with_its_result_stays(
    store: SessionStore, session: Session
) -> None:
    given = [say("user"), ask("a"), answer("a"), say("assistant")]
    made = await store.messages.append_many("s", given)
    assert await store.messages.context("s") == made


async def test_results_of_parallel_calls_come_in_the_order_of_the_calls(
    store: SessionStore, session: Session
) -> None:
    given = [ask("a", "b", "c"), answer("c"), answer("a"), answer("b")]
    asked, c, a, b = await store.messages.append_many("s", given)
    assert await store.messages.context("s") == [asked, a, b, c]


async def test_a_call_without_its_result_goes_and_the_others_stay(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask("a", "b", text="looking"), answer("b"))
    assert found == [("assistant", "looking", ["b"]), ("tool", "done", "b")]


async def test_the_text_of_a_message_that_lost_all_its_calls_stays(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask("a", "b", text="looking"))
    assert found == [("assistant", "looking", None)]


@pytest.mark.parametrize("text", [None, "", " \n", []], ids=repr)
async def test_a_message_left_with_neither_calls_nor_text_goes(
    store: SessionStore, session: Session, text: Json
) -> None:
    found = await context(store, say("user", "go"), ask("a", text=text))
    assert found == [("user", "go", None)]


async def test_an_empty_list_of_calls_goes_and_the_text_stays(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask(text="x"))
    assert found == [("assistant", "x", None)]


async def test_a_call_without_an_id_goes(store: SessionStore, session: Session) -> None:
    calls: list[Any] = [{"function": {}}, {"id": 7}]
    new = NewMessage(role=Role.ASSISTANT, content="x", tool_calls=calls)
    assert await context(store, new) == [("assistant", "x", None)]


async def test_a_result_without_its_call_goes(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, answer("a"), say("user", "go"))
    assert found == [("user", "go", None)]


async def test_a_result_before_its_call_goes(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, answer("a"), ask("a", text="x"))
    assert found == [("assistant", "x", None)]


async def test_a_second_result_of_a_call_goes(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask("a"), answer("a", "one"), answer("a", "two"))
    assert found == [("assistant", None, ["a"]), ("tool", "one", "a")]


async def test_a_repeated_call_id_pairs_by_position(
    store: SessionStore, session: Session
) -> None:
    given = [ask("a"), answer("a", "one"), ask("a"), answer("a", "two")]
    made = await store.messages.append_many("s", given)
    assert await store.messages.context("s") == made


async def test_an_unanswered_call_does_not_take_a_later_calls_result(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask("a", text="x"), ask("a"), answer("a"))
    assert found == [
        ("assistant", "x", None),
        ("assistant", None, ["a"]),
        ("tool", "done", "a"),
    ]


async def test_one_result_of_two_calls_with_one_id_leaves_one_call(
    store: SessionStore, session: Session
) -> None:
    found = await context(store, ask("a", "a"), answer("a"))
    assert found == [("assistant", None, ["a"]), ("tool", "done", "a")]


async def test_a_context_changes_no_message(
    store: SessionStore, session: Session
) -> None:
    made = await store.messages.append_many("s", [ask("a", text="x"), answer("b")])
    await store.messages.context("s")
    assert await store.messages.list("s") == made


async def test_a_context_leaves_compacted_messages_out_and_puts_the_summary_first(
    store: SessionStore, session: Session
) -> None:
    made = await store.messages.append_many("s", [say("user")] * 4)
    done = await store.messages.compact("s", "so far", preserve=2)
    assert await store.messages.context("s") == [done.summary_message, *made[2:]]


async def test_a_result_whose_call_was_compacted_goes(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many("s", [say("user"), ask("a", text="x")])
    await store.messages.compact("s", "so far", preserve=0)
    found = await context(store, answer("a"), say("user", "next"))
    assert found == [("system", "so far", None), ("user", "next", None)]


def shape(messages: list[Message]) -> list[tuple[Any, ...]]:
    """Role, content, and the ids of the calls made or of the call answered."""
    return [
        (
            str(each.role),
            each.content,
            each.tool_call_id
            if each.tool_calls is None
            else [call["id"] for call in each.tool_calls],
        )
        for each in messages
    ]


async def context(store: SessionStore, *given: NewMessage) -> list[tuple[Any, ...]]:
    """Append messages, then read the context."""
    await store.messages.append_many("s", given)
    return shape(await store.messages.context("s"))
