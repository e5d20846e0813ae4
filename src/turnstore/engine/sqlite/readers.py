"""A fixed set of reading connections, handed out first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.errors import AcquireTimeout, StoreClosed

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
        self._waiters: deque[asyncio.Future[SqliteThread]] = deque()
        self._acquire_timeout_s = acquire_timeout_s
        self._loop = loop
        self._interruptible = interruptible
        self._closed = False
        self.waits = 0

    async def run(self, work: Callable[[SqliteThread], T]) -> T:
        """Run ``work`` on a free connection's thread.

        :raises AcquireTimeout: none came free in time.
        """
        # The one that read last: its caches hold what is read most.
        thread = self._idle.pop() if self._idle else await self._wait()
        if self._closed:
            raise StoreClosed("the store was closed")
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

    async def _wait(self) -> SqliteThread:
        if self._closed:
            raise StoreClosed("the store is closed")
        self.waits += 1
        waiter: asyncio.Future[SqliteThread] = self._loop.create_future()
        timer = self._loop.call_later(self._acquire_timeout_s, self._give_up, waiter)
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The connection may have been handed over before the cancellation came.
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._release(waiter.result())
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiter: asyncio.Future[SqliteThread]) -> None:
        if not waiter.done():
            waiter.set_exception(
                AcquireTimeout(
                    f"no reader came free within {self._acquire_timeout_s:g} s: raise "
                    f"readers, or read in smaller pages"
                )
            )

    def _release(self, thread: SqliteThread) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(thread)
                return
        self._idle.append(thread)

    async def close(self, timeout_s: float) -> None:
        """Turn away who waits, let running reads finish, disconnect."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StoreClosed("the store was closed"))
        for thread in self._threads:
            await thread.close(timeout_s)


def _end(thread: SqliteThread) -> None:
    """End a transaction that an interrupted job could not."""
    if thread.driver.in_transaction:
        thread.driver.execute("ROLLBACK")
