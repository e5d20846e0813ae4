"""Backups, checks and giving back space beside writers, closing and cancellation."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import LIMIT_S, until
from turnstore import (
    BackendUnavailable,
    DatabaseBusy,
    DiskFull,
    InvalidArgument,
    SessionStore,
    StoreClosed,
    StoreOptions,
)
from turnstore.engine.sqlite import maintenance as maintenance
from turnstore.engine.sqlite.thread import SqliteThread

pytestmark = pytest.mark.anyio

EVENTS = 300
KIB = 1_024
MIB = 1_024 * KIB


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short steps, each of them told."""
    monkeypatch.setattr(maintenance, "COPY_PAGES", 5)
    monkeypatch.setattr(maintenance, "RECLAIM_PAGES", 5)
    monkeypatch.setattr(maintenance, "PROGRESS_S", 0.001)


@pytest.fixture
async def filled(store: SessionStore) -> SessionStore:
    await store.sessions.create(id="s")
    for _ in range(10):
        await asyncio.gather(
            *(store.events.append("s", "e", "x" * 4_000) for _ in range(EVENTS // 10))
        )
    return store


@pytest.fixture
async def held(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[asyncio.Event, Any]]:
    """A copy that waits after its first step: an event of being there, and what lets
    it go on."""
    loop = asyncio.get_running_loop()
    reached, go_on = asyncio.Event(), threading.Event()
    step = maintenance.Copy._step

    def wait(self: Any, *arguments: int) -> None:
        loop.call_soon_threadsafe(reached.set)
        assert go_on.wait(LIMIT_S)
        step(self, *arguments)

    monkeypatch.setattr(maintenance.Copy, "_step", wait)
    yield reached, go_on
    go_on.set()


def left(folder: Path) -> list[str]:
    return [each for each in os.listdir(folder) if "copy" in each or "partial" in each]


async def test_a_backup_is_the_state_at_its_start_while_writes_go_on(
    filled: SessionStore, tmp_path: Path, steps: None, held: Any
) -> None:
    reached, go_on = held
    backup = asyncio.create_task(filled.admin.backup(tmp_path / "copy.db"))
    await reached.wait()
    # Committed while the copy is between two steps, at its beginning and its end.
    await filled.events.append("s", "later")
    go_on.set()
    while not backup.done():
        await filled.events.append("s", "later", "x" * 4_000)
    await backup
    assert await filled.events.head("s") > EVENTS
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await copy.events.head("s") == EVENTS
        assert len(await copy.events.list("s")) == EVENTS
        assert await copy.admin.check() == []


async def test_a_backup_holds_no_reader_and_no_writer(
    store_path: Path, tmp_path: Path, steps: None, held: Any
) -> None:
    reached, go_on = held
    async with SessionStore(store_path, StoreOptions(readers=1)) as store:
        await store.sessions.create(id="s")
        backup = asyncio.create_task(store.admin.backup(tmp_path / "copy.db"))
        await reached.wait()
        assert await store.events.append("s", "e") == 1
        assert await store.events.head("s") == 1
        go_on.set()
        await backup


async def test_progress_grows_to_the_total(
    filled: SessionStore, tmp_path: Path, steps: None
) -> None:
    told: list[tuple[int, int]] = []
    await filled.admin.backup(
        tmp_path / "copy.db", on_progress=lambda done, total: told.append((done, total))
    )
    assert told == sorted(told)
    assert {total for _, total in told} == {told[-1][0]}


async def test_a_cancelled_backup_leaves_nothing(
    filled: SessionStore, tmp_path: Path, steps: None, held: Any
) -> None:
    reached, go_on = held
    backup = asyncio.create_task(filled.admin.backup(tmp_path / "copy.db"))
    await reached.wait()
    assert left(tmp_path) != []
    backup.cancel("first")
    await asyncio.sleep(0)
    backup.cancel("second")
    await asyncio.sleep(0)
    assert not backup.done()  # it waits for the thread
    go_on.set()
    with pytest.raises(asyncio.CancelledError, match="first"):
        await backup
    assert left(tmp_path) == []
    await filled.admin.backup(tmp_path / "copy.db")
    assert left(tmp_path) == ["copy.db"]


async def test_a_backup_cancelled_at_its_very_end_leaves_nothing(
    filled: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has its name, but the caller was cancelled before it could know."""
    make = maintenance.Copy.make
    loop = asyncio.get_running_loop()

    def made(self: maintenance.Copy, thread: SqliteThread) -> None:
        make(self, thread)
        assert left(tmp_path) == ["copy.db"]
        asyncio.run_coroutine_threadsafe(cancel(), loop).result(LIMIT_S)

    async def cancel() -> None:
        backup.cancel()

    monkeypatch.setattr(maintenance.Copy, "make", made)
    backup = asyncio.create_task(filled.admin.backup(tmp_path / "copy.db"))
    with pytest.raises(asyncio.CancelledError):
        await backup
    assert left(tmp_path) == []


async def test_what_on_progress_raises_ends_the_backup(
    filled: SessionStore, tmp_path: Path, steps: None
) -> None:
    def refuse(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await filled.admin.backup(tmp_path / "copy.db", on_progress=refuse)
    assert left(tmp_path) == []


async def test_closing_ends_a_backup(
    store_path: Path, tmp_path: Path, steps: None, held: Any
) -> None:
    reached, go_on = held
    store = SessionStore(store_path)
    await store.open()
    await store.sessions.create(id="s")
    backup = asyncio.create_task(store.admin.backup(tmp_path / "copy.db"))
    await reached.wait()
    stops = [*store._backend._extra.values()]  # type: ignore[attr-defined]
    assert len(stops) == 1
    closing = asyncio.create_task(store.close())
    await until(lambda: all(each.is_set() for each in stops))
    go_on.set()
    await closing
    with pytest.raises(StoreClosed):
        await backup
    assert os.listdir(tmp_path) == [store_path.name]


async def test_closing_ends_a_check(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    problems = maintenance._problems

    def wait(stop: Any, thread: SqliteThread) -> list[str]:
        loop.call_soon_threadsafe(reached.set)
        assert stop.wait(LIMIT_S)
        return problems(stop, thread)

    monkeypatch.setattr(maintenance, "_problems", wait)
    monkeypatch.setattr(maintenance, "LOOK_OPCODES", 1)
    store = SessionStore(store_path)
    await store.open()
    check = asyncio.create_task(store.admin.check())
    await reached.wait()
    await store.close()
    with pytest.raises(StoreClosed):
        await check


async def test_a_backup_gives_up_before_it_holds_back_writers(
    store_path: Path, tmp_path: Path, steps: None, held: Any
) -> None:
    reached, go_on = held
    options = StoreOptions(wal_bytes_max=2 * MIB)
    async with SessionStore(store_path, options) as store:
        await store.sessions.create(id="s")
        backup = asyncio.create_task(store.admin.backup(tmp_path / "copy.db"))
        await reached.wait()
        while (await store.statistics()).wal_bytes <= MIB:
            await store.events.append("s", "e", "x" * 100 * KIB)
        go_on.set()
        with pytest.raises(DatabaseBusy):
            await backup
        assert left(tmp_path) == []
        await store.admin.checkpoint()
        await store.admin.backup(tmp_path / "copy.db")


async def test_two_backups_at_once_to_one_path(
    filled: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.db"
    both = threading.Barrier(2, timeout=LIMIT_S)
    fill = maintenance.Copy._fill

    def fill_together(self: Any, thread: Any) -> None:
        fill(self, thread)
        both.wait()

    monkeypatch.setattr(maintenance.Copy, "_fill", fill_together)
    made = await asyncio.gather(
        *(filled.admin.backup(path) for _ in range(2)), return_exceptions=True
    )
    assert {type(each) for each in made} == {type(None), InvalidArgument}
    assert left(tmp_path) == ["copy.db"]
    async with SessionStore(path, StoreOptions(read_only=True)) as copy:
        assert await copy.admin.check() == []


async def test_a_backup_where_files_have_one_name_alone(
    filled: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    await filled.admin.backup(tmp_path / "copy.db")
    assert left(tmp_path) == ["copy.db"]


async def test_a_folder_that_is_not_there_is_unavailable(
    filled: SessionStore, tmp_path: Path
) -> None:
    with pytest.raises(BackendUnavailable):
        await filled.admin.backup(tmp_path / "none" / "copy.db")
    assert left(tmp_path) == []


async def test_a_copy_that_does_not_fit_is_not_begun(
    filled: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    few = usage._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    told: list[int] = []
    with pytest.raises(DiskFull, match="100000"):
        await filled.admin.backup(
            tmp_path / "copy.db", on_progress=lambda done, _: told.append(done)
        )
    assert (left(tmp_path), told) == ([], [])


FAILING_DISK = """
import asyncio, os, resource, sys
from turnstore import BackendError, SessionStore

async def main(folder):
    async with SessionStore(f"sqlite:///{folder}/store.db") as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "e", "x" * 3_000_000)
        await store.admin.checkpoint()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            await store.admin.backup(f"{folder}/copy.db")
        except BackendError as error:
            print(type(error).__name__, sorted(os.listdir(folder)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await store.events.append("s", "e", "the store is none the worse") == 2

asyncio.run(main(sys.argv[1]))
"""


async def test_a_disk_that_takes_no_more_leaves_nothing(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(FAILING_DISK, tmp_path)
    assert done.stderr == ""
    files = ["store.db", "store.db-shm", "store.db-wal"]
    assert done.stdout == f"BackendUnavailable {files}\n"


async def test_reclaiming_lets_writes_in_between(
    filled: SessionStore, store_path: Path, steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    some = maintenance.SqliteMaintenance._reclaim_some

    def note(self: Any, thread: SqliteThread) -> None:
        order.append("step")
        some(self, thread)

    monkeypatch.setattr(maintenance.SqliteMaintenance, "_reclaim_some", note)
    await filled.events.delete_before("s", EVENTS)
    vacuum = asyncio.create_task(filled.admin.vacuum())
    while not vacuum.done():
        await filled.events.append("s", "e")
        order.append("write")
    await vacuum
    steps_taken = [at for at, each in enumerate(order) if each == "step"]
    assert len(steps_taken) > 20
    assert "write" in order[steps_taken[0] : steps_taken[-1]]
    assert await filled.admin.check() == []


async def test_cancelled_reclaiming_goes_on_where_it_was(
    filled: SessionStore,
    store_path: Path,
    connect: Callable[[Path], Any],
    steps: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await filled.events.delete_before("s", EVENTS)
    other = connect(store_path)

    def free_pages() -> int:
        return int(other.execute("PRAGMA freelist_count").fetchone()[0])

    before = free_pages()
    steps_taken = 0
    some = maintenance.SqliteMaintenance._reclaim_some

    def stop(self: Any, thread: SqliteThread) -> None:
        nonlocal steps_taken
        steps_taken += 1
        some(self, thread)
        if steps_taken == 3:
            loop.call_soon_threadsafe(vacuum.cancel)

    monkeypatch.setattr(maintenance.SqliteMaintenance, "_reclaim_some", stop)
    loop = asyncio.get_running_loop()
    vacuum = asyncio.create_task(filled.admin.vacuum())
    with pytest.raises(asyncio.CancelledError):
        await vacuum
    assert free_pages() == before - 15
    await filled.admin.vacuum()
    assert free_pages() == 0
    assert await filled.admin.check() == []


async def test_another_process_that_writes_makes_reclaiming_busy(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    options = StoreOptions(busy_timeout_s=0.05)
    async with SessionStore(store_path, options) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "e", "x" * MIB)
        await store.events.delete_before("s", 2)
        other = connect(store_path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            await store.admin.vacuum()
        other.execute("ROLLBACK")
        await store.admin.vacuum()
        assert other.execute("PRAGMA freelist_count").fetchone()[0] == 0


async def test_a_reader_keeps_a_checkpoint_from_being_whole(
    filled: SessionStore, store_path: Path, connect: Callable[[Path], Any]
) -> None:
    reader = connect(store_path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    await filled.events.append("s", "e")
    assert await filled.admin.checkpoint() is False
    reader.execute("ROLLBACK")
    assert await filled.admin.checkpoint() is True


async def test_a_check_tells_of_damaged_pages(tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite"
    async with SessionStore(path) as store:
        await store.sessions.create(id="s", title="t")
        for _ in range(50):
            await store.events.append("s", "e", "x" * 4_000)
    content = bytearray(path.read_bytes())
    # Above the tables' roots, where the events' rows lie.
    for at in range(100 * 4_096, 110 * 4_096):
        content[at] ^= 0xFF
    path.write_bytes(content)
    async with SessionStore(path) as store:
        problems = await store.admin.check()
    assert problems
    assert all("\n" not in each for each in problems)
