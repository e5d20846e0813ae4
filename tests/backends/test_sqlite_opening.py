"""Opening and closing a SQLite store: pragmas, files, modes, wrong uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    BackendError,
    BackendUnavailable,
    DatabaseBusy,
    DatabaseCorrupt,
    ReadOnlyStore,
    SchemaTooNew,
    SchemaTooOld,
    SessionStore,
    StoreClosed,
    StoreError,
    StoreOptions,
)
from turnstore.engine.sqlite.backend import SqliteBackend
from turnstore.engine.sqlite.files import APPLICATION_ID
from turnstore.engine.sqlite.library import library
from turnstore.engine.sqlite.thread import SqliteThread

pytestmark = pytest.mark.anyio

WRITER = {
    "journal_mode": "wal",
    "synchronous": 1,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "busy_timeout": 0,
    "journal_size_limit": 64 * 1024 * 1024,
    "wal_autocheckpoint": 4_000,
    "auto_vacuum": 2,
    "query_only": 0,
    "mmap_size": 0,
}
READER = WRITER | {
    "busy_timeout": 5_000,
    "query_only": 1,
    "wal_autocheckpoint": 0,
    "journal_size_limit": -1,
}


def pragmas_of(thread: SqliteThread, names: Iterable[str]) -> dict[str, Any]:
    return {
        name: thread.driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names
    }


async def made(path: Path, content: int = 3) -> None:
    """Make a store with a session of some events, and close it."""
    async with SessionStore(path) as store:
        await store.sessions.create(id="s")
        for _ in range(content):
            await store.events.append("s", "t")


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_pragmas_of_each_connection(store_path: Path, durability: Any) -> None:
    options = StoreOptions(durability=durability, readers=3)
    backend = SqliteBackend(store_path, options)
    await backend.open(lambda connection: None)
    threads = [backend._writing, *backend._reading]
    found = [
        await thread.submit(partial(pragmas_of, thread, WRITER))
        for thread in threads
        if thread is not None
    ]
    await backend.close()
    synchronous = {"synchronous": 2 if durability == "full" else 1}
    assert found == [WRITER | synchronous, *[READER | synchronous] * 3]


async def test_a_store_in_memory(memory_store: SessionStore) -> None:
    await memory_store.sessions.create(id="s")
    assert await memory_store.events.append("s", "t", {"a": 1}) == 1
    [event] = await memory_store.events.list("s")
    assert event.data == {"a": 1}
    appends = [memory_store.events.append("s", "t") for _ in range(20)]
    reads = [memory_store.events.head("s") for _ in range(20)]
    await asyncio.gather(*appends, *reads)
    assert await memory_store.events.head("s") == 21
    assert (await memory_store.statistics()).wal_bytes == 0


async def test_two_stores_in_memory_are_apart(memory_store: SessionStore) -> None:
    await memory_store.sessions.create(id="s")
    async with SessionStore("sqlite://") as other:
        await other.sessions.create(id="s")
        assert await other.events.append("s", "t") == 1
    assert await memory_store.events.head("s") == 0


@pytest.mark.parametrize("prefix", ["", "sqlite:///"], ids=["path", "URL"])
async def test_opening_makes_missing_folders_file_and_tables(
    tmp_path: Path, prefix: str
) -> None:
    path = tmp_path / "not" / "there" / "agents.db"
    url = f"{prefix}{path}" if prefix else path
    async with SessionStore(url) as store:
        assert path.exists()
        assert (await store.sessions.list()).items == []
        assert await store.admin.check() == []
        session = await store.sessions.create()
    async with SessionStore(url) as store:
        assert await store.sessions.get(session.id) == session


async def test_without_a_path_the_store_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    async with SessionStore() as store:
        await store.sessions.create(id="s")
    assert (tmp_path / ".turnstore" / "sessions.db").exists()


async def test_a_session_id_like_a_path_names_no_file(tmp_path: Path) -> None:
    name = "../../elsewhere"
    async with SessionStore(tmp_path / "a" / "sessions.db") as store:
        await store.sessions.create(id=name)
        assert await store.events.append(name, "e") == 1
        assert [each.type for each in await store.events.list(name)] == ["e"]
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["sessions.db"]


async def test_a_closed_store_is_one_file(store_path: Path) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
        assert len(os.listdir(store_path.parent)) == 3
    assert os.listdir(store_path.parent) == ["store.db"]
    async with SessionStore(store_path) as store:
        assert await store.events.head("s") == 1


async def test_the_file_is_marked(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    await made(store_path)
    connection = connect(store_path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


async def test_a_file_of_zero_bytes_is_a_fresh_store(store_path: Path) -> None:
    os.close(os.open(store_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    await made(store_path)
    async with SessionStore(store_path) as store:
        assert await store.events.head("s") == 3


async def test_the_database_of_another_program_is_refused_untouched(
    store_path: Path,
    connect: Callable[[Path], Any],
    file_bytes: Callable[[Path], bytes],
) -> None:
    other = connect(store_path)
    other.execute("CREATE TABLE sessions_of_another (x)")
    other.execute("INSERT INTO sessions_of_another VALUES (1)")
    other.close()
    before = file_bytes(store_path)
    with pytest.raises(StoreError):
        async with SessionStore(store_path):
            pass
    assert file_bytes(store_path) == before
    assert os.listdir(store_path.parent) == ["store.db"]


async def test_a_file_marked_by_another_program_is_refused_untouched(
    store_path: Path,
    connect: Callable[[Path], Any],
    file_bytes: Callable[[Path], bytes],
) -> None:
    other = connect(store_path)
    other.execute("PRAGMA application_id = 252006673")
    other.close()
    before = file_bytes(store_path)
    with pytest.raises(StoreError):
        async with SessionStore(store_path):
            pass
    assert file_bytes(store_path) == before


async def test_a_lock_kept_too_long_has_the_driver_s_error_as_its_cause(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    await made(store_path)
    other = connect(store_path)
    other.execute("UPDATE alembic_version SET version_num = '0004'")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy, match="write lock") as caught:
        await SessionStore(store_path, StoreOptions(busy_timeout_s=0.05)).open()
    assert isinstance(caught.value.__cause__, library().module.Error)


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_a_store_of_now_is_opened_while_another_process_writes(
    store_path: Path, connect: Callable[[Path], Any], migrate: Any
) -> None:
    await made(store_path)
    other = connect(store_path)
    other.execute("BEGIN IMMEDIATE")
    options = StoreOptions(busy_timeout_s=0.05, migrate=migrate)
    async with SessionStore(store_path, options) as store:
        assert await store.sessions.count() == 1
        with pytest.raises(DatabaseBusy):
            await store.sessions.create()
        other.execute("COMMIT")
        await store.sessions.create()
        assert await store.sessions.count() == 2


async def test_what_no_driver_raised_has_no_cause(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    await made(store_path)
    connect(store_path).execute("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(SchemaTooNew) as caught:
        await SessionStore(store_path).open()
    assert caught.value.__cause__ is None


async def test_garbage_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(b"garbage, no database. " * 500)
    before = path.read_bytes()
    for options in (StoreOptions(), StoreOptions(read_only=True)):
        with pytest.raises(DatabaseCorrupt) as caught:
            async with SessionStore(path, options):
                pass
        assert caught.value.__cause__ is not None
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["garbage"]


@pytest.mark.parametrize("kept_bytes", [50, 100, 4_096, 10_000])
async def test_a_truncated_file_is_an_error(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "store"
    await made(path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(BackendError):
        async with SessionStore(path) as store:
            await store.events.list("s")


async def test_check_on_a_missing_file(store_path: Path) -> None:
    options = StoreOptions(migrate="check")
    with pytest.raises(SchemaTooOld, match="migrate"):
        async with SessionStore(store_path, options):
            pass
    assert os.listdir(store_path.parent) == []


async def test_check_on_a_missing_folder(tmp_path: Path) -> None:
    options = StoreOptions(migrate="check")
    with pytest.raises(SchemaTooOld):
        async with SessionStore(tmp_path / "folder" / "store.db", options):
            pass
    assert os.listdir(tmp_path) == []


async def test_check_on_a_store_of_now(store_path: Path) -> None:
    await made(store_path)
    async with SessionStore(store_path, StoreOptions(migrate="check")) as store:
        assert await store.events.append("s", "t") == 4


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_newer_schema_is_refused_untouched(
    store_path: Path,
    connect: Callable[[Path], Any],
    file_bytes: Callable[[Path], bytes],
    read_only: bool,
) -> None:
    await made(store_path)
    later = connect(store_path)
    later.execute("UPDATE alembic_version SET version_num = '9999'")
    later.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    later.close()
    before = file_bytes(store_path)
    with pytest.raises(SchemaTooNew, match=r"9999.*upgrade turnstore"):
        async with SessionStore(store_path, StoreOptions(read_only=read_only)):
            pass
    assert file_bytes(store_path) == before
    # SQLite makes sidecars for a connection that can't write, and leaves them.
    if read_only:
        assert file_bytes(store_path.with_name("store.db-wal")) == b""
    else:
        assert os.listdir(store_path.parent) == ["store.db"]


async def test_read_only(store_path: Path, file_bytes: Callable[[Path], bytes]) -> None:
    await made(store_path)
    before = file_bytes(store_path)
    async with SessionStore(store_path, StoreOptions(read_only=True)) as store:
        assert [event.seq for event in await store.events.list("s")] == [1, 2, 3]
        with pytest.raises(ReadOnlyStore):
            await store.events.append("s", "t")
        with pytest.raises(ReadOnlyStore):
            await store.sessions.create(id="t")
        with pytest.raises(ReadOnlyStore):
            await store.sessions.delete("s")
    assert file_bytes(store_path) == before


async def test_read_only_beside_a_writer(store: SessionStore, store_path: Path) -> None:
    await store.sessions.create(id="s")
    async with SessionStore(store_path, StoreOptions(read_only=True)) as reader:
        assert await reader.events.head("s") == 0
        await store.events.append("s", "t")
        assert await reader.events.head("s") == 1


async def test_read_only_needs_a_file(store_path: Path) -> None:
    with pytest.raises(BackendUnavailable):
        async with SessionStore(store_path, StoreOptions(read_only=True)):
            pass
    assert os.listdir(store_path.parent) == []


async def test_use_before_open(store_path: Path) -> None:
    store = SessionStore(store_path)
    for call in (store.events.head("s"), store.events.append("s", "t")):
        with pytest.raises(StoreClosed, match="not open"):
            await call
    await store.close()
    assert os.listdir(store_path.parent) == []


async def test_use_after_close(store_path: Path) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
    for call in (store.events.head("s"), store.events.append("s", "t")):
        with pytest.raises(StoreClosed, match="was closed"):
            await call
    await store.close()


async def test_a_second_open(store_path: Path) -> None:
    store = SessionStore(store_path)
    await store.open()
    with pytest.raises(StoreError, match="once"):
        await store.open()
    await store.sessions.create(id="s")
    await store.close()
    with pytest.raises(StoreClosed, match="again"):
        await store.open()


async def test_statistics(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    before = await store.statistics()
    await asyncio.gather(*[store.events.append("s", "t") for _ in range(10)])
    after = await store.statistics()
    assert after.commands == before.commands + 10
    assert after.batches == before.batches + 1
    assert after.batch_size_p99 == 10
    assert 0 < after.commit_ms_p50 <= after.commit_ms_p99
    assert after.queue_depth == 0
    assert after.wal_bytes > 0
    assert "SQLite 3." in after.library


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_name_of_the_schema_that_is_not_utf8(
    store_path: Path, connect: Callable[[Path], Any], read_only: bool
) -> None:
    """SQLite's message, which names it, is not read by the driver."""
    async with SessionStore(store_path):
        pass
    other = connect(store_path)
    other.execute("PRAGMA writable_schema = 1")
    other.execute(
        "UPDATE sqlite_master SET name = CAST(x'f9' AS TEXT) "
        "WHERE type = 'index' AND sql IS NOT NULL"
    )
    other.close()
    with pytest.raises(DatabaseCorrupt, match="restore a backup"):
        await SessionStore(store_path, StoreOptions(read_only=read_only)).open()
