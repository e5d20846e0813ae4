"""SQLite: one writing connection with group commit, a pool of reading ones.

Who may do what::

    writer thread   BEGIN IMMEDIATE, a batch, COMMIT; checkpoints; migrates on open
    reader threads  BEGIN, a unit of work, COMMIT; the file is opened read-only
    in memory       one connection: reads queue behind batches on its thread
    read-only       readers alone

Readers close before the writer, which closes after a truncating checkpoint, so that a
closed store is one file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar
from weakref import ref

from sqlalchemy import Connection

from turnstore.engine.backend import IsReady, Prepare
from turnstore.engine.base import INHERITED
from turnstore.engine.cancellation import run_to_completion
from turnstore.engine.commands import (
    Command,
    Outcome,
    apply_each_in_savepoint,
    apply_together,
    forget,
    is_fatal,
)
from turnstore.engine.sqlite import files as files
from turnstore.engine.sqlite.errors import translate
from turnstore.engine.sqlite.library import library, warn_of
from turnstore.engine.sqlite.maintenance import SqliteMaintenance
from turnstore.engine.sqlite.mending import Mending
from turnstore.engine.sqlite.readers import ReaderPool
from turnstore.engine.sqlite.thread import SqliteThread, data_version, set_pragma
from turnstore.engine.sqlite.transactions import begin, commit, enter_wal
from turnstore.engine.sqlite.wal import Wal
from turnstore.engine.writer import Batch, Done, Writer
from turnstore.errors import SchemaTooOld, StoreError
from turnstore.options import StoreOptions
from turnstore.records import StoreStatistics

R = TypeVar("R")
T = TypeVar("T")

LOG: Final = logging.getLogger("turnstore")

IDLE_S: Final = 1.0
"""After this long without a write the WAL is emptied and truncated."""
CACHE_KIB: Final = 65_536
COMMAND_BYTES: Final = 8_192
"""What a command adds to the log besides its payload: about two pages."""


class SqliteBackend(SqliteMaintenance):
    """:param path: absolute path of the file, None for a private store in memory."""

    forked_reason = "the store was opened before fork(): start the process anew"

    def __init__(self, path: Path | None, options: StoreOptions) -> None:
        super().__init__(options)
        self._path = path
        self._writing: SqliteThread | None = None
        self._readers: ReaderPool | None = None
        self._reading: list[SqliteThread] = []
        self._wal = Wal(path, options)
        self._stop = Event()  # ends waits for locks, when close is late
        self._mending = Mending(self._wal, options, self._stop)
        self._written_s = 0.0  # when a batch was last begun, by the loop's clock
        self._idle_timer: asyncio.TimerHandle | None = None

    # Opening and closing

    def check_process(self) -> None:
        # SQLite counts locks for each file and process. By the parent's counts a new
        # connection would take itself for a holder of locks that the child has not,
        # and another thread of the parent may have held its mutexes.
        if any(isinstance(each, SqliteBackend) for each in INHERITED):
            raise StoreError(
                "this process was forked while a store was open: SQLite can't be used "
                "in it; start it by spawn, or fork before a store is opened"
            )

    async def _open(
        self, prepare: Prepare, is_ready: IsReady, loop: asyncio.AbstractEventLoop
    ) -> None:
        await run_to_completion(self._connect_all(prepare, is_ready, loop))

    async def _connect_all(
        self, prepare: Prepare, is_ready: IsReady, loop: asyncio.AbstractEventLoop
    ) -> None:
        if self._path is not None:
            if self._options.migrate == "check" and not self._path.exists():
                raise SchemaTooOld(
                    f"there is no {self._path}: open it once with migrate='auto'"
                )
            if self._options.read_only:
                files.check_file(self._path)
            else:
                files.prepare_file(self._path)
                warn_of(library())
        if not self._options.read_only:
            self._writing = await self._connect(read_only=False)
            await self._run(self._writing, partial(self._prepare, prepare, is_ready))
            # So that the log has room for a batch besides the one before.
            bytes_max = self._options.wal_bytes_max // 2
            self._writers = [Writer(self._commit, self._options, loop, bytes_max)]
        if self._path is None and self._writing is not None:
            threads = [self._writing]
        else:
            for _ in range(self._options.readers):
                self._reading.append(await self._connect(read_only=True))
            threads = self._reading
        self._readers = ReaderPool(
            threads,
            self._options.acquire_timeout_s,
            loop,
            interruptible=self._path is not None,
        )
        if self._options.read_only:
            await self._readers.run(partial(self._check, prepare))

    async def _connect(self, *, read_only: bool) -> SqliteThread:
        if self._path is None:
            address = "file::memory:"
        else:
            address = files.uri(self._path, read_only=read_only)
        pragmas = _pragmas(self._options, read_only=read_only)
        if self._path is not None:
            pragmas["mmap_size"] = 0
        if not read_only:
            pragmas |= self._wal.pragmas()
        thread = SqliteThread(address, pragmas)
        try:
            await thread.connect()
        except Exception as error:
            translated = translate(error)
            raise translated from translated.__cause__
        return thread

    async def _run(self, thread: SqliteThread, work: Callable[[SqliteThread], T]) -> T:
        try:
            return await thread.submit(partial(work, thread))
        except Exception as error:
            translated = translate(error)
            raise translated from translated.__cause__

    def _prepare(
        self, prepare: Prepare, is_ready: IsReady, thread: SqliteThread
    ) -> None:
        driver = thread.driver
        is_marked = files.check_identity(driver, self._path)
        if self._path is not None:
            enter_wal(driver, self._options.busy_timeout_s, self._stop)
        if not (is_marked and is_ready(thread.connection)):
            begin(driver, self._options.busy_timeout_s, self._stop)
            try:
                prepare(thread.connection)
                set_pragma(driver, "application_id", files.APPLICATION_ID)
                driver.execute("COMMIT")
            except BaseException:
                self._roll_back(thread)
                raise
        self._wal.remember(thread)
        # From here on ``transactions`` waits for the lock.
        thread.set_pragma("busy_timeout", 0)

    def _check(self, prepare: Prepare, thread: SqliteThread) -> None:
        files.check_identity(thread.driver, self._path)
        _read(prepare, True, thread)

    async def _disconnect(self) -> None:
        for writer in self._writers:
            await writer.close(self._options.close_timeout_s)
        self._stop.set()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        timeout_s = self._options.close_timeout_s
        await self._end_extra()
        if self._readers is not None:
            await self._readers.close(timeout_s)
        for thread in self._reading:
            await thread.close(timeout_s)
        if self._writing is not None:
            if self._writing.is_connected and self._writers:
                self._writing.submit(partial(self._wal.truncate, self._writing))
            await self._writing.close(timeout_s)
        self._wal.close()

    # Reading

    def read(
        self, work: Callable[[Connection], T], *, snapshot: bool = False
    ) -> Coroutine[Any, Any, T]:
        self._check_open()
        if self._mending.is_unsettled:
            return self._read_settled(work, snapshot)
        return self._read(work, snapshot)

    def _read(
        self, work: Callable[[Connection], T], snapshot: bool
    ) -> Coroutine[Any, Any, T]:
        assert self._readers is not None
        return self._readers.run(
            partial(self._mending.read, partial(_read, work, snapshot))
        )

    async def _read_settled(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        """Read once a failed commit is settled: what readers see of it until then, a
        crash may turn into the opposite."""
        await self._between_batches(lambda _: None)
        return await self._read(work, snapshot)

    # Writing

    def _write(self, command: Command[R]) -> Coroutine[Any, Any, R]:
        return self._writers[0].write(command)

    def _commit(self, batch: Batch, done: Done) -> None:
        """Start the commit of a batch; called on the loop."""
        assert self._writing is not None and self._loop is not None
        self._written_s = self._loop.time()
        self._rest_after(IDLE_S)
        work = partial(self._commit_batch, batch)
        self._writing.call(partial(self._guard, work, self._writing), done)

    def _rest_after(self, wait_s: float) -> None:
        # One timer, put off when it is due: a new one for each batch costs more.
        if self._idle_timer is None and self._loop is not None:
            # The timer does not keep a store alive that nobody holds.
            self._idle_timer = self._loop.call_later(wait_s, _rest_of, ref(self))

    def _rest(self) -> None:
        """Empty the log once nothing has been written for a while."""
        assert self._writing is not None and self._loop is not None
        self._idle_timer = None
        idle_s = self._loop.time() - self._written_s
        if idle_s < IDLE_S:
            self._rest_after(IDLE_S - idle_s)
        elif self._wal.size_bytes > 0:
            self._writing.call(partial(self._wal.truncate, self._writing), self._rested)

    def _rested(self, *_: object) -> None:
        """Try again later, where readers kept the log from being truncated."""
        if self._wal.size_bytes > 0 and not self._closed_reason:
            self._rest_after(IDLE_S)

    def _guard(self, work: Callable[[SqliteThread], T], thread: SqliteThread) -> T:
        return self._mending.write(work, thread)

    def _commit_batch(self, batch: Batch, thread: SqliteThread) -> list[Outcome]:
        """Commit a batch, on the writing thread.

        Critical section: from BEGIN IMMEDIATE to COMMIT no other process writes, so
        what the commands read (heads, keys, statuses) is true until they are
        committed. Encoding, waiting and waking callers are left outside.
        """
        log_bytes = batch.size_bytes * 17 // 16 + len(batch.entries) * COMMAND_BYTES
        self._wal.hold_back(thread, self._stop, log_bytes)
        outcomes = self._try_batch(batch, thread, is_examined=False)
        if outcomes is None:
            # Mostly another process has moved the log into the database. The look at
            # what it was can't be taken in a transaction.
            self._wal.examine(thread)
            outcomes = self._try_batch(batch, thread, is_examined=True)
        assert outcomes is not None
        return outcomes

    def _try_batch(
        self, batch: Batch, thread: SqliteThread, *, is_examined: bool
    ) -> list[Outcome] | None:
        """Apply a batch and commit it, or roll it back and return None: the files have
        changed and are to be examined first."""
        begin(thread.driver, self._options.busy_timeout_s, self._stop)
        try:
            commands = batch.begin()
            outcomes = self._apply(thread, commands) if commands else []
            if is_examined:
                # No more than the names, or a process that empties the log all the
                # time would keep this one from ever committing.
                self._wal.check_names()
            elif not self._wal.is_unchanged():
                self._roll_back(thread)
                return None
            commit(thread.driver)
            self._wal.have_committed(thread)
        except BaseException:
            self._roll_back(thread)
            raise
        return outcomes

    def _apply(
        self, thread: SqliteThread, commands: list[Command[Any]]
    ) -> list[Outcome]:
        connection = thread.connection
        try:
            return apply_together(connection, commands)
        except Exception as error:
            translated = translate(error)
            if is_fatal(translated):
                raise translated from translated.__cause__
            self._mending.suspect(thread, translated)
            if not isinstance(translated, StoreError):
                LOG.warning("a batch failed, its commands run apart", exc_info=error)
        # Some command spoilt the batch for all: find it by running them apart.
        self._roll_back(thread)
        begin(thread.driver, self._options.busy_timeout_s, self._stop)
        return apply_each_in_savepoint(connection, commands, translate)

    def _roll_back(self, thread: SqliteThread) -> None:
        forget(thread.connection)
        if thread.driver.in_transaction:  # some errors have ended it already
            thread.driver.execute("ROLLBACK")

    # Facts

    async def data_version(self) -> Hashable:
        self._check_open()
        if self._path is None:
            return None
        return await self._run(self._writing or self._reading[0], data_version)

    def statistics(self) -> StoreStatistics:
        return self._statistics(
            library=library().name,
            waiting=0,
            reader_waits=self._readers.waits if self._readers else 0,
            wal_bytes=self._wal.size_bytes,
        )

    def _let_go(self) -> None:
        # The writing one last, as in ``_disconnect``; but nobody waits for it here.
        for thread in self._threads():
            thread.end()
        self._wal.close()

    def abandon(self) -> None:
        super().abandon()
        for thread in self._threads():
            thread.keep_for_ever()

    def _threads(self) -> list[SqliteThread]:
        threads = [*self._reading, *self._connected_extra]
        return [*threads, self._writing] if self._writing is not None else threads


def _rest_of(backend: ref[SqliteBackend]) -> None:
    alive = backend()
    if alive is not None:
        alive._rest()


def _pragmas(options: StoreOptions, *, read_only: bool) -> dict[str, int | str]:
    pragmas: dict[str, int | str] = {
        "busy_timeout": int(options.busy_timeout_s * 1_000),
        "cell_size_check": 1,
        "foreign_keys": 1,
        "cache_size": -CACHE_KIB,
        "synchronous": 2 if options.durability == "full" else 1,
    }
    if library().is_fixed:
        # Older ones take their own full-text index for untrusted.
        pragmas["trusted_schema"] = 0
    if read_only:
        pragmas |= {"query_only": 1, "wal_autocheckpoint": 0}
    return pragmas


def _read(work: Callable[[Connection], T], snapshot: bool, thread: SqliteThread) -> T:
    """Run ``work`` on a reading thread."""
    try:
        if snapshot:
            thread.driver.execute("BEGIN")
        try:
            return work(thread.connection)
        finally:
            if thread.driver.in_transaction:
                thread.driver.execute("COMMIT")
    except Exception as error:
        translated = translate(error)
        raise translated from translated.__cause__
