"""Several commands as one transaction, among others that share its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from turnstore import (
    MessageExists,
    SequenceConflict,
    Session,
    SessionNotFound,
    SessionStore,
    StoreError,
    Usage,
)
from turnstore._message_writes import AppendMessages, MessageRow
from turnstore._session_writes import CreateSession, DeleteSession, UpdateSession
from turnstore._tool_call_writes import CreateToolCalls, ToolCallRow, UpdateToolCall
from turnstore.backends.base import Command
from turnstore.events import AppendEvents
from turnstore.turns import Turn

pytestmark = pytest.mark.anyio

# The commands are written as the rooms make them; ``commit`` is the one place that
# reaches past the public methods.


def commit(store: SessionStore, *commands: Command[Any]) -> Any:
    return store._backend.write(Turn("s", 100, commands))


def event(n: int, expected_head: int | None = None) -> AppendEvents:
    return AppendEvents("s", 100, [("e", str(n), None, None, None)], expected_head)


def message(name: str, **fields: Any) -> AppendMessages:
    return AppendMessages(
        "s", 100, [MessageRow(id=name, is_own_id=True, role="user", **fields)]
    )


def tool_call(name: str, message_id: str) -> CreateToolCalls:
    row = ToolCallRow(id=name, is_own_id=True, name="t", message_id=message_id)
    return CreateToolCalls("s", 100, [row])


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def whole(store: SessionStore) -> tuple[Any, Any]:
    return await store.sessions.load("s"), await store.events.list("s")


async def test_a_turn_gives_its_results_in_order(
    store: SessionStore, session: Session
) -> None:
    results = await commit(
        store,
        message("m", usage=Usage(prompt_tokens=3)),
        tool_call("c", "m"),
        event(1),
        UpdateToolCall("s", 100, "c", {"status": "completed"}),
        event(2, expected_head=1),
        UpdateSession("s", 100, {"status": "running"}),
    )
    assert [each.id for each in results[0]] == ["m"]
    assert [each.id for each in results[1]] == ["c"]
    assert (results[2], results[4]) == (1, 2)
    assert (results[3].status, results[3].message_id) == ("completed", "m")
    read = await store.sessions.get("s")
    assert results[5] == read and read is not None
    assert (read.event_head, read.message_head, read.pending_tool_calls) == (2, 1, 0)
    assert read.usage == Usage(prompt_tokens=3, api_calls=1)


FAULTS: dict[str, tuple[Callable[[], Command[Any]], type[Exception]]] = {
    "conflict": (lambda: event(9, expected_head=99), SequenceConflict),
    "message": (lambda: message("old"), MessageExists),
    "session": (lambda: UpdateSession("gone", 100, {}), SessionNotFound),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("place", [0, 1, 3])
async def test_a_turn_with_a_fault_writes_nothing(
    store: SessionStore, session: Session, name: str, place: int
) -> None:
    await store.messages.append("s", "user", id="old")
    before = await whole(store)
    commands: list[Command[Any]] = [
        message("m", usage=Usage()),
        tool_call("c", "m"),
        event(1),
    ]
    make, kind = FAULTS[name]
    commands.insert(place, make())
    with pytest.raises(kind):
        await commit(store, *commands)
    assert await whole(store) == before


async def test_a_turn_shares_its_commit_but_not_its_fate(
    store: SessionStore, session: Session
) -> None:
    outcomes: Any = await asyncio.gather(
        store.events.append("s", "e", "before"),
        commit(store, event(1), message("m"), event(2, expected_head=99)),
        store.events.append("s", "e", "between", expected_head=1),
        commit(store, event(3), message("m")),
        commit(store, event(4), message("m")),
        store.events.append("s", "e", "after", expected_head=3),
        return_exceptions=True,
    )
    assert (outcomes[0], outcomes[2], outcomes[5]) == (1, 2, 4)
    assert isinstance(outcomes[1], SequenceConflict)
    assert outcomes[3][0] == 3
    assert isinstance(outcomes[4], MessageExists)
    data = [each.data for each in await store.events.list("s")]
    assert data == ["before", "between", 3, "after"]


async def test_sessions_of_an_undone_turn_are_forgotten(store: SessionStore) -> None:
    created = CreateSession("s", 100, {"agent_name": "", "status": "idle"}, {})
    with pytest.raises(SequenceConflict):
        await commit(store, created, event(1), event(2, expected_head=99))
    assert await store.sessions.get("s") is None
    other = await store.sessions.create(id="other")
    with pytest.raises(SessionNotFound):
        await store.events.append("s", "e")
    assert await store.events.append("other", "e") == 1
    [made, first, second] = await commit(store, created, event(1), event(2))
    assert (made.id, first, second) == ("s", 1, 2)
    assert await store.events.head(other.id) == 1


class Broken(Command[None]):
    """Raises, as a defect or a driver would."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Broken]) -> list[Any]:
        raise ArithmeticError("broken")


async def test_sessions_of_a_turn_that_broke_are_forgotten(store: SessionStore) -> None:
    created = CreateSession("s", 100, {"agent_name": "", "status": "idle"}, {})
    outcomes: Any = await asyncio.gather(
        commit(store, created, event(1), Broken("s", 100)),
        store.sessions.create(id="other"),
        store.events.append("s", "e"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], ArithmeticError | StoreError)
    assert isinstance(outcomes[2], SessionNotFound)
    with pytest.raises(SessionNotFound):
        await store.events.append("s", "e")
    assert await store.events.head("other") == 0


async def test_a_turn_may_delete_and_create(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e")
    results = await commit(
        store,
        DeleteSession("s", 100),
        CreateSession("s", 100, {"agent_name": "new", "status": "idle"}, {}),
        event(1, expected_head=0),
    )
    assert (results[0], results[2]) == (True, 1)
    read = await store.sessions.get("s")
    assert read is not None and (read.agent_name, read.event_head) == ("new", 1)
