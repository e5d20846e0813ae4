"""The plain port: what a seed store becomes when it is carried over line by line.

SQLAlchemy's async engine, a transaction a call: SELECT MAX(seq) + 1, then INSERT. On
aiosqlite and the standard library's sqlite3, WAL with synchronous=NORMAL, or on asyncpg
with a pool of connections. Calls wait for SQLite's one writing connection, so none of
them fails and none has to be retried.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
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

from bench.floor import Durability

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


class PlainPort:
    """``async with PlainPort(engine, ids)``: one tool call ``call`` in each session."""

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


def copy_listing(source: Path, target: Path) -> None:
    """Carry the sessions and messages of a store over into the tables of a port.

    The source must not be open: two libraries must never share a file.
    """
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(copy_script(source="source", usage="usage"))
        connection.execute("DETACH source")


def copy_script(*, source: str, usage: str) -> str:
    """Return what makes and fills the port's tables for listing.

    Token counts become columns, as a port has them, and message rows are what is
    counted.

    :param source: the schema that has the store's tables.
    :param usage: a message's usage as JSON.
    """
    return _COPY.format(source=source, usage=usage)


def listing_query(where: str, having: str, order_by: str, limit: int) -> str:
    """Return the port's listing query, which gives the ids of a page first.

    ``where`` is a condition on ``s``, ``having`` one on its messages ``m``.
    """
    return (
        f"SELECT s.id, s.*, COUNT(m.seq) AS message_count, "
        f"COALESCE(SUM(m.prompt_tokens + m.completion_tokens), 0) AS total_tokens "
        f"FROM sessions s LEFT JOIN messages m ON m.session_key = s.session_key "
        f"WHERE {where or 'TRUE'} GROUP BY s.session_key HAVING {having or 'TRUE'} "
        f"ORDER BY {order_by} DESC, s.created_at DESC, s.session_key DESC LIMIT {limit}"
    )


# The numbers of a type that is narrow on PostgreSQL and makes the key of SQLite's rows.
_COPY: Final = """
BEGIN;
CREATE TABLE sessions (
    session_key INTEGER PRIMARY KEY, id TEXT UNIQUE, agent_name TEXT,
    project_root TEXT, title TEXT, provider TEXT, model TEXT, last_model TEXT,
    status TEXT, parent_session_id TEXT, created_at BIGINT, updated_at BIGINT
);
INSERT INTO sessions
SELECT s.session_key, s.id, s.agent_name, s.project_root, s.title_folded, s.provider,
    s.model, h.last_model, s.status, s.parent_session_id, s.created_at, h.updated_at
FROM {source}.sessions s JOIN {source}.session_heads h USING (session_key);
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE INDEX ix_sessions_updated_at ON sessions (updated_at);
CREATE TABLE session_metadata (
    session_key INTEGER, key TEXT, value TEXT, PRIMARY KEY (session_key, key)
);
INSERT INTO session_metadata
SELECT session_key, key, value FROM {source}.session_metadata;
CREATE TABLE messages (
    session_key INTEGER, seq INTEGER, role TEXT, content TEXT, prompt_tokens INTEGER,
    completion_tokens INTEGER, created_at BIGINT, PRIMARY KEY (session_key, seq)
);
INSERT INTO messages
SELECT session_key, seq, role, content, CAST({usage} ->> 'prompt_tokens' AS INTEGER),
    CAST({usage} ->> 'completion_tokens' AS INTEGER), created_at
FROM {source}.messages;
CREATE TABLE tool_calls (
    session_key INTEGER, id TEXT, status TEXT, PRIMARY KEY (session_key, id)
);
INSERT INTO tool_calls SELECT session_key, id, status FROM {source}.tool_calls;
COMMIT;
ANALYZE;
"""
