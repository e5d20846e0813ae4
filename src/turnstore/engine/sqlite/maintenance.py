"""Maintenance of a SQLite file while it is read and written.

Where each runs::

    backup, check   a reading connection of their own, on its thread
    checkpoint      the writing thread, between two batches
    reclaim         the writing thread, some pages at a time, batches between them
    in memory       the writing thread, which has the only connection
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

from sqlalchemy import func, select, table
from sqlalchemy.dialects import sqlite

from turnstore.engine.backend import Progress
from turnstore.engine.base import Engine
from turnstore.engine.cancellation import mark_seen, run_to_completion
from turnstore.engine.sqlite import files as files
from turnstore.engine.sqlite.errors import translate
from turnstore.engine.sqlite.library import library
from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.engine.sqlite.transactions import retry
from turnstore.engine.sqlite.wal import Wal
from turnstore.errors import (
    BackendUnavailable,
    DatabaseBusy,
    DatabaseCorrupt,
    DiskFull,
    InvalidArgument,
    ReadOnlyStore,
    StoreClosed,
)
from turnstore.options import StoreOptions

T = TypeVar("T")

_DIALECT: Final = sqlite.dialect()

COPY_PAGES: Final = 1_000
"""Pages of 4 KiB that a backup copies between two looks at whether to go on."""
PROGRESS_S: Final = 0.1
"""How often a caller is told how far a backup is."""
RECLAIM_PAGES: Final = 256
"""Free pages that are given back between two batches."""
PROBLEMS_MAX: Final = 100
"""Problems of a kind that a check tells."""
LOOK_OPCODES: Final = 100_000
"""Steps of SQLite's machine between two looks at whether a check is to go on."""


class SqliteMaintenance(Engine):
    """The part of a SQLite backend that maintains the file."""

    _path: Path | None
    _writing: SqliteThread | None
    _wal: Wal
    _stop: Event

    def __init__(self, options: StoreOptions) -> None:
        super().__init__(options)
        self._extra: dict[asyncio.Task[Any], Event] = {}
        self._connected_extra: set[SqliteThread] = set()

    @abstractmethod
    async def _connect(self, *, read_only: bool) -> SqliteThread: ...

    @abstractmethod
    async def _run(
        self, thread: SqliteThread, work: Callable[[SqliteThread], T]
    ) -> T: ...

    @abstractmethod
    def _guard(self, work: Callable[[SqliteThread], T], thread: SqliteThread) -> T: ...

    async def backup(self, path: Path, on_progress: Progress | None = None) -> None:
        self._check_open()
        copy = Copy(path, self._wal, self._options.wal_bytes_max // 2)

        def tell() -> None:
            if on_progress is not None and copy.pages_total:
                on_progress(copy.pages_done, copy.pages_total)

        try:
            await self._run_extra(copy.make, copy.stop, tell)
        except BaseException:
            copy.unmake()
            raise

    async def checkpoint(self) -> bool:
        return await self._between_batches(self._wal.checkpoint)

    async def check(self) -> list[str]:
        self._check_open()
        stop = Event()
        return await self._run_extra(partial(_problems, stop), stop)

    async def repair(self) -> list[str]:
        try:
            await self._between_batches(_reindex)
        except DatabaseCorrupt as error:
            return [str(error), *await self.check()]
        return await self.check()

    async def reclaim(self) -> None:
        # What is freed meanwhile is left for the next time, so that this ends.
        pages = await self._between_batches(_count_free_pages)
        for _ in range(0, pages, RECLAIM_PAGES):
            await self._between_batches(self._reclaim_some)
        if pages:
            # The file is cut when the log is emptied into it.
            await self._between_batches(self._wal.truncate)

    def _reclaim_some(self, thread: SqliteThread) -> None:
        self._wal.hold_back(thread, self._stop, RECLAIM_PAGES * 8_192)
        # It gives a row for each page. A script reads them without giving up the GIL
        # at each, in a transaction of its own.
        script = f"PRAGMA incremental_vacuum({RECLAIM_PAGES})"
        retry(
            lambda: thread.driver.executescript(script),
            self._options.busy_timeout_s,
            self._stop,
        )
        self._wal.have_committed(thread)

    async def _between_batches(self, work: Callable[[SqliteThread], T]) -> T:
        """Run ``work`` on the writing thread, which has no transaction open then."""
        self._check_open()
        if self._writing is None:
            raise ReadOnlyStore("the store was opened with read_only")
        return await self._writing.submit(partial(self._guard, work, self._writing))

    async def _run_extra(
        self,
        work: Callable[[SqliteThread], T],
        stop: Event,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> T:
        """Run ``work`` on a connection of its own.

        A cancellation, an error of ``meanwhile`` and closing set ``stop``, which makes
        it end soon, and wait until it has.
        """
        # A task of its own, so that closing finds it: it ends all of them before it
        # disconnects, as each has the file open.
        task = asyncio.create_task(self._on_own_connection(work))
        self._extra[task] = stop
        task.add_done_callback(self._extra.pop)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=PROGRESS_S)
                meanwhile()
        except BaseException:
            stop.set()
            await _ended(task)
            raise
        return task.result()

    async def _on_own_connection(self, work: Callable[[SqliteThread], T]) -> T:
        if self._path is None:
            assert self._writing is not None
            return await self._run(self._writing, work)
        if self._writing is not None:
            # It would be another file's backup.
            await self._run(self._writing, self._wal.examine)
        thread = await self._connect(read_only=True)
        self._connected_extra.add(thread)
        try:
            return await self._run(thread, work)
        finally:
            await thread.close(self._options.close_timeout_s)
            self._connected_extra.discard(thread)

    async def _end_extra(self) -> None:
        for stop in self._extra.values():
            stop.set()
        if self._extra:
            await asyncio.wait(list(self._extra))


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait for a task that was told to stop, whatever cancels the caller again."""
    try:
        await run_to_completion(asyncio.wait([task]))
    except asyncio.CancelledError:
        pass  # the first one is raised
    mark_seen(task)


class Copy:
    """A copy of a database under a new name.

    It is made under a temporary name in the same folder, which takes the wanted one
    once all of it is on the disk.

    :param wal: of the database that is copied. The copy keeps it from being emptied.
    :param wal_bytes_max: size of the log at which the copy gives up, so that it does
        not come to hold back writers.
    """

    def __init__(self, path: Path, wal: Wal, wal_bytes_max: int) -> None:
        self._path = path
        self._partial = path.with_name(f".turnstore-{os.urandom(8).hex()}.partial")
        self._wal = wal
        self._wal_bytes_max = max(wal_bytes_max, wal.size_bytes)
        self._is_made = False
        self._counts: dict[str, int] = {}
        self.stop = Event()
        self.pages_done = self.pages_total = 0

    def make(self, thread: SqliteThread) -> None:
        """Make the copy, on the thread of the connection that is copied."""
        self._refuse_existing()
        try:
            os.close(os.open(self._partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            try:
                self._fill(thread)
                self._verify()
                # First the content, then the name, each on the disk before the next:
                # whatever a power cut leaves under that name is the whole copy.
                _flush(self._partial)
                self._give_name()
                _flush(self._path.parent)
            finally:
                with suppress(FileNotFoundError):  # it was renamed
                    os.unlink(self._partial)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = DiskFull if is_full else BackendUnavailable
            raise kind(f"can't write {self._path}: {error.strerror}") from error

    def unmake(self) -> None:
        """Remove the copy: the call that made it fails after all."""
        if self._is_made:
            os.unlink(self._path)

    def _give_name(self) -> None:
        self._refuse_existing()
        try:
            # Unlike a renaming it fails where another copy has the name by now.
            os.link(self._partial, self._path)
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError:  # a file system without links
            os.rename(self._partial, self._path)
        self._is_made = True

    def _refuse_existing(self) -> None:
        # A log that is left of another file would be taken for the copy's.
        for suffix in ("", "-wal", "-journal"):
            if os.path.lexists(f"{self._path}{suffix}"):
                raise InvalidArgument(
                    f"{self._path}{suffix} is there already: choose another path"
                )

    def _fill(self, thread: SqliteThread) -> None:
        source = thread.driver
        target = library().module.connect(
            files.uri(self._partial, read_only=False), uri=True, isolation_level=None
        )
        try:
            # Nobody reads it before it is whole and flushed.
            target.execute("PRAGMA journal_mode = OFF").fetchone()
            target.execute("PRAGMA synchronous = OFF")
            # One snapshot from the first page to the last: without it each write by
            # another connection would make the copy begin again.
            source.execute("BEGIN")
            try:
                [[pages]] = source.execute("PRAGMA page_count")
                [[page_bytes]] = source.execute("PRAGMA page_size")
                self._check_space(pages * page_bytes)
                self._copy_pages(source, target, pages * page_bytes)
                self._counts = _row_counts(source)
            finally:
                source.execute("ROLLBACK")
        finally:
            target.close()

    def _verify(self) -> None:
        """Look at the copy through a connection of its own, which has no page of it.

        SQLite takes what a read that came short has left out for zeros, so that a copy
        of such pages is made without an error.
        """
        # Immutable: without a log of its own.
        address = f"{files.uri(self._partial, read_only=True)}&immutable=1"
        copy = library().module.connect(address, uri=True, isolation_level=None)
        try:
            copy.set_progress_handler(self.stop.is_set, LOOK_OPCODES)
            problems = _damages(copy)
            if not problems and _row_counts(copy) != self._counts:
                problems = ["it has other rows than the store"]
        except library().module.Error as error:
            if self.stop.is_set():
                raise StoreClosed("the store was closed: no backup was made") from error
            problems = [str(error)]
        finally:
            copy.close()
        if problems:
            raise DatabaseCorrupt(
                f"the copy came out damaged and was removed ({problems[0]}): call "
                f"again; if that fails too, `turnstore check` tells what is damaged"
            )

    def _copy_pages(self, source: Any, target: Any, size_bytes: int) -> None:
        try:
            source.backup(target, pages=COPY_PAGES, progress=self._step)
        except library().module.Error as error:
            # The driver leaves out the code of what went wrong in a backup.
            self._check_space(size_bytes - os.stat(self._partial).st_size)
            raise BackendUnavailable(
                f"{self._path} could not be written, or the store not be read ({error})"
            ) from error

    def _check_space(self, size_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._path.parent).free
        if free_bytes < size_bytes:
            raise DiskFull(
                f"the copy needs {size_bytes} bytes, {self._path.parent} has "
                f"{free_bytes}: free some, or choose another folder"
            )

    def _step(self, _status: int, remaining: int, total: int) -> None:
        if self.stop.is_set():
            raise StoreClosed("the store was closed: no backup was made")
        if self._wal.size_bytes > self._wal_bytes_max:
            raise DatabaseBusy(
                "so much is written during the backup that the WAL has more than half "
                "of wal_bytes_max: raise it, or back up when less is written"
            )
        self.pages_done, self.pages_total = total - remaining, total


def _flush(path: Path) -> None:
    """Have the disk keep a file, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _row_counts(driver: Any) -> dict[str, int]:
    """Return how many rows each table has."""
    tables = driver.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
    ).fetchall()
    counts = {}
    for (name,) in tables:
        count = select(func.count()).select_from(table(name))
        [[counts[name]]] = driver.execute(str(count.compile(dialect=_DIALECT)))
    return counts


def _count_free_pages(thread: SqliteThread) -> int:
    return int(thread.driver.execute("PRAGMA freelist_count").fetchone()[0])


def _reindex(thread: SqliteThread) -> None:
    """Make all indexes anew from their tables, in a transaction of its own."""
    thread.driver.execute("REINDEX")


def _problems(stop: Event, thread: SqliteThread) -> list[str]:
    """Return what is wrong with the database: pages, indexes, foreign keys."""
    driver = thread.driver
    driver.set_progress_handler(stop.is_set, LOOK_OPCODES)
    try:
        found = _damages(driver)
        return found or _orphans(driver)
    except Exception as error:
        if stop.is_set():
            raise StoreClosed("the store was closed during the check") from error
        translated = translate(error)
        if not isinstance(translated, DatabaseCorrupt):
            raise
        return [str(translated)]
    finally:
        driver.set_progress_handler(None, 0)


def _damages(driver: Any) -> list[str]:
    rows = driver.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})").fetchall()
    lines = [line for (text,) in rows for line in str(text).splitlines()]
    return [] if lines == ["ok"] else lines


def _orphans(driver: Any) -> list[str]:
    rows = driver.execute("PRAGMA foreign_key_check").fetchmany(PROBLEMS_MAX)
    return [
        f"{table} row {row} refers to a row that {parent} has not"
        for table, row, parent, _ in rows
    ]
