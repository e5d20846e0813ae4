"""Which lane writes what, so that the writes of a session keep their order.

A session's lane follows from its id. A command that touches several sessions goes to
one lane; while it is under way all of them are written there. Where its sessions are
under way in different lanes it waits until they are in one, and what comes after it
for any of its sessions waits behind it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from turnstore.engine.commands import Command
from turnstore.engine.waiters import Waiters, received
from turnstore.errors import QueueFull, StoreClosed
from turnstore.options import StoreOptions


class _Waiter(msgspec.Struct, eq=False):
    command: Command[Any]
    ids: Collection[str]
    future: asyncio.Future[int]


class LaneRouter:
    """Gives each command its lane, by number."""

    def __init__(
        self, lanes: int, options: StoreOptions, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._lanes = lanes
        self._options = options
        self._loop = loop
        # Of each session with writes under way: the lane, and how many.
        self._under_way: dict[str, tuple[int, int]] = {}
        self._waiters: Waiters[_Waiter] = Waiters(
            options.queue_timeout_s, self._refuse, loop
        )
        # Sessions of those that wait, or were let in and have not gone on yet.
        self._awaited: Counter[str] = Counter()
        self._emptied: asyncio.Future[None] | None = None

    @property
    def depth(self) -> int:
        return len(self._waiters)

    def enter(self, command: Command[Any], ids: Collection[str]) -> int | None:
        """Return the lane, if there is one now; ``leave`` must follow when the command
        is done. None: ``wait`` for it.

        :param ids: of its sessions.
        """
        if self._awaited and not self._awaited.keys().isdisjoint(ids):
            return None
        lane = self._lane(command, ids)
        if lane is not None:
            self._take(ids, lane)
        return lane

    def leave(self, ids: Collection[str]) -> None:
        for name in ids:
            lane, count = self._under_way[name]
            if count == 1:
                del self._under_way[name]
            else:
                self._under_way[name] = lane, count - 1
        if self._waiters:
            self._admit()

    def _lane(self, command: Command[Any], ids: Collection[str]) -> int | None:
        """Return where a command may go now; None: nowhere."""
        found: int | None = None
        for name in ids:
            entry = self._under_way.get(name)
            if entry is not None:
                if found is not None and found != entry[0]:
                    return None
                found = entry[0]
        if found is None:
            found = zlib.crc32(command.session_id.encode()) % self._lanes
        return found

    def _take(self, ids: Collection[str], lane: int) -> None:
        for name in ids:
            _, count = self._under_way.get(name, (lane, 0))
            self._under_way[name] = lane, count + 1

    async def wait(self, command: Command[Any], ids: Collection[str]) -> int:
        """Return the lane once there is one; ``leave`` must follow.

        A cancellation leaves nothing behind.

        :raises QueueFull: its sessions were under way in several lanes for too long.
        """
        waiter = _Waiter(command, ids, self._loop.create_future())
        self._waiters.add(waiter)
        self._awaited.update(ids)
        try:
            return await received(waiter.future, lambda _: self.leave(ids))
        finally:
            self._waiters.remove(waiter)
            self._went_on(waiter)

    def _admit(self) -> None:
        """Let in who can go now, unless somebody before waits for the same session."""
        before: set[str] = set()
        for waiter in self._waiters:
            lane = None
            if before.isdisjoint(waiter.ids) and not waiter.future.done():
                lane = self._lane(waiter.command, waiter.ids)
            if lane is None:
                before.update(waiter.ids)
                continue
            self._waiters.remove(waiter)
            self._take(waiter.ids, lane)
            waiter.future.set_result(lane)

    def _went_on(self, waiter: _Waiter) -> None:
        """From here to its lane nothing comes between: who comes after it may go."""
        self._awaited.subtract(waiter.ids)
        self._awaited = +self._awaited
        self._admit()
        if not self._awaited and self._emptied is not None:
            if not self._emptied.done():
                self._emptied.set_result(None)

    def _refuse(self, waiter: _Waiter) -> None:
        self._fail(
            waiter,
            QueueFull(
                f"the sessions were written in several lanes for "
                f"{self._options.queue_timeout_s:g} s: slow down"
            ),
        )

    def _fail(self, waiter: _Waiter, error: Exception) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(error)

    async def close(self, timeout_s: float) -> None:
        """Wait until all are let in, then turn away who is left."""
        if self._awaited:
            self._emptied = self._loop.create_future()
            await asyncio.wait([self._emptied], timeout=timeout_s)
        while self._waiters:
            self._fail(
                self._waiters.pop(),
                StoreClosed("the store closed first: nothing was written"),
            )
