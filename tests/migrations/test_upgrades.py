"""Each script, on a database that was filled before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine

from turnstore import SessionStore
from turnstore.engine.sqlite.files import APPLICATION_ID
from turnstore.engine.sqlite.library import library
from turnstore.sql import migrations

pytestmark = pytest.mark.anyio

SESSION = {"session_key": 1, "id": "s", "agent_name": "coder", "status": "idle"}
HEAD = {"session_key": 1, "created_at": 5, "updated_at": 9, "message_head": 2}
COUNTERS = (
    "event_head",
    "message_count",
    "tool_call_head",
    "tool_call_count",
    "pending_tool_calls",
    "usage_head",
    "prompt_tokens",
    "completion_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "thinking_tokens",
    "api_calls",
    "total_tokens",
)


def made_at(path: Path, revision: str, fill: Callable[[Connection], None]) -> None:
    """Make a database of an older schema and fill it."""
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts()))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}", module=library().module)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        fill(connection)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    engine.dispose()


def insert(connection: Connection, table: str, **row: Any) -> None:
    names = ", ".join(row)
    marks = ", ".join("?" for _ in row)
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values())
    )


def fill_0001(connection: Connection) -> None:
    insert(connection, "sessions", **SESSION, created_at=5)
    head = dict.fromkeys(COUNTERS, 0) | {"message_count": 2, "event_head": 1}
    insert(connection, "session_heads", **HEAD, **head, active_message_id="m2")
    for seq, text in ((1, '"one"'), (2, '"two"')):
        insert(
            connection,
            "messages",
            session_key=1,
            seq=seq,
            id=f"m{seq}",
            role="user",
            content=text,
            parent_id="m1" if seq == 2 else None,
            created_at=5,
        )
    insert(connection, "events", session_key=1, seq=1, type="t", created_at=5)
    insert(
        connection,
        "source_rows",
        session_key=1,
        system="x",
        batch="b",
        table_name="t",
        position=1,
        row="{}",
    )


async def test_0002_keeps_what_is_there(store_path: Path) -> None:
    made_at(store_path, "0001", fill_0001)
    async with SessionStore(store_path) as store:
        state = await store.sessions.load("s")
        assert state is not None
        assert [each.content for each in state.messages] == ["one", "two"]
        assert (state.session.message_count, state.session.event_head) == (2, 1)
        assert [each.seq for each in await store.events.list("s")] == [1]
        # And what came with it works on what was there.
        await store.messages.compact("s", "so far", preserve=1)
        fork = await store.sessions.fork("s")
        context = await store.messages.context(fork.id)
        assert [each.content for each in context] == ["so far", "two"]


async def test_0002_keeps_the_rows_of_sources(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    made_at(store_path, "0001", fill_0001)
    async with SessionStore(store_path):
        pass
    rows = connect(store_path).execute("SELECT system, row FROM source_rows")
    assert rows.fetchall() == [("x", "{}")]


def fill_0005(connection: Connection) -> None:
    insert(connection, "sessions", **SESSION, created_at=5)
    insert(connection, "session_heads", **HEAD, **dict.fromkeys(COUNTERS, 0))
    for seq, (value, updated_at) in enumerate([("1", 7), (None, None)], 1):
        insert(
            connection,
            "settings",
            session_key=1,
            seq=seq,
            setting_key=f"k{seq}",
            setting_name='"name"',
            setting_type="text",
            value=value,
            secret=0,
            created_at=5,
            updated_at=updated_at,
        )


async def test_0006_keeps_when_settings_were_answered(store_path: Path) -> None:
    made_at(store_path, "0005", fill_0005)
    async with SessionStore(store_path) as store:
        given, waiting = await store.settings.list("s")
        assert given.answered_at == datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
        assert (given.value, waiting.answered_at) == (1, None)
        assert await store.settings.answer("s", {"k2": 2}) == 1
