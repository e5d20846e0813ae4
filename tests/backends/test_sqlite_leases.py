"""What turns cost that have no lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from turnstore import SessionStore, StoreError
from turnstore.engine.commands import Command
from turnstore.sql.schema import session_leases

pytestmark = pytest.mark.anyio


class DropLeases(Command[None], frozen=True):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[DropLeases]) -> list[Any]:
        session_leases.drop(connection)
        return [None] * len(commands)


async def test_a_turn_without_a_lease_looks_for_none(
    memory_store: SessionStore,
) -> None:
    store = memory_store
    await store.sessions.create(id="s")
    async with store.sessions.lease("s") as lease:
        await store.engine.write(DropLeases("", 0))
        async with store.turn("s") as turn:
            turn.event("e")
        with pytest.raises(StoreError):
            async with store.turn("s", lease=lease) as turn:
                turn.event("e")
    assert await store.events.head("s") == 1
