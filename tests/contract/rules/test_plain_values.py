"""Texts and numbers of a type of the caller's own: stored as what they are equal to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, IntEnum
from typing import Any, Final

import pytest

from tests.support.patience import LIMIT_S
from turnstore import (
    NewEvent,
    NewMessage,
    Question,
    Role,
    Session,
    SessionFilter,
    SessionStatus,
    SessionStore,
    Setting,
    ToolPolicy,
    Usage,
)


class Word(str):
    """Text that shows itself as something else."""

    def __str__(self) -> str:
        return f"the word {super().__str__()}"


class Number(int):
    """A number likewise."""

    def __int__(self) -> int:
        return -1

    def __repr__(self) -> str:
        return "a number"


class Status(str, Enum):  # noqa: UP042 - not a StrEnum
    """A caller's own names for statuses; as text "Status.RUNNING"."""

    RUNNING = "running"
    USER = "user"
    FAILED = "failed"


class Count(IntEnum):
    TWO = 2


W = Word
USED: Final = Usage(prompt_tokens=Number(3), api_calls=Count.TWO)

CALLS: Final[dict[str, Callable[[SessionStore], Awaitable[Any]]]] = {
    "sessions.get": lambda store: store.sessions.get(W("s")),
    "sessions.load": lambda store: store.sessions.load(W("s")),
    "sessions.list": lambda store: store.sessions.list(
        SessionFilter(
            ids=[W("s")],
            agent_name=W("a"),
            status=Status.RUNNING,
            metadata={W("k"): W("v")},
            metadata_keys=[W("k")],
            title_contains=W("T"),
            message_count_min=Number(1),
        ),
        order_by=W("updated_at"),  # type: ignore[arg-type]
        limit=Number(5),
        offset=Number(0),
    ),
    "sessions.count": lambda store: store.sessions.count(
        SessionFilter(status=[Status.RUNNING, W("idle")])
    ),
    "sessions.update": lambda store: store.sessions.update(
        W("s"),
        title=W("T"),
        status=Status.RUNNING,
        metadata={W("k"): W("v")},
        active_message_id=W("m"),
        tool_policy=ToolPolicy(mode=W("mixed"), tools=frozenset({W("ls")})),  # type: ignore[arg-type]
        expected_status=[W("running"), Status.FAILED],
    ),
    "sessions.fork": lambda store: store.sessions.fork(
        W("s"), at_message_seq=Number(1), at_event_seq=Count.TWO, new_id=W("f")
    ),
    "messages.append": lambda store: store.messages.append(
        W("s"),
        Status.USER,
        id=W("n"),
        name=W("n"),
        tool_call_id=W("c"),
        agent_name=W("a"),
        model=W("x"),
        parent_id=W("m"),
        usage=USED,
        idempotency_key=W("key"),
    ),
    "messages.append_many": lambda store: store.messages.append_many(
        W("s"), [NewMessage(role=W("user"), id=W("n"), usage=USED)]
    ),
    "messages.list": lambda store: store.messages.list(
        W("s"), after=Number(0), before=Number(9), last=Count.TWO, role=W("user")
    ),
    "messages.branch": lambda store: store.messages.branch(W("s"), W("m")),
    "messages.set_active": lambda store: store.messages.set_active(W("s"), W("m")),
    "messages.last": lambda store: store.messages.last(W("s"), W("user")),
    "messages.recent_user": lambda store: store.messages.recent_user(
        Count.TWO, project_root=W("/a")
    ),
    "messages.compact": lambda store: store.messages.compact(
        W("s"), W("so far"), preserve=Number(0), usage=USED, model=W("x")
    ),
    "tool_calls.create": lambda store: store.tool_calls.create(
        W("s"), W("ls"), {}, id=W("d"), call_id=W("c"), message_id=W("m"), kind=W("k")
    ),
    "tool_calls.update": lambda store: store.tool_calls.update(
        W("s"), W("c"), output=W("o"), kind=W("k"), execution_time_ms=Number(4)
    ),
    "tool_calls.get": lambda store: store.tool_calls.get(W("s"), W("c")),
    "tool_calls.list": lambda store: store.tool_calls.list(W("s"), status=W("pending")),
    "events.append": lambda store: store.events.append(
        W("s"),
        W("e"),
        model=W("x"),
        turn_id=W("t"),
        idempotency_key=W("key"),
        expected_head=Count.TWO,
    ),
    "events.append_many": lambda store: store.events.append_many(
        W("s"), [NewEvent(type=W("e"))], expected_head=Count.TWO
    ),
    "events.list": lambda store: store.events.list(
        W("s"), after=Number(0), limit=Count.TWO, types=[W("e")]
    ),
    "events.stream": lambda store: anext(
        store.events.stream(W("s"), after=Number(0), page_size=Count.TWO)
    ),
    "events.follow": lambda store: anext(
        store.events.follow(W("s"), after=Number(0), idle_timeout_s=Number(0))
    ),
    "events.delete_before": lambda store: store.events.delete_before(W("s"), Count.TWO),
    "usage.record": lambda store: store.usage.record(W("s"), USED, W("a"), W("x")),
    "metadata.set": lambda store: store.metadata.set(W("s"), W("k"), W("v")),
    "metadata.get": lambda store: store.metadata.get(W("s"), W("k")),
    "questions.store": lambda store: store.questions.store(
        W("s"), [Question(question_id=W("q"), question=W("?"))], W("c")
    ),
    "settings.store": lambda store: store.settings.store(
        W("s"), [Setting(setting_key=W("k"), setting_name=W("n"))], W("c")
    ),
    "questions.answer": lambda store: store.questions.answer(W("s"), {W("q"): 1}),
    "archive.purge": lambda store: store.archive.purge(
        older_than_days=Number(0), project_root=W("/a"), session_id=W("s")
    ),
}
"""Each with texts and numbers of other types than str and int."""


@pytest.fixture
async def filled_session(store: SessionStore) -> Session:
    """A session "s" with a message "m", a tool call "c" and two events."""
    made = await store.sessions.create(
        id="s",
        agent_name="a",
        project_root="/a",
        title="t",
        status="running",
        metadata={"k": "v"},
    )
    await store.messages.append("s", "user", "hello", id="m")
    await store.tool_calls.create("s", "ls", {}, id="c", status="completed")
    await store.events.append_many("s", [NewEvent(type="e")] * 2)
    return made


@pytest.mark.parametrize("name", CALLS)
async def test_texts_and_numbers_of_other_types_are_taken(
    store: SessionStore, filled_session: Session, name: str
) -> None:
    await asyncio.wait_for(CALLS[name](store), LIMIT_S)
    assert await store.sessions.get("s") is not None
    assert await store.admin.check() == []


async def test_a_text_of_another_type_is_read_as_text(
    store: SessionStore, filled_session: Session
) -> None:
    made = await store.messages.append(
        W("s"), W("user"), id=W("n"), name=W("n"), model=W("x"), usage=USED
    )
    assert made == (await store.messages.list("s"))[-1]
    assert (made.id, made.name, made.model, made.role) == ("n", "n", "x", Role.USER)
    assert made.usage == Usage(prompt_tokens=3, api_calls=2)
    kinds = {type(each) for each in (made.id, made.name, made.model)}
    assert kinds == {str}
    assert await store.usage.by_model("s") == {"x": made.usage}


async def test_a_text_of_another_type_is_the_text_it_is_equal_to(
    store: SessionStore, filled_session: Session
) -> None:
    updated = await store.sessions.update(
        "s", title=W("New"), agent_name=W("b"), metadata={W("k"): W("w")}
    )
    assert updated == await store.sessions.get("s")
    assert (updated.title, updated.agent_name) == ("New", "b")
    assert updated.metadata == {"k": "w"}
    for wanted in (SessionFilter(title_contains="new"), SessionFilter(ids=["s"])):
        assert await store.sessions.count(wanted) == 1


async def test_an_enumeration_of_texts_is_its_values(
    store: SessionStore, filled_session: Session
) -> None:
    updated = await store.sessions.update("s", status=Status.FAILED)
    assert updated.status is SessionStatus.FAILED
    found = await store.sessions.list(SessionFilter(status=Status.FAILED))
    assert found.items == [updated]
    assert (await store.messages.append("s", Status.USER)).role is Role.USER


async def test_a_key_of_another_type_is_the_key_it_is_equal_to(
    store: SessionStore, filled_session: Session
) -> None:
    seq = await store.events.append("s", "e", idempotency_key=W("k"))
    assert await store.events.append("s", "e", idempotency_key="k") == seq
    made = await store.messages.append("s", "user", idempotency_key="k")
    again = await store.messages.append("s", "user", idempotency_key=W("k"))
    assert again == made
