"""Plain SQLAlchemy: the store that an application writes for itself.

SQLAlchemy's async engine, one transaction per call: SELECT MAX(seq) + 1, then INSERT.
On aiosqlite and the standard library's sqlite3, WAL with synchronous=NORMAL, or on
asyncpg with a pool of connections. Calls wait for SQLite's one writing connection, so
none of them fails and none has to be retried.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench.references.raw_sqlite import Durability

POOL: Final = 20
"""Connections to PostgreSQL."""

# SQLite makes only a column of exactly this type the key of its rows.
_KEY: Final = BigInteger().with_variant(Integer, "sqlite")
_metadata: Final = MetaData()
_sessions: Final = Table(
    "sessions",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)
_events: Final = Table(
    "events",
    _metadata,
    Column("id", _KEY, primary_key=True),
    Column("session_id", Text, ForeignKey("sessions.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("session_id", "seq"),
)
_messages: Final = Table(
    "messages",
    _metadata,
    Column("id", _KEY, primary_key=True),
    Column("session_id", Text, ForeignKey("sessions.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("session_id", "seq"),
)
_tool_calls: Final = Table(
    "tool_calls",
    _metadata,
    Column("session_id", Text, ForeignKey("sessions.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("output", Text),
)


class PlainStore:
    """The sessions with these ids, each with one tool call ``call``."""

    def __init__(self, engine: AsyncEngine, session_ids: list[str]) -> None:
        self._engine = engine
        self._ids = session_ids

    async def __aenter__(self) -> Self:
        now = _now()
        async with self._engine.begin() as connection:
            await connection.run_sync(_metadata.create_all)
            await connection.execute(
                insert(_sessions),
                [{"id": each, "created_at": now} for each in self._ids],
            )
            await connection.execute(
                insert(_tool_calls),
                [
                    {"session_id": each, "id": "call", "status": "executing"}
                    for each in self._ids
                ],
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._engine.dispose()

    async def append_event(self, session_id: str, kind: str, data: Any) -> int:
        encoded = json.dumps(data)
        async with self._engine.begin() as connection:
            last = await connection.execute(
                select(func.coalesce(func.max(_events.c.seq), 0)).where(
                    _events.c.session_id == session_id
                )
            )
            seq = last.scalar_one() + 1
            await connection.execute(
                insert(_events).values(
                    session_id=session_id,
                    seq=seq,
                    type=kind,
                    data=encoded,
                    created_at=_now(),
                )
            )
        return int(seq)

    async def append_message(self, session_id: str, role: str, content: str) -> int:
        encoded = json.dumps(content)
        async with self._engine.begin() as connection:
            last = await connection.execute(
                select(func.coalesce(func.max(_messages.c.seq), 0)).where(
                    _messages.c.session_id == session_id
                )
            )
            seq = last.scalar_one() + 1
            await connection.execute(
                insert(_messages).values(
                    session_id=session_id,
                    seq=seq,
                    role=role,
                    content=encoded,
                    created_at=_now(),
                )
            )
        return int(seq)

    async def update_tool_call(self, session_id: str, id: str, output: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_tool_calls)
                .where(_tool_calls.c.session_id == session_id, _tool_calls.c.id == id)
                .values(output=output)
            )


def sqlite_engine(path: Path, durability: Durability = "normal") -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=1,
        max_overflow=0,
        pool_timeout=3_600,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {durability.upper()}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return engine


def postgres_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        url.replace("postgresql:", "postgresql+asyncpg:"),
        pool_size=POOL,
        max_overflow=0,
        pool_timeout=3_600,
    )


def _now() -> int:
    return time.time_ns() // 1_000
