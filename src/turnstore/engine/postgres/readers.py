"""The pool of reading connections, handed out first come first served.

A connection is opened when it is needed, and dropped when its state is not known:
after an error of its own, and where a cancelled read did not end soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from turnstore.engine.cancellation import mark_seen
from turnstore.engine.postgres.backoff import Backoff
from turnstore.engine.postgres.connections import (
    SNAPSHOT,
    Connector,
    PostgresConnection,
)
from turnstore.engine.postgres.errors import is_conflict, is_lost, translate
from turnstore.engine.waiters import ReadWaiters
from turnstore.errors import StoreClosed
from turnstore.options import StoreOptions

T = TypeVar("T")

CANCEL_GRACE_S: Final = 0.05
"""How long a cancelled read may go on, which spares a new connection."""


class PostgresReaders:
    """:param idle: connections that are there already."""

    def __init__(
        self,
        connector: Connector,
        idle: list[PostgresConnection],
        options: StoreOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connector = connector
        self._options = options
        self._loop = loop
        self._idle = idle
        self._free = options.readers  # places that nobody has
        self._waiters: ReadWaiters[None] = ReadWaiters(options.acquire_timeout_s, loop)
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def waits(self) -> int:
        """Reads that have had to wait."""
        return self._waiters.total

    async def run(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        """Run ``work`` on a free connection.

        :raises AcquireTimeout: none came free in time.
        """
        self._check_open()
        if self._free:
            self._free -= 1
        else:
            await self._waiters.wait(self._release)
            self._check_open()  # it may be closed since the place came free
        # The place is the task's now, whatever becomes of its caller.
        task = self._loop.create_task(self._read(work, snapshot))
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                self._check_open()  # who closes the store has ended it, not the caller
            if not task.done():
                timer = self._loop.call_later(CANCEL_GRACE_S, task.cancel)
                task.add_done_callback(lambda _: timer.cancel())
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store was closed")

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        mark_seen(task)
        self._release()

    def _release(self, _: None = None) -> None:
        if not self._waiters.give(None):
            self._free += 1

    async def _read(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        """Read, again where the connection or another transaction was in the way."""
        retries = Backoff(self._options.busy_timeout_s, self._loop)
        while True:
            try:
                return await self._try(work, snapshot)
            except Exception as error:
                may_pass = is_lost(error) or is_conflict(error)
                if not may_pass or self._closed or not await retries.wait():
                    translated = translate(error)
                    raise translated from translated.__cause__

    async def _try(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        while self._idle and self._idle[-1].is_closed:
            await self._idle.pop().discard()
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await self._connect()
        try:
            result = await self._read_on(connection, work, snapshot)
        except BaseException as error:
            if not isinstance(error, Exception) or is_lost(error):
                await connection.discard()
            else:
                self._idle.append(connection)
            raise
        self._idle.append(connection)
        return result

    async def _connect(self) -> PostgresConnection:
        return await self._connector.connect()

    async def _read_on(
        self,
        connection: PostgresConnection,
        work: Callable[[Connection], T],
        snapshot: bool,
    ) -> T:
        if not snapshot:
            return await connection.run(work)
        return await self._read_within(connection, work, SNAPSHOT)

    async def _read_within(
        self,
        connection: PostgresConnection,
        work: Callable[[Connection], T],
        begin: str,
    ) -> T:
        """Read inside a transaction, so that no other can come between."""
        await connection.begin(begin)
        try:
            result = await connection.run(work)
        except Exception as error:
            if not is_lost(error):
                await connection.roll_back()
            raise
        await connection.commit()
        return result

    async def close(self, timeout_s: float) -> None:
        """Turn away who waits, let running reads finish, disconnect."""
        self._closed = True
        self._waiters.turn_away(lambda: StoreClosed("the store was closed"))
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.gather(*(each.close() for each in self._idle))
        self._idle.clear()
