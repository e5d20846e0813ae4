"""A disk that is full or fails, a WAL that a reader keeps: typed errors, recovery."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from turnstore import DatabaseBusy, DiskFull, SessionStore, StoreOptions
from turnstore.engine.commands import Command
from turnstore.engine.sqlite.backend import SqliteBackend

MIB = 1024 * 1024


class Grow(Command[int], frozen=True):
    """Inserts ``size_bytes`` of zeros."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Grow]) -> list[Any]:
        return [
            connection.exec_driver_sql(
                f"INSERT INTO t VALUES (zeroblob({command.size_bytes}))"
            ).rowcount
            for command in commands
        ]


class Bound(Command[None], frozen=True):
    """Bounds the file to ``size_bytes`` pages."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Bound]) -> list[Any]:
        for command in commands:
            pages = command.size_bytes
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()
        return [None] * len(commands)


@pytest.mark.anyio
async def test_a_full_disk_fails_the_batch_and_nothing_else(store_path: Path) -> None:
    backend = SqliteBackend(store_path, StoreOptions())
    await backend.open(
        lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)").close()
    )
    await backend.write(Bound("", 8))
    with pytest.raises(DiskFull) as caught:
        await backend.write(Grow("", MIB))
    assert getattr(caught.value.__cause__, "sqlite_errorcode", 0) & 0xFF == 13
    assert await backend.write(Grow("", 10)) == 1
    await backend.write(Bound("", 100_000))
    assert await backend.write(Grow("", MIB)) == 1
    found = await backend.read(
        lambda connection: connection.exec_driver_sql("SELECT length(x) FROM t").all()
    )
    assert [row[0] for row in found] == [10, MIB]
    await backend.close()


FAILING_DISK = """
import asyncio, resource, sys
from turnstore import BackendError, SessionStore

async def main():
    async with SessionStore(f"sqlite:///{sys.argv[1]}") as store:
        await store.sessions.create(id="s")
        assert await store.events.append("s", "t", "before") == 1
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Writes beyond this offset fail, as they do on a disk that is failing.
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        for _ in range(3):
            try:
                await store.events.append("s", "t", "x" * 1_000_000)
            except BackendError as error:
                print(type(error).__name__, error.__cause__.sqlite_errorname)
            else:
                print("written")
            assert [each.data for each in await store.events.list("s")] == ["before"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert await store.events.append("s", "t", "after") == 2
        assert [each.data for each in await store.events.list("s")] == [
            "before", "after"
        ]
    async with SessionStore(f"sqlite:///{sys.argv[1]}") as store:
        assert await store.events.head("s") == 2

asyncio.run(main())
"""


def test_a_failing_disk_fails_the_batch_and_work_resumes(
    store_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    pytest.importorskip("resource")
    child = run_python(FAILING_DISK, store_path)
    assert child.returncode == 0, child.stderr
    lines = child.stdout.splitlines()
    assert len(lines) == 3
    for each in lines:
        kind, code = each.split()
        assert (kind, code[:12]) in (
            ("BackendUnavailable", "SQLITE_IOERR"),
            ("OutcomeUnknown", "SQLITE_IOERR"),  # in the middle of the commit
            ("DiskFull", "SQLITE_FULL"),
        )


@pytest.mark.anyio
async def test_a_reader_that_keeps_the_wal_holds_writers_back(
    store_path: Path, connect: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    options = StoreOptions(wal_bytes_max=MIB, busy_timeout_s=0.05)
    async with SessionStore(store_path, options) as store:
        await store.sessions.create(id="s")
        reader = connect(store_path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        written = 0
        with pytest.raises(DatabaseBusy, match="wal_bytes_max") as caught:
            for _ in range(200):
                assert await store.events.append("s", "t", "x" * 100_000)
                written += 1
        assert caught.value.retryable
        assert "held back" in caplog.text
        assert (await store.statistics()).wal_bytes <= MIB
        with pytest.raises(DatabaseBusy):
            await store.events.append("s", "t", "x" * 100_000)
        assert await store.events.head("s") == written
        reader.execute("COMMIT")
        assert await store.events.append("s", "t") == written + 1
        assert (await store.statistics()).wal_bytes < MIB


@pytest.mark.anyio
async def test_a_reader_within_the_bound_does_not_hold_writers_back(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        reader = connect(store_path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        for at in range(1, 51):
            assert await store.events.append("s", "t", "x" * 10_000) == at
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (0,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (50,)
