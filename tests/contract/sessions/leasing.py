"""Leases in other states than time brings about within a test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, update

from turnstore import SessionStore
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
