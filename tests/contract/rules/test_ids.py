"""Ids and names in every room: which are taken, and within what they are unique."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final
from uuid import UUID

import pytest

from turnstore import (
    InvalidArgument,
    NewMessage,
    Session,
    SessionStore,
    ToolPolicy,
)

GOOD_IDS: Final = [
    *("x", " ", "x" * 255, "é" * 255, "123", "😀"),
    *("'; DROP TABLE sessions; --", '"%\\', '"%s\\'),
]
WRONG_IDS: Final[list[Any]] = ["", "x" * 256, "a\x00b", "\ud800", 5, b"a", ["a"]]


async def test_ids_that_the_store_makes_are_uuids_of_version_7(
    store: SessionStore, session: Session
) -> None:
    made = await store.sessions.create()
    message = await store.messages.append("s", "user")
    call = await store.tool_calls.create("s", "ls", {})
    versions = {UUID(each.id).version for each in (made, message, call)}
    assert versions == {7}


async def test_ids_that_the_store_makes_are_time_ordered(store: SessionStore) -> None:
    made = [(await store.sessions.create()).id for _ in range(20)]
    milliseconds = [each[:13] for each in made]
    assert milliseconds == sorted(milliseconds)
    assert len(set(made)) == 20


@pytest.mark.parametrize("id", GOOD_IDS, ids=range(len(GOOD_IDS)))
async def test_the_caller_may_give_an_id_of_1_to_255_characters(
    store: SessionStore, id: str
) -> None:
    session = await store.sessions.create(id=id)
    message = await store.messages.append(id, "user", id=id)
    call = await store.tool_calls.create(id, "ls", {}, id=id)
    assert (session.id, message.id, call.id) == (id, id, id)
    assert await store.tool_calls.get(id, id) == call
    state = await store.sessions.load(id)
    assert state is not None
    assert (state.messages, state.tool_calls) == ([message], [call])


@pytest.mark.parametrize("id", WRONG_IDS, ids=range(len(WRONG_IDS)))
async def test_another_id_is_an_invalid_argument_everywhere(
    store: SessionStore, session: Session, id: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(id=id),
        store.sessions.create(parent_session_id=id),
        store.sessions.get(id),
        store.sessions.load(id),
        store.sessions.update(id, title="t"),
        store.sessions.update("s", active_message_id=id),
        store.sessions.delete(id),
        store.messages.append(id, "user"),
        store.messages.append("s", "user", id=id),
        store.messages.append("s", "user", parent_id=id),
        store.messages.append("s", "user", idempotency_key=id),
        store.messages.append_many("s", [NewMessage(role="user", id=id)]),
        store.messages.list(id),
        store.messages.branch("s", id),
        store.messages.set_active("s", id),
        store.messages.last(id, "user"),
        store.tool_calls.create("s", "ls", {}, id=id),
        store.tool_calls.create("s", "ls", {}, message_id=id),
        store.tool_calls.get("s", id),
        store.tool_calls.update("s", id, output="x"),
        store.tool_calls.pending(id),
        store.events.append(id, "e"),
        store.events.append("s", id),
        store.events.append("s", "e", idempotency_key=id),
        store.events.head(id),
        store.events.delete_before(id, 1),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * len(calls)
    assert await store.sessions.get("s") == session
    assert await store.sessions.count() == 1


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800", 5], ids=ascii)
async def test_nul_is_refused_in_ids_names_and_keys(
    store: SessionStore, session: Session, text: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(id=text),
        store.sessions.create(agent_name=text),
        store.sessions.create(project_root=text),
        store.sessions.create(metadata={text: "v"}),
        store.sessions.create(tool_policy=ToolPolicy(tools=frozenset({text}))),
        store.sessions.update("s", model=text),
        store.sessions.update("s", metadata={text: "v"}),
        store.metadata.set("s", text, "v"),
        store.messages.append("s", "user", id=text),
        store.messages.append("s", "user", name=text),
        store.messages.append("s", "user", idempotency_key=text),
        store.messages.append("s", "tool", tool_call_id=text),
        store.tool_calls.create("s", text, {}),
        store.tool_calls.create("s", "ls", {}, call_id=text),
        store.events.append("s", text),
        store.events.append("s", "e", model=text),
        store.events.append("s", "e", turn_id=text),
        store.events.append("s", "e", idempotency_key=text),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * len(calls)
    assert await store.sessions.get("s") == session
    assert await store.sessions.count() == 1


async def test_message_and_call_ids_are_unique_within_their_session_only(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        assert (await store.messages.append(name, "user", name, id="m")).id == "m"
        await store.tool_calls.create(name, "ls", name, id="c", message_id="m")
    await store.tool_calls.update("a", "c", status="completed", output="done")
    for name in ("a", "b"):
        [message] = await store.messages.list(name)
        assert (message.id, message.content) == ("m", name)
    other = await store.tool_calls.get("b", "c")
    assert other is not None
    assert (other.status, other.output, other.arguments) == ("pending", None, "b")


async def test_a_call_id_may_repeat_within_a_session(
    store: SessionStore, session: Session
) -> None:
    calls = [
        await store.tool_calls.create("s", name, {}, call_id="call_1")
        for name in ("first", "second")
    ]
    assert await store.tool_calls.find("s", "call_1") == calls


async def test_calls_pair_with_results_by_position(
    store: SessionStore, session: Session
) -> None:
    asked = [{"id": "call_1"}]
    for answer in ("first", "second"):
        await store.messages.append("s", "assistant", tool_calls=asked)
        await store.messages.append("s", "tool", answer, tool_call_id="call_1")
    await store.messages.append("s", "tool", "orphan", tool_call_id="call_1")
    context = await store.messages.context("s")
    assert [each.content for each in context] == [None, "first", None, "second"]
