"""The event loop's clock in the hands of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Time as the event loop tells it: timers, sleeps and timeouts go by it.

    What a thread or a server measures goes by its own clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._real = loop.time
        self._ahead_s = 0.0
        self._stopped_s: float | None = None

    def time(self) -> float:
        real_s = self._real() if self._stopped_s is None else self._stopped_s
        return real_s + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Put the clock forward. What is due by then runs in the next turn."""
        self._ahead_s += seconds
        self._loop.call_soon(lambda: None)  # wakes it

    async def fly(self, task: asyncio.Future[Any]) -> None:
        """Let a second pass with each turn of the loop, until a task is done."""
        while not task.done():
            self.advance(1)
            await asyncio.sleep(0)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let no time pass: nothing that waits for a time ends by it."""
        self._stopped_s = self._real()
        try:
            yield
        finally:
            self._ahead_s += self._stopped_s - self._real()
            self._stopped_s = None
