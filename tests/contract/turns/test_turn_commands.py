"""The command that a turn is: other commands as one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from turnstore import SequenceConflict, SessionNotFound, SessionStore, StoreError
from turnstore.engine.commands import Command
from turnstore.store.events.writes import AppendEvents
from turnstore.store.sessions.writes import CreateSession, DeleteSession
from turnstore.store.turns.command import Turn


def commit(store: SessionStore, *commands: Command[Any]) -> Any:
    return store._backend.write(Turn("s", 100, commands))


def event(n: int, expected_head: int | None = None) -> AppendEvents:
    return AppendEvents("s", 100, [("e", str(n), None, None, None)], expected_head)


def create(agent_name: str = "") -> CreateSession:
    return CreateSession("s", 100, {"agent_name": agent_name, "status": "idle"}, {})


class Broken(Command[None], frozen=True):
    """Raises, as a defect or a driver would."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Broken]) -> list[Any]:
        raise ArithmeticError("broken")


async def test_a_turn_that_breaks_breaks_alone(store: SessionStore) -> None:
    outcomes: Any = await asyncio.gather(
        commit(store, create(), event(1), Broken("s", 100)),
        store.sessions.create(id="other"),
        store.events.append("s", "e"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], ArithmeticError | StoreError)
    assert isinstance(outcomes[2], SessionNotFound)
    # The key that its session had is the other one's.
    with pytest.raises(SessionNotFound):
        await store.events.append("s", "e")
    assert await store.events.head("other") == 0


async def test_a_turn_may_delete_and_create(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.events.append("s", "e")
    results = await commit(
        store, DeleteSession("s", 100), create("new"), event(1, expected_head=0)
    )
    assert (results[0], results[2]) == (True, 1)
    read = await store.sessions.get("s")
    assert read is not None and (read.agent_name, read.event_head) == ("new", 1)


async def test_a_turn_that_deletes_and_fails_deletes_nothing(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s")
    await store.events.append("s", "e", 0)
    with pytest.raises(SequenceConflict):
        await commit(store, DeleteSession("s", 100), create(), event(1, 9))
    assert [each.data for each in await store.events.list("s")] == [0]
    assert await store.events.append("s", "e") == 2
