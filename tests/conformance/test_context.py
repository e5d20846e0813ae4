"""``messages.context``: what a model may be sent."""

from __future__ import annotations

from typing import Any

import pytest
from talking import answer, ask, say, shape

from turnstore import (
    Json,
    NewMessage,
    Session,
    SessionNotFound,
    SessionStore,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create()


async def context_of(
    store: SessionStore, session: Session, *given: NewMessage
) -> list[tuple[Any, ...]]:
    await store.messages.append_many(session.id, given)
    return shape(await store.messages.context(session.id))


async def test_an_empty_session_has_an_empty_context(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.context(session.id) == []


async def test_an_unknown_session_is_an_error(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.messages.context("nowhere")


async def test_pairs_stay_as_they_are(store: SessionStore, session: Session) -> None:
    found = await context_of(
        store, session, say("user", "go"), ask("a", "b"), answer("b"), answer("a")
    )
    assert found == [
        ("user", "go", None),
        ("assistant", None, ["a", "b"]),
        ("tool", "done", "b"),
        ("tool", "done", "a"),
    ]


async def test_a_call_without_its_result_goes_and_the_text_stays(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(store, session, ask("a", "b", text="looking"), answer("a"))
    assert found == [("assistant", "looking", ["a"]), ("tool", "done", "a")]


async def test_a_message_that_lost_all_its_calls_keeps_its_text(
    store: SessionStore, session: Session
) -> None:
    assert await context_of(store, session, ask("a", text="looking")) == [
        ("assistant", "looking", None)
    ]


@pytest.mark.parametrize("text", [None, "", " \n", []])
async def test_a_message_left_with_neither_calls_nor_text_goes(
    store: SessionStore, session: Session, text: Json
) -> None:
    found = await context_of(store, session, say("user", "go"), ask("a", text=text))
    assert found == [("user", "go", None)]


async def test_a_result_without_its_call_goes(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(store, session, answer("a"), say("user", "go"))
    assert found == [("user", "go", None)]


async def test_a_result_before_its_call_is_not_its_result(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(store, session, answer("a"), ask("a", text="x"))
    assert found == [("assistant", "x", None)]


async def test_a_second_result_of_a_call_goes(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(
        store, session, ask("a"), answer("a", "first"), answer("a", "second")
    )
    assert found == [("assistant", None, ["a"]), ("tool", "first", "a")]


async def test_repeated_call_ids_pair_by_position(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(
        store,
        session,
        ask("a", text="unanswered"),
        ask("a"),
        answer("a", "second"),
        ask("a"),
        answer("a", "third"),
    )
    # The first answer goes to the latest call, the next ones to the calls after it.
    assert found == [
        ("assistant", "unanswered", None),
        ("assistant", None, ["a"]),
        ("tool", "second", "a"),
        ("assistant", None, ["a"]),
        ("tool", "third", "a"),
    ]


async def test_twice_the_same_id_in_one_message_takes_two_results(
    store: SessionStore, session: Session
) -> None:
    found = await context_of(store, session, ask("a", "a"), answer("a", "first"))
    assert found == [("assistant", None, ["a"]), ("tool", "first", "a")]


async def test_an_empty_list_of_calls_is_none(
    store: SessionStore, session: Session
) -> None:
    assert await context_of(store, session, ask(text="x")) == [("assistant", "x", None)]


async def test_calls_without_an_id_go(store: SessionStore, session: Session) -> None:
    calls: list[dict[str, Any]] = [{"function": {}}, {"id": 7}]
    found = await context_of(
        store, session, NewMessage(role="assistant", content="x", tool_calls=calls)
    )
    assert found == [("assistant", "x", None)]


async def test_list_is_not_pruned(store: SessionStore, session: Session) -> None:
    await store.messages.append_many(session.id, [ask("a"), answer("b")])
    assert len(await store.messages.list(session.id)) == 2
