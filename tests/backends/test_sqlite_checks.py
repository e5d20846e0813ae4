"""What a check finds in a damaged file, and what care does to the files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.filling import fill
from turnstore import DatabaseCorrupt, SessionStore

pytestmark = pytest.mark.anyio

Connect = Callable[[Path], Any]


async def test_every_session_is_checked(
    store: SessionStore, store_path: Path, connect: Connect
) -> None:
    await asyncio.gather(
        *(store.sessions.create(id=f"s{number}") for number in range(1_100))
    )
    connect(store_path).execute("UPDATE session_heads SET message_count = 7")
    problems = await store.admin.check()
    assert len(problems) == 1_001
    assert problems[-1] == "heads: 100 more problems"
    assert problems[0] == "session 's0': message_count is 7, the rows say 0"
    assert all("\n" not in each for each in problems)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE session_heads SET event_head = 19", "event_head is 19"),
        ("UPDATE session_heads SET message_head = 4", "message_head is 4"),
        ("UPDATE session_heads SET tool_call_head = 0", "tool_call_head is 0"),
        ("UPDATE session_heads SET usage_head = 4", "usage_head is 4"),
        ("UPDATE session_heads SET message_count = 6", "message_count is 6"),
        ("UPDATE session_heads SET tool_call_count = 0", "tool_call_count is 0"),
        ("UPDATE session_heads SET pending_tool_calls = 0", "pending_tool_calls is 0"),
        ("UPDATE session_heads SET prompt_tokens = 11", "prompt_tokens is 11"),
        ("UPDATE session_heads SET total_tokens = 11", "total_tokens is 11"),
        ("UPDATE session_heads SET api_calls = 4", "api_calls is 4"),
        ("DELETE FROM session_heads", "it has no head"),
        ("DELETE FROM messages WHERE seq = 2", "message_count is 5, the rows say 4"),
        ("UPDATE tool_calls SET status = 'failed'", "the rows say 0"),
        ("DELETE FROM usage_ledger WHERE seq = 5", "prompt_tokens is 10"),
        (
            "UPDATE messages SET session_key = 99",
            "messages row 1 refers to a row that sessions has not",
        ),
    ],
)
async def test_a_check_names_what_is_wrong(
    store: SessionStore, store_path: Path, connect: Connect, damage: str, problem: str
) -> None:
    await fill(store)
    connect(store_path).execute(damage)
    await store.sessions.create(id="sound")
    problems = await store.admin.check()
    assert any(problem in each for each in problems)
    assert not any("sound" in each for each in problems)
    assert all(type(each) is str and "\n" not in each for each in problems)


# Checkpoints and vacuum


async def test_a_checkpoint_empties_the_log(
    store: SessionStore, store_path: Path
) -> None:
    await fill(store)
    assert (await store.statistics()).wal_bytes > 0
    assert await store.admin.checkpoint() is True
    assert (await store.statistics()).wal_bytes == 0
    assert await store.events.head("s") == 20


async def test_vacuum_gives_space_back(store: SessionStore, store_path: Path) -> None:
    await fill(store, "kept")
    await store.sessions.create(id="large")
    await store.events.append("large", "e", "x" * 8_000_000)
    await store.admin.checkpoint()
    before = os.stat(store_path).st_size
    await store.sessions.delete("large")
    await store.admin.vacuum()
    assert os.stat(store_path).st_size < before - 7_000_000
    assert await store.events.head("kept") == 20
    assert await store.admin.check() == []


async def test_care_of_a_store_in_memory_does_nothing(
    memory_store: SessionStore,
) -> None:
    await fill(memory_store)
    assert await memory_store.admin.checkpoint() is True
    await memory_store.admin.vacuum()
    assert await memory_store.events.head("s") == 20


async def test_an_index_that_lacks_rows_is_made_anew(
    made_store: Path, connect: Connect
) -> None:
    async with SessionStore(made_store) as store:
        await fill(store)
    name = "ix_messages_user_created_at"
    connection = connect(made_store)
    connection.execute("PRAGMA writable_schema = 1")
    select = "SELECT * FROM sqlite_master WHERE name = ?"
    entry = connection.execute(select, (name,)).fetchone()
    connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
    # Another connection knows nothing of the index, and leaves it as it is.
    connect(made_store).execute("UPDATE messages SET created_at = created_at + 1")
    connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
    connection.close()
    async with SessionStore(made_store) as store:
        assert any(name in each for each in await store.admin.check())
        told = await store.admin.check(repair=True)
        assert told and all(each.endswith(": mended") for each in told)
        assert await store.admin.check() == []


async def test_a_damaged_page_is_told_and_left(
    made_store: Path, file_bytes: Callable[[Path], bytes]
) -> None:
    async with SessionStore(made_store) as store:
        await fill(store, events=2_000)
        await store.sessions.create(id="other")
    content = bytearray(file_bytes(made_store))
    page = content.index(b'{"number":1000}') // 4_096
    content[page * 4_096 : (page + 1) * 4_096] = bytes(4_096)
    damaged = made_store.with_name("damaged")
    damaged.write_bytes(content)
    damaged.chmod(0o600)
    async with SessionStore(damaged) as store:
        for repair in (False, True):
            problems = await store.admin.check(repair=repair)
            assert problems and all(type(each) is str for each in problems)
        assert await store.sessions.get("other") is not None
        with pytest.raises(DatabaseCorrupt) as caught:
            await store.events.list("s")
        assert caught.value.table is None
