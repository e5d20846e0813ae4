"""Leases in other states than time brings about within a test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, update

from turnstore import Lease, LeaseHeld, SessionStore
from turnstore.engine.commands import Command
from turnstore.sql.schema import session_heads, session_leases

DAY_S = 86_400


class Shift(Command[None], frozen=True):
    """Moves the end of all leases and the last write of all sessions, as if the clock
    had been moved the other way."""

    by_us: int

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Shift]) -> list[Any]:
        for each in commands:
            for column in (session_leases.c.expires_at, session_heads.c.updated_at):
                connection.execute(
                    update(column.table).values({column: column + each.by_us})
                )
        return [None] * len(commands)


async def pass_time(store: SessionStore, **time: float) -> None:
    """Let time pass for the database, and not for the event loop."""
    by_us = timedelta(**time) // timedelta(microseconds=1)
    await store.engine.write(Shift("", 0, -by_us))


async def write(store: SessionStore, lease: Lease) -> None:
    async with store.turn(lease.session_id, lease=lease) as turn:
        turn.event("e", lease.token)


async def token_of(store: SessionStore, session_id: str = "s") -> int:
    """Hold a session for a moment."""
    async with store.sessions.lease(session_id, ttl_s=DAY_S) as lease:
        return lease.token


async def end_of(store: SessionStore, session_id: str = "s") -> datetime:
    """Return when the lease of a session will expire, as it is now."""
    with pytest.raises(LeaseHeld) as raised:
        await token_of(store, session_id)
    return raised.value.expires_at
