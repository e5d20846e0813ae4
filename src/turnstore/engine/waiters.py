"""Queues of callers that wait: first come, first served, each for a bounded time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from turnstore.errors import AcquireTimeout

T = TypeVar("T")
W = TypeVar("W", bound=Hashable)


class Waiters(Generic[W]):
    """
    :param give_up: called with each waiter whose time is up. It has left the queue.
    """

    def __init__(
        self,
        timeout_s: float,
        give_up: Callable[[W], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._timeout_s = timeout_s
        self._give_up = give_up
        self._loop = loop
        # Ordered, as a waiter in the middle must be cheap to remove too.
        self._timers: OrderedDict[W, asyncio.TimerHandle] = OrderedDict()

    def __len__(self) -> int:
        return len(self._timers)

    def __iter__(self) -> Iterator[W]:
        return iter(list(self._timers))

    def add(self, waiter: W) -> None:
        self._timers[waiter] = self._loop.call_later(
            self._timeout_s, self._time_out, waiter
        )

    def pop(self) -> W:
        """Remove the waiter that came first, and return it."""
        waiter, timer = self._timers.popitem(last=False)
        timer.cancel()
        return waiter

    def remove(self, waiter: W) -> None:
        """Remove a waiter, if it is still there."""
        timer = self._timers.pop(waiter, None)
        if timer is not None:
            timer.cancel()

    def _time_out(self, waiter: W) -> None:
        del self._timers[waiter]
        self._give_up(waiter)


class ReadWaiters(Waiters[asyncio.Future[T]]):
    """Reads that wait for a connection, or for the right to one."""

    def __init__(self, timeout_s: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(timeout_s, self._refuse, loop)
        self.total = 0
        """Reads that have had to wait."""

    async def wait(self, give_back: Callable[[T], None]) -> T:
        """Return what the waiter is given.

        :param give_back: called where a cancellation came later than that.
        :raises AcquireTimeout: it was given nothing in time.
        """
        self.total += 1
        future: asyncio.Future[T] = self._loop.create_future()
        self.add(future)
        try:
            return await received(future, give_back)
        finally:
            self.remove(future)

    def give(self, thing: T) -> bool:
        """Give the first waiter what it waits for; False: nobody waits."""
        while self:
            future = self.pop()
            if not future.done():
                future.set_result(thing)
                return True
        return False

    def turn_away(self, error: Callable[[], Exception]) -> None:
        """Let all waiters fail, each with an error of its own."""
        while self:
            future = self.pop()
            if not future.done():
                future.set_exception(error())

    def _refuse(self, future: asyncio.Future[T]) -> None:
        if not future.done():
            future.set_exception(
                AcquireTimeout(
                    f"no reader came free within {self._timeout_s:g} s: raise readers, "
                    f"or read in smaller pages"
                )
            )


async def received(future: asyncio.Future[T], give_back: Callable[[T], None]) -> T:
    """Return what a future is given.

    :param give_back: called with it where a cancellation came after it was given, and
        before the task could go on.
    """
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled() and not future.exception():
            give_back(future.result())
        raise
