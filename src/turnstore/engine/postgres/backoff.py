"""How long and how often the same work is tried again."""

from __future__ import annotations

import asyncio
import random
from typing import Final

FIRST_S: Final = 0.01
LONGEST_S: Final = 0.25


class Backoff:
    """Waits between attempts, longer each time, until a time has passed."""

    def __init__(self, timeout_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until_s = loop.time() + timeout_s
        self._next_s = FIRST_S

    async def wait(self) -> bool:
        """Wait for the next attempt; False: there is no time for one."""
        pause_s = self._next_s * random.uniform(0.5, 1)
        if self._loop.time() + pause_s > self._until_s:
            return False
        self._next_s = min(self._next_s * 2, LONGEST_S)
        await asyncio.sleep(pause_s)
        return True
