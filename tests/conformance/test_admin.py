"""``store.admin``: backups, checks and the recovery after a crash."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    ReadOnlyStore,
    SessionStore,
    StoreClosed,
    StoreOptions,
    Usage,
)

pytestmark = pytest.mark.anyio

Connect = Callable[[Path], Any]


async def filled(store: SessionStore, id: str = "s", events: int = 20) -> None:
    """Make a session with some of everything."""
    await store.sessions.create(id=id, title=f"title of {id}", metadata={"k": "v"})
    for number in range(5):
        await store.messages.append(
            id, "user", f"{number}", usage=Usage(prompt_tokens=number)
        )
    await store.tool_calls.create(id, "shell", {})
    for number in range(events):
        await store.events.append(id, "e", {"number": number})


async def whole(store: SessionStore) -> list[Any]:
    page = await store.sessions.list(limit=1_000)
    return [
        (await store.sessions.load(each.id), await store.events.list(each.id))
        for each in page.items
    ]


# Backups


async def test_a_backup_is_a_store_with_the_same_content(
    store: SessionStore, tmp_path: Path
) -> None:
    await filled(store)
    await store.admin.backup(tmp_path / "copy.db")
    before = await whole(store)
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await whole(copy) == before
        assert await copy.admin.check() == []
        await copy.events.append("s", "more")
    assert await whole(store) == before


async def test_a_backup_is_one_private_file(
    store: SessionStore, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    await filled(store)
    old = os.umask(0)
    try:
        await store.admin.backup(str(folder / "copy.db"))
    finally:
        os.umask(old)
    assert os.listdir(folder) == ["copy.db"]
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600


async def test_a_backup_of_a_relative_path_lies_in_the_working_folder(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    await store.admin.backup("copy.db")
    assert os.listdir(tmp_path / "here") == ["copy.db"]


async def test_a_store_in_memory_is_backed_up(
    memory_store: SessionStore, tmp_path: Path
) -> None:
    await filled(memory_store)
    await memory_store.admin.backup(tmp_path / "copy.db")
    await memory_store.events.append("s", "later")
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await copy.events.head("s") == 20


async def test_a_read_only_store_is_backed_up(
    store: SessionStore, store_path: Path, tmp_path: Path
) -> None:
    await filled(store)
    async with SessionStore(store_path, StoreOptions(read_only=True)) as reading:
        await reading.admin.backup(tmp_path / "copy.db")
        assert await reading.admin.check() == []
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await copy.events.head("s") == 20


async def test_progress_ends_with_the_total(
    store: SessionStore, tmp_path: Path
) -> None:
    await filled(store)
    told: list[tuple[int, int]] = []
    await store.admin.backup(
        tmp_path / "copy.db", on_progress=lambda done, total: told.append((done, total))
    )
    done, total = told[-1]
    assert done == total > 10


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
async def test_what_is_there_is_never_overwritten(
    store: SessionStore, tmp_path: Path, suffix: str
) -> None:
    there = tmp_path / f"copy.sqlite{suffix}"
    there.write_text("kept")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InvalidArgument, match=there.name):
        await store.admin.backup(tmp_path / "copy.sqlite")
    assert there.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == before


async def test_the_store_itself_is_never_overwritten(
    store: SessionStore, store_path: Path
) -> None:
    await filled(store)
    with pytest.raises(InvalidArgument):
        await store.admin.backup(store_path)
    assert await store.events.head("s") == 20


@pytest.mark.parametrize("path", ["", None, 5, b"copy", "a\x00b"])
async def test_what_is_no_path_is_refused(store: SessionStore, path: Any) -> None:
    with pytest.raises(InvalidArgument):
        await store.admin.backup(path)


async def test_a_closed_store_refuses_care(store_path: Path) -> None:
    store = SessionStore(store_path)
    for call in (
        store.admin.backup(store_path.with_name("copy.db")),
        store.admin.check(),
        store.admin.checkpoint(),
        store.admin.vacuum(),
        store.admin.recover(),
    ):
        with pytest.raises(StoreClosed):
            await call


async def test_a_read_only_store_refuses_what_writes(
    store: SessionStore, store_path: Path
) -> None:
    async with SessionStore(store_path, StoreOptions(read_only=True)) as reading:
        for call in (
            reading.admin.checkpoint(),
            reading.admin.vacuum(),
            reading.admin.recover(),
        ):
            with pytest.raises(ReadOnlyStore):
                await call


# Checks


async def test_a_used_store_is_sound(store: SessionStore) -> None:
    assert await store.admin.check() == []
    for name in ("a", "b"):
        await filled(store, name)
    await store.sessions.fork("a", at_message_seq=3, new_id="fork")
    await store.messages.append("fork", "user", "own")
    await store.usage.record("fork", Usage(prompt_tokens=3))
    await store.events.delete_before("b", 10)
    call, *_ = await store.tool_calls.list("b")
    await store.tool_calls.update("b", call.id, status="completed")
    await store.messages.compact("b", "summary", preserve=1)
    await store.archive.purge(older_than_days=0)
    assert await store.admin.check() == []
    await store.sessions.delete("a")
    assert await store.admin.check() == []


async def test_a_store_in_memory_is_checked(memory_store: SessionStore) -> None:
    await filled(memory_store)
    assert await memory_store.admin.check() == []


async def test_every_session_is_checked(
    store: SessionStore, store_path: Path, connect: Connect
) -> None:
    await asyncio.gather(
        *(store.sessions.create(id=f"s{number}") for number in range(1_100))
    )
    connect(store_path).execute("UPDATE session_heads SET message_count = 7")
    problems = await store.admin.check()
    assert len(problems) == 1_000
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
    await filled(store)
    connect(store_path).execute(damage)
    await store.sessions.create(id="sound")
    problems = await store.admin.check()
    assert any(problem in each for each in problems)
    assert not any("sound" in each for each in problems)
    assert all(type(each) is str and "\n" not in each for each in problems)


async def test_a_head_beyond_its_rows_is_sound(store: SessionStore) -> None:
    await filled(store)
    await store.events.delete_before("s", 100)
    assert await store.events.list("s") == []
    assert await store.admin.check() == []


# Checkpoints and vacuum


async def test_a_checkpoint_empties_the_log(
    store: SessionStore, store_path: Path
) -> None:
    await filled(store)
    assert (await store.statistics()).wal_bytes > 0
    assert await store.admin.checkpoint() is True
    assert (await store.statistics()).wal_bytes == 0
    assert await store.events.head("s") == 20


async def test_vacuum_gives_space_back(store: SessionStore, store_path: Path) -> None:
    await filled(store, "kept")
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
    await filled(memory_store)
    assert await memory_store.admin.checkpoint() is True
    await memory_store.admin.vacuum()
    assert await memory_store.events.head("s") == 20


# Recovery


async def test_recover_closes_what_was_left_open(store: SessionStore) -> None:
    before = datetime.now(UTC)
    for name in ("b", "a"):
        await store.sessions.create(id=name, status="running")
        await store.tool_calls.create(name, "t", {}, id="1", status="executing")
        await store.tool_calls.create(name, "t", {}, id="2", status="completed")
        await store.tool_calls.create(name, "t", {}, id="3")
    report = await store.admin.recover()
    assert [each.id for each in report.sessions] == ["b", "a"]
    for session in report.sessions:
        assert session.status == "interrupted"
        assert session.ended_at is not None and session.ended_at >= before
        assert session.pending_tool_calls == 0
        assert await store.sessions.get(session.id) == session
    assert [(each.session_id, each.id) for each in report.tool_calls] == [
        ("b", "1"),
        ("b", "3"),
        ("a", "1"),
        ("a", "3"),
    ]
    for call in report.tool_calls:
        assert (call.status, call.error) == ("failed", "interrupted")
        assert call.completed_at is not None
        assert await store.tool_calls.get(call.session_id, call.id) == call
    second = await store.tool_calls.get("a", "2")
    assert second is not None and second.status == "completed"
    assert await store.admin.check() == []


async def test_a_session_that_waits_for_the_user_stays(store: SessionStore) -> None:
    before = await store.sessions.create(id="s", status="waiting_for_user_input")
    call = await store.tool_calls.create("s", "ask_user", {})
    report = await store.admin.recover()
    assert (report.sessions, report.tool_calls) == ([], [])
    after = await store.sessions.get("s")
    assert after is not None and after.status == before.status
    assert await store.tool_calls.pending("s") == [call]


async def test_open_calls_of_any_other_session_are_closed(store: SessionStore) -> None:
    for status in ("idle", "completed", "failed", "interrupted"):
        await store.sessions.create(id=status, status=status)
        await store.tool_calls.create(status, "t", {}, id="c", status="approved")
    report = await store.admin.recover()
    assert report.sessions == []
    assert len(report.tool_calls) == 4
    for status in ("idle", "completed", "failed", "interrupted"):
        session = await store.sessions.get(status)
        assert session is not None and session.status == status


async def test_there_is_nothing_to_recover_twice(store: SessionStore) -> None:
    await store.sessions.create(id="s", status="running")
    await store.tool_calls.create("s", "t", {})
    first, second = await asyncio.gather(store.admin.recover(), store.admin.recover())
    assert (len(first.sessions), len(first.tool_calls)) == (1, 1)
    assert (second.sessions, second.tool_calls) == ([], [])
