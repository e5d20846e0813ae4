"""What the engines do alike: open, refuse, close, count, and end in a forked child."""

from __future__ import annotations

import asyncio
import os
import weakref
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, TypeVar

from turnstore.engine.backend import (
    Backend,
    IsReady,
    Listener,
    Prepare,
    is_not_ready,
)
from turnstore.engine.cancellation import run_to_completion
from turnstore.engine.commands import Command
from turnstore.engine.loops import running_loop
from turnstore.engine.writer import Writer, percentile
from turnstore.errors import ReadOnlyStore, StoreClosed, StoreError
from turnstore.options import StoreOptions
from turnstore.records import StoreStatistics

R = TypeVar("R")


class Engine(Backend):
    """
    An engine makes its writers in ``_open``; without one the store is read-only.
    """

    forked_reason: ClassVar[str]
    """Why nothing can be called in a forked child, and what to do instead."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed_reason: str | None = _NOT_OPEN
        self._closing: asyncio.Task[None] | None = None
        self._writers: list[Writer] = []

    # Opening and closing

    async def open(self, prepare: Prepare, is_ready: IsReady = is_not_ready) -> None:
        self._loop = running_loop()
        _OPEN.add(self)
        try:
            await self._open(prepare, is_ready, self._loop)
        except BaseException:
            await run_to_completion(self._close())
            raise
        self._closed_reason = None

    async def close(self) -> None:
        if self._closed_reason is None:
            self._closed_reason = "the store was closed"
            self._closing = asyncio.ensure_future(self._close())
        if self._closing is not None:
            await run_to_completion(self._closing)

    async def _close(self) -> None:
        await self._disconnect()
        _OPEN.discard(self)

    @abstractmethod
    async def _open(
        self, prepare: Prepare, is_ready: IsReady, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Connect and prepare. What a failure leaves open, ``_disconnect`` closes."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Finish queued writes within ``close_timeout_s``, then disconnect. Called
        once, also where ``_open`` failed."""

    def _check_open(self) -> None:
        if self._closed_reason is not None:
            if self._closed_reason is _NOT_OPEN:
                running_loop()  # without one the store can't be opened either
            raise StoreClosed(self._closed_reason)
        if running_loop() is not self._loop:
            raise StoreError(
                "a store belongs to the event loop that opened it: open another one "
                "in this loop"
            )

    def _check_writable(self) -> None:
        self._check_open()
        if not self._writers:
            raise ReadOnlyStore("the store was opened with read_only")

    # Writing

    def write(self, command: Command[R]) -> Coroutine[Any, Any, R]:
        self._check_writable()
        return self._write(command)

    @abstractmethod
    def _write(self, command: Command[R]) -> Coroutine[Any, Any, R]:
        """Write by one of the writers."""

    def listen(
        self, listener: Listener | None, heard: Callable[[], None] | None = None
    ) -> None:
        for writer in self._writers:
            writer.listener = listener

    # Facts

    def _statistics(
        self, *, library: str, waiting: int, reader_waits: int, wal_bytes: int
    ) -> StoreStatistics:
        """:param waiting: commands that no writer has yet."""
        self._check_open()
        writers = self._writers
        sizes = [size for each in writers for size in each.batch_sizes]
        times_s = [time for each in writers for time in each.commit_times_s]
        return StoreStatistics(
            library=library,
            queue_depth=waiting + sum(each.depth for each in writers),
            batches=sum(each.batches for each in writers),
            commands=sum(each.commands for each in writers),
            batch_size_p50=int(percentile(sizes, 0.5)),
            batch_size_p99=int(percentile(sizes, 0.99)),
            commit_ms_p50=percentile(times_s, 0.5) * 1_000,
            commit_ms_p99=percentile(times_s, 0.99) * 1_000,
            reader_waits=reader_waits,
            wal_bytes=wal_bytes,
        )

    # Left open

    def __del__(self) -> None:
        if self._closed_reason is None:
            self._let_go()

    @abstractmethod
    def _let_go(self) -> None:
        """Give back threads and descriptors of an engine that nobody can close any
        more. Called from any thread; the loop may be closed."""

    # Forking

    def abandon(self) -> None:
        """In a forked child: refuse every call and never touch the connections.

        Closing one would reach into the parent: on SQLite it can corrupt the file, on
        PostgreSQL the parent's event loop would hear of it no more. So the engine is
        kept from being finalized for as long as the child lives.
        """
        self._closed_reason = self.forked_reason
        self._closing = None
        INHERITED.append(self)


_NOT_OPEN: Final = "the store is not open"
_OPEN: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()

INHERITED: Final[list[Engine]] = []
"""In a forked child, the engines that were open."""


def _after_fork_in_child() -> None:
    for engine in list(_OPEN):
        engine.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
