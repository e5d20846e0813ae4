"""A fixed set of reading connections, handed out first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.engine.waiters import ReadWaiters
from turnstore.errors import StoreClosed

T = TypeVar("T")


class ReaderPool:
    """Runs functions on whichever connection is free.

    A connection comes back when its thread has finished the function, not when the
    caller stops waiting: a cancelled caller never leaves a connection in use, and
    never shares one that is still busy.

    :param interruptible: stop the running statement of a cancelled caller. Not where
        the connection also writes.
    """

    def __init__(
        self,
        threads: Sequence[SqliteThread],
        acquire_timeout_s: float,
        loop: asyncio.AbstractEventLoop,
        *,
        interruptible: bool,
    ) -> None:
        self._threads = threads
        self._idle = [*threads]
        self._waiters: ReadWaiters[SqliteThread] = ReadWaiters(acquire_timeout_s, loop)
        self._interruptible = interruptible
        self._closed = False

    @property
    def waits(self) -> int:
        """Reads that have had to wait."""
        return self._waiters.total

    async def run(self, work: Callable[[SqliteThread], T]) -> T:
        """Run ``work`` on a free connection's thread.

        :raises AcquireTimeout: none came free in time.
        """
        self._check_open()
        if self._idle:
            thread = self._idle.pop()  # it read last: its caches hold what is read most
        else:
            thread = await self._waiters.wait(self._release)
            self._check_open()  # it may be closed since the connection came free
        job = thread.submit(partial(work, thread))
        try:
            result = await job
        except asyncio.CancelledError:
            if self._interruptible:
                thread.interrupt()
            # The thread works off its queue in order: when this is done, so is the job.
            thread.call(partial(_end, thread), lambda *_: self._release(thread))
            raise
        except BaseException:
            self._release(thread)
            raise
        self._release(thread)
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store was closed")

    def _release(self, thread: SqliteThread) -> None:
        if not self._waiters.give(thread):
            self._idle.append(thread)

    async def close(self, timeout_s: float) -> None:
        """Turn away who waits, let running reads finish, disconnect."""
        self._closed = True
        self._waiters.turn_away(lambda: StoreClosed("the store was closed"))
        for thread in self._threads:
            await thread.close(timeout_s)


def _end(thread: SqliteThread) -> None:
    """End a transaction that an interrupted job could not."""
    if thread.driver.in_transaction:
        thread.driver.execute("ROLLBACK")
