"""LISTEN and NOTIFY: stores tell each other that something was committed.

A hint and no more: a notice says nothing of what was committed, and one that is lost
is made good by the next poll. Notices are sent after the commit, a while's commits
with one, on a connection of their own; inside a writing transaction NOTIFY takes a
lock of the whole server.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Final

from turnstore.engine.postgres.connections import Connector, PostgresConnection
from turnstore.engine.postgres.errors import sqlstate

CHANNEL: Final = "turnstore"
SPACING_S: Final = 0.01
"""From one notice to the next."""
RECONNECT_S: Final = 0.5
STANDBY_S: Final = 30.0
"""Until a standby is asked again to listen. It refuses until it is promoted."""
_NO_PRIMARY: Final = "25006"


class Notices:
    """One connection that listens while somebody follows, and notifies."""

    def __init__(
        self,
        connector: Connector,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connector = connector
        self._loop = loop
        self._own = uuid.uuid4().hex
        self._connection: PostgresConnection | None = None
        self._heard: Callable[[], None] | None = None
        self._is_listening = False
        self._is_due = False  # a notice, of what was committed since the last
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self._closing: asyncio.Future[None] = loop.create_future()

    def committed(self) -> None:
        """Tell the other stores, soon."""
        self._is_due = True
        self._rouse()

    def listen(self, heard: Callable[[], None] | None) -> None:
        """Have a function called when another store has committed; None: not any
        more."""
        self._heard = heard
        if self._has_work:
            self._rouse()

    async def close(self) -> None:
        """Send what is due, and disconnect."""
        self._closed = True
        self._closing.set_result(None)
        self._heard = None
        if self._task is not None:
            self._rouse()
            await asyncio.wait([self._task], timeout=1)
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._drop()

    def let_go(self) -> None:
        """End without a word, when nobody can close it any more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def _rouse(self) -> None:
        if self._task is None:
            if not self._closed:
                self._task = self._loop.create_task(self._run())
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        pause_s = 0.0
        while not self._closed or self._is_due:
            try:
                await self._work()
                pause_s = SPACING_S
            except Exception as error:
                # Whoever follows polls meanwhile.
                await self._drop()
                if self._closed:
                    return
                is_refused = sqlstate(error) == _NO_PRIMARY
                pause_s = STANDBY_S if is_refused else RECONNECT_S
            await asyncio.wait([self._closing], timeout=pause_s)
            if not self._has_work and not self._closed:
                self._wake = self._loop.create_future()
                await self._wake

    @property
    def _has_work(self) -> bool:
        return self._is_due or self._is_to_listen != self._is_listening

    @property
    def _is_to_listen(self) -> bool:
        # A pooler gives the server connection away after each transaction.
        return self._heard is not None and not self._connector.is_pooled

    async def _work(self) -> None:
        if not self._has_work:
            return
        if self._connection is None or self._connection.is_closed:
            await self._drop()
            self._connection = await self._connector.connect()
        driver = self._connection.driver
        if self._is_to_listen != self._is_listening:
            if self._is_to_listen:
                await driver.add_listener(CHANNEL, self._notified)
                driver.add_termination_listener(self._terminated)
                self._is_listening = True
                # What was missed before.
                self._tell()
            else:
                await driver.remove_listener(CHANNEL, self._notified)
                driver.remove_termination_listener(self._terminated)
                self._is_listening = False
        if self._is_due:
            self._is_due = False
            try:
                await driver.execute(f"NOTIFY {CHANNEL}, '{self._own}'")
            except Exception:
                self._is_due = True
                raise

    def _notified(self, _driver: Any, _pid: int, _channel: str, sender: object) -> None:
        if sender != self._own:
            self._tell()

    def _terminated(self, _driver: Any) -> None:
        self._is_listening = False
        self._rouse()

    def _tell(self) -> None:
        if self._heard is not None:
            self._heard()

    async def _drop(self) -> None:
        self._is_listening = False
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.discard()
