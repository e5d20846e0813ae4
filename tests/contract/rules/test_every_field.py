"""Every field that can be given comes back, whichever way it was given.

The values below name each field of what the methods take; a field without one, or one
that is lost on its way to the database or into a fork, fails by its name.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from msgspec import Struct

from tests.contract.sessions.fields import FIELDS as SESSION
from turnstore import NewEvent, NewMessage, Session, SessionStore, ToolPolicy, Usage
from turnstore.store.events.arguments import EventFields
from turnstore.store.messages.arguments import MessageFields
from turnstore.store.sessions.arguments import NewSessionFields, SessionChanges
from turnstore.store.tool_calls.arguments import ToolCallChanges, ToolCallFields

MOMENT: Final = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
NEW_SESSION: Final[dict[str, Any]] = {**SESSION, "created_at": MOMENT}
SESSION_CHANGES: Final[dict[str, Any]] = {
    **SESSION,
    "tool_policy": ToolPolicy(mode="pre_approved"),
    "active_message_id": "asked",
    "result": [{"r": 1}],
    "error": "e",
    "ended_at": MOMENT,
}
MESSAGE: Final[dict[str, Any]] = {
    "id": "m",
    "tool_calls": [{"id": "c"}],
    "tool_call_id": "t",
    "name": "n",
    "usage": Usage(prompt_tokens=5, api_calls=2),
    "agent_name": "a",
    "model": "gpt",
    "parent_id": "asked",
    "created_at": MOMENT,
}
TOOL_CALL: Final[dict[str, Any]] = {
    "id": "c",
    "call_id": "x",
    "message_id": "asked",
    "kind": "builtin",
    "status": "approved",
    "created_at": MOMENT,
}
TOOL_CALL_CHANGES: Final[dict[str, Any]] = {
    "status": "executing",
    "output": "text",
    "result": {"r": [1, None]},
    "error": "e",
    "error_details": [{"code": 5}],
    "kind": "other",
    "execution_time_ms": 12,
}
EVENT: Final[dict[str, Any]] = {"model": "gpt", "turn_id": "t", "created_at": MOMENT}
OWN_OF_A_FORK: Final = {"parent_session_id", "status", "created_at"}


def lost(record: Struct | None, given: dict[str, Any]) -> set[str]:
    """The fields of a record that do not have the value that was given."""
    return {
        name
        for name, value in given.items()
        if getattr(record, name) != value or value is None
    }


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (NewSessionFields, NEW_SESSION),
        (SessionChanges, SESSION_CHANGES),
        (MessageFields, MESSAGE),
        (ToolCallFields, TOOL_CALL),
        (ToolCallChanges, TOOL_CALL_CHANGES),
        (EventFields, EVENT),
    ],
)
def test_every_field_has_a_value_here(fields: type, values: dict[str, Any]) -> None:
    assert set(fields.__annotations__) == set(values)


@pytest.fixture
async def asked(store: SessionStore, session: Session) -> None:
    """A message that others can name."""
    await store.messages.append("s", "user", "hello", id="asked")


async def test_of_a_new_session(store: SessionStore) -> None:
    made = await store.sessions.create(id="a", **NEW_SESSION)
    async with store.turn("b") as turn:
        turn.create_session(**NEW_SESSION)
    for record in (made, await store.sessions.get("a"), *turn.results):
        assert lost(record, NEW_SESSION) == set()


async def test_of_a_changed_session(store: SessionStore, asked: None) -> None:
    await store.sessions.create(id="t")
    await store.messages.append("t", "user", "hello", id="asked")
    updated = await store.sessions.update("s", **SESSION_CHANGES)
    async with store.turn("t") as turn:
        turn.update_session(**SESSION_CHANGES)
    for record in (updated, await store.sessions.get("s"), *turn.results):
        assert lost(record, SESSION_CHANGES) == set()


async def test_of_a_fork(store: SessionStore) -> None:
    await store.sessions.create(id="s", **NEW_SESSION)
    copied = {
        name: value for name, value in NEW_SESSION.items() if name not in OWN_OF_A_FORK
    }
    assert lost(await store.sessions.fork("s"), copied) == set()


async def test_of_a_message(store: SessionStore, asked: None) -> None:
    given: dict[str, Any] = {**MESSAGE, "role": "assistant", "content": {"a": 1}}
    once = await store.messages.append("s", **given)
    [one] = await store.messages.append_many("s", [NewMessage(**given | {"id": "m2"})])
    async with store.turn("s") as turn:
        turn.message(**given | {"id": "m3"})
    made = [once, one, *turn.results]
    stored = await store.messages.list("s", after=1)
    for records in (made, stored):
        for record, own_id in zip(records, ["m", "m2", "m3"], strict=True):
            assert lost(record, given | {"id": own_id}) == set()
    assert made == stored


async def test_of_a_tool_call(store: SessionStore, asked: None) -> None:
    given: dict[str, Any] = {**TOOL_CALL, "name": "sh", "arguments": {"a": 1}}
    one = await store.tool_calls.create("s", **given)
    async with store.turn("s") as turn:
        turn.tool_call(**given | {"id": "c2"})
    made = [one, *turn.results]
    stored = await store.tool_calls.list("s")
    for records in (made, stored):
        for record, own_id in zip(records, ["c", "c2"], strict=True):
            assert lost(record, given | {"id": own_id}) == set()
    assert made == stored


async def test_of_a_changed_tool_call(store: SessionStore, session: Session) -> None:
    for own_id in ("a", "b"):
        await store.tool_calls.create("s", "sh", {}, id=own_id)
    updated = await store.tool_calls.update("s", "a", **TOOL_CALL_CHANGES)
    async with store.turn("s") as turn:
        turn.update_tool_call("b", **TOOL_CALL_CHANGES)
    for record in (updated, *turn.results):
        assert lost(record, TOOL_CALL_CHANGES) == set()
    assert await store.tool_calls.list("s") == [updated, *turn.results]


async def test_of_an_event(store: SessionStore, session: Session) -> None:
    given: dict[str, Any] = {**EVENT, "type": "e", "data": {"a": 1}}
    await store.events.append("s", **given)
    async with store.events.follow("s") as follower:
        # Read from the database; the next ones come from memory.
        followed = [await anext(follower)]
        await store.events.append_many("s", [NewEvent(**given)])
        async with store.turn("s") as turn:
            turn.event(**given)
        followed += [await anext(follower), await anext(follower)]
    stored = await store.events.list("s")
    assert followed == stored
    for record in stored:
        assert lost(record, given) == set()
