"""The files of an open store, removed, moved, replaced, cut or overwritten.

What is refused then is written nowhere; what SQLite itself does to the files is not
mistaken for it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, go, line
from turnstore import BackendUnavailable, DatabaseCorrupt, SessionStore, StoreOptions
from turnstore.engine.sqlite.library import library

pytestmark = pytest.mark.anyio

BEFORE = 20
REFUSED = "this was refused"

REMOVED, REPLACED = "was removed or moved", "was replaced by another file"
CUT, OVERWRITTEN = "was cut short", "was overwritten"
HARMS = {
    "the database removed": ("rm a.db", REMOVED),
    "the log removed": ("rm a.db-wal", REMOVED),
    "the index removed": ("rm a.db-shm", REMOVED),
    "all removed": ("rm a.db a.db-wal a.db-shm", REMOVED),
    "the database moved": ("mv a.db moved.db", REMOVED),
    "the folder moved": ("mv ../folder ../moved", REMOVED),
    "the database replaced": ("mv other.db a.db", REPLACED),
    "the log replaced": ("cp a.db-wal copy && mv copy a.db-wal", REPLACED),
    "the database overwritten": ("cat other.db > a.db", OVERWRITTEN),
    "pages overwritten": (
        "dd if=/dev/zero of=a.db bs=4096 seek=20 count=20 conv=notrunc status=none",
        OVERWRITTEN,
    ),
    "the database emptied": ("truncate -s 0 a.db", f"{CUT}|{OVERWRITTEN}"),
    "the database cut": ("truncate -s -200000 a.db", f"{CUT}|{OVERWRITTEN}"),
    "the log emptied": ("truncate -s 0 a.db-wal", CUT),
    "the log cut by a byte": ("truncate -s -1 a.db-wal", CUT),
}
"""What is done to the files of a store, a.db, by a command in their folder."""


def harm(kind: str, folder: Path) -> None:
    subprocess_in(folder, HARMS[kind][0])


def subprocess_in(folder: Path, command: str) -> None:
    # In another process: closing a handle of the file here would drop SQLite's locks.
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)


def files_with(text: str, folder: Path) -> bytes:
    return subprocess.run(["grep", "-rl", text, folder], capture_output=True).stdout


needs_counters = pytest.mark.skipif(
    not library().has_noop, reason="this SQLite does not tell the counters of the log"
)


@needs_counters
@pytest.mark.parametrize(
    ("kind", "is_idle"),
    # Once the store is idle its log is empty, and can't be cut.
    [(kind, False) for kind in HARMS]
    + [(kind, True) for kind, (_, reason) in HARMS.items() if reason != CUT],
)
async def test_what_is_refused_is_written_nowhere(
    tmp_path: Path, kind: str, is_idle: bool
) -> None:
    reason = HARMS[kind][1]
    folder = tmp_path / "folder"
    async with SessionStore(folder / "other.db") as other:
        await fill(other, "other")
    async with SessionStore(folder / "a.db") as store:
        await fill(store, "s")
        if is_idle:
            # All of it lies in the database, as after a second without a write.
            assert await store.admin.checkpoint()
        harm(kind, folder)
        for _ in range(3):
            with pytest.raises(DatabaseCorrupt, match=reason):
                await store.events.append("s", "t", REFUSED)
        calls = [store.events.append("s", "t", REFUSED) for _ in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in outcomes} == {DatabaseCorrupt}
        with pytest.raises(DatabaseCorrupt, match=reason):
            await store.admin.check()
        with pytest.raises(DatabaseCorrupt, match=reason):
            await store.admin.backup(tmp_path / "backup.db")
    assert files_with(REFUSED, tmp_path) == b""
    assert not (tmp_path / "backup.db").exists()


async def test_a_name_that_can_not_be_looked_at_is_no_file_that_is_gone(
    tmp_path: Path,
) -> None:
    async with SessionStore(tmp_path / "a.db") as store:
        await fill(store, "s")
        subprocess_in(tmp_path, "mv a.db kept && ln -s a.db a.db")
        with pytest.raises(BackendUnavailable, match="can't be looked at"):
            await store.events.append("s", "t", REFUSED)
        subprocess_in(tmp_path, "mv kept a.db")
        assert await store.events.append("s", "t") == BEFORE + 1
    assert files_with(REFUSED, tmp_path) == b""


@needs_counters
@pytest.mark.parametrize(
    "kind", ["the log removed", "the index removed", "the database moved"]
)
async def test_what_was_acknowledged_is_there_once_the_store_is_closed(
    tmp_path: Path, kind: str
) -> None:
    async with SessionStore(tmp_path / "a.db") as store:
        await fill(store, "s")
        harm(kind, tmp_path)
        with pytest.raises(DatabaseCorrupt):
            await store.events.append("s", "t", REFUSED)
    name = "moved.db" if kind == "the database moved" else "a.db"
    async with SessionStore(tmp_path / name) as store:
        assert await store.events.head("s") == BEFORE
        assert await store.admin.check() == []


@needs_counters
async def test_the_log_is_not_left_to_a_file_that_took_the_name(tmp_path: Path) -> None:
    async with SessionStore(tmp_path / "other.db") as other:
        await fill(other, "other")
    async with SessionStore(tmp_path / "a.db") as store:
        await fill(store, "s")
        harm("the database replaced", tmp_path)
    async with SessionStore(tmp_path / "a.db") as store:
        assert [each.id for each in (await store.sessions.list()).items] == ["other"]
        assert await store.admin.check() == []


SECOND = """
import asyncio, sys
from turnstore import SessionStore

async def main():
    async with SessionStore(f"sqlite:///{sys.argv[1]}") as store:
        print("open", flush=True)
        for n in range(50):
            await store.events.append("s", "second", n)
        sys.stdin.readline()

asyncio.run(main())
"""


async def test_an_index_that_is_removed_parts_no_two_processes(
    tmp_path: Path, start_python: Callable[..., Child]
) -> None:
    """A second process makes a new one, in which it does not see the first's locks."""
    path = tmp_path / "a.db"
    async with SessionStore(path) as store:
        await fill(store, "s")
        harm("the index removed", tmp_path)
        second = start_python(SECOND, path)
        assert line(second) == "open"
        with pytest.raises(DatabaseCorrupt, match=REPLACED):
            await store.events.append("s", "first")
    go(second)
    assert second.wait() == 0
    async with SessionStore(path) as store:
        assert await store.admin.check() == []
        types = [each.type for each in await store.events.list("s")]
    assert types == ["t"] * BEFORE + ["second"] * 50


NEIGHBOUR = """
import sys
from turnstore.engine.sqlite.library import library

driver = library().module.connect(sys.argv[1], isolation_level=None, timeout=30)
print("open", flush=True)
for n in range(150):
    for statement in sys.argv[2:]:
        driver.execute(statement).fetchall()
driver.close()
print("done", flush=True)
"""
NEIGHBOURS = {
    "empties the log": ["PRAGMA wal_checkpoint(TRUNCATE)"],
    "moves the log": ["PRAGMA wal_checkpoint(PASSIVE)"],
    "commits and moves": [
        "UPDATE session_heads SET event_head = event_head",
        "PRAGMA wal_checkpoint(RESTART)",
    ],
    "grows and shrinks": [
        "CREATE TABLE own AS SELECT zeroblob(200000) AS x",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "DROP TABLE own",
        "PRAGMA incremental_vacuum",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ],
}


@pytest.mark.parametrize("kind", NEIGHBOURS)
async def test_what_another_process_does_through_sqlite_is_accepted(
    store_path: Path, start_python: Callable[..., Child], kind: str
) -> None:
    async with SessionStore(store_path) as store:
        await fill(store, "s")
        neighbour = start_python(NEIGHBOUR, store_path, *NEIGHBOURS[kind])
        assert line(neighbour) == "open"
        appended = 0
        while neighbour.poll() is None:
            await store.events.append("s", "t", "x" * 5_000)
            appended += 1
        assert neighbour.returncode == 0
        assert await store.events.head("s") == BEFORE + appended
        await store.admin.vacuum()
        assert await store.events.append("s", "t") == BEFORE + appended + 1
        assert await store.admin.check() == []


async def test_two_stores_of_one_process_accept_each_other(store_path: Path) -> None:
    async with SessionStore(store_path) as first, SessionStore(store_path) as second:
        await fill(first, "s")
        for _ in range(10):
            assert await first.admin.checkpoint()
            await second.events.append("s", "t", "x" * 100_000)
            assert await second.admin.checkpoint()
            await first.events.append("s", "t")
        assert await second.events.delete_before("s", BEFORE + 20) == BEFORE + 19
        await second.admin.vacuum()
        assert await first.events.append("s", "t") == BEFORE + 21


async def test_an_older_library_notices_what_is_removed_or_replaced(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not tell what is in the log, so that sizes and times say nothing."""
    monkeypatch.setattr(type(library()), "has_noop", False)
    async with SessionStore(store_path) as store:
        await fill(store, "s")
        os.utime(store_path)
        assert await store.events.append("s", "t") == BEFORE + 1
        store_path.with_name("store.db-shm").unlink()
        with pytest.raises(DatabaseCorrupt, match=REMOVED):
            await store.events.append("s", "t")


@pytest.mark.parametrize("size_bytes", [2_000, 300_000])
async def test_the_bound_of_the_log_holds_in_bytes(
    store_path: Path, connect: Callable[[Path], Any], size_bytes: int
) -> None:
    bytes_max = 2 * 1024 * 1024
    options = StoreOptions(wal_bytes_max=bytes_max, busy_timeout_s=0.05)
    async with SessionStore(store_path, options) as store:
        await fill(store, "s")
        reader = connect(store_path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        refused = 0
        while not refused:
            calls = [store.events.append("s", "t", "x" * size_bytes) for _ in range(32)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            refused = sum(isinstance(each, Exception) for each in outcomes)
            # It never shrinks while the reader keeps it.
            assert (await store.statistics()).wal_bytes <= bytes_max
        reader.execute("COMMIT")
        assert await store.events.append("s", "t", "x" * size_bytes) > BEFORE


async def fill(store: SessionStore, session_id: str) -> None:
    """Most of it lies in the database, the newest in the log."""
    await store.sessions.create(id=session_id)
    for at in range(BEFORE):
        if at == BEFORE - 3:
            assert await store.admin.checkpoint()
        await store.events.append(session_id, "t", "x" * 3_000)
