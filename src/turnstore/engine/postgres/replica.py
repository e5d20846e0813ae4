"""Reads from a replica, as long as it has what they must see.

A store's reads see

- everything that this store has written, whatever the replica lags behind;
- what its earlier reads have seen, where all connections to the replica lead to one
  server, and as far as the stores that wrote it wait for the server's disk.

What other stores have written they see when the replica has replayed it, and at the
latest once the store has been told of it (``Positions.mark``).

A connection to a replica is asked what it is before its first read, and again whenever
a read needs more than it was seen to have. That it is a standby still shows after each
read without asking: the server reports when it is promoted. Where that can't be relied
on, behind a pooler, each read asks, in one transaction with what it reads.

A replica that fails, lags for too long or is no standby is left for a while, which
gets longer, and its reads go to the primary. One read at a time tries it again.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from turnstore.engine.postgres.connections import (
    READ,
    SNAPSHOT,
    Connector,
    PostgresConnection,
)
from turnstore.engine.postgres.errors import is_lost, translate
from turnstore.engine.postgres.hosts import Purpose
from turnstore.engine.postgres.readers import PostgresReaders
from turnstore.engine.postgres.replica_position import (
    Positions,
    ReplicaStatus,
    standing,
)
from turnstore.errors import StoreError
from turnstore.options import StoreOptions

T = TypeVar("T")

LOG: Final = logging.getLogger("turnstore")

FIRST_LOOK_S: Final = 0.001
LONGEST_LOOK_S: Final = 0.05
"""From one look at what the replica has replayed to the next."""
FIRST_ABSENCE_S: Final = 0.25
LONGEST_ABSENCE_S: Final = 10.0
"""How long a replica that was no good is left alone."""
CONNECT_TIMEOUT_S: Final = 1.0
"""Longest wait for a connection to it, or ``replica_wait_s`` where that is longer."""


class _Unfit(ConnectionError):
    """The replica can't be read now; its connection is dropped."""


class _Refused(Exception):
    """The replica did not answer this read."""


class _Lost(_Refused):
    """The replica can't answer any."""


def connector_to(read_url: str, options: StoreOptions) -> Connector:
    """:raises InvalidArgument: the URL is no good."""
    timeout_s = max(CONNECT_TIMEOUT_S, options.replica_wait_s)
    timeout_s = min(timeout_s, options.answer_timeout_s)
    return Connector(read_url, options, Purpose.REPLICA, timeout_s)


class Replica:
    """Reads on the replica or on the primary."""

    def __init__(
        self,
        connector: Connector,
        primary: PostgresReaders,
        options: StoreOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        self._primary = primary
        ask = partial(standing, is_durable=options.durability != "normal")
        self._positions = Positions(lambda: primary.run(ask, False), loop)
        self._readers = _ReplicaReaders(
            connector, self._positions, self._given_up, options, loop
        )
        self._absences = 0
        self._absence_s = 0.0  # the present one; 0: there is none
        self._until_s = 0.0
        self.mark = self._positions.mark

    @property
    def waits(self) -> int:
        return self._readers.waits

    async def run(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        """Run ``work`` on the replica; on the primary where that does not answer.

        :raises AcquireTimeout: no connection came free in time.
        :raises BackendUnavailable: the primary is not there, and what the read must
            see is not known or not on the replica.
        """
        if self._may_try():
            absences = self._absences
            try:
                result = await self._readers.run(work, snapshot)
            except _Refused as error:
                if isinstance(error, _Lost) and absences == self._absences:
                    self._leave(str(error))
            else:
                if absences == self._absences:
                    self._return()
                return result
        try:
            return await self._primary.run(work, snapshot)
        finally:
            # Of what it has seen the replica may know nothing yet.
            self.mark()

    def _may_try(self) -> bool:
        if self._absence_s:
            if self._loop.time() < self._until_s:
                return False
            # The others don't wait for what becomes of this one.
            self._until_s = self._loop.time() + self._absence_s
        return True

    def _leave(self, reason: str) -> None:
        if not self._absence_s:
            LOG.warning("reads go to the primary: %s", reason)
        self._absences += 1
        longer_s = max(self._absence_s * 2, FIRST_ABSENCE_S)
        self._absence_s = min(longer_s, LONGEST_ABSENCE_S)
        self._until_s = self._loop.time() + self._absence_s
        self._readers.turn_away(reason)

    def _given_up(self) -> None:
        """A connection was waited for in vain; the others go elsewhere at once."""
        if self._loop.time() >= self._until_s:
            self._leave("the replica gave no answer while somebody waited for it")

    def _return(self) -> None:
        if self._absence_s:
            LOG.warning("reads go to the replica again")
            self._absence_s = 0.0

    async def close(self, timeout_s: float) -> None:
        await self._readers.close(timeout_s)
        await self._positions.close()


class _ReplicaReaders(PostgresReaders):
    """Connections to the replica. A read is tried once.

    :param given_up: called when a read was cancelled that had no connection yet.
    """

    def __init__(
        self,
        connector: Connector,
        positions: Positions,
        given_up: Callable[[], None],
        options: StoreOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(connector, [], options, loop)
        self._positions = positions
        self._given_up = given_up
        # What each connection was last seen to be.
        self._seen: weakref.WeakKeyDictionary[PostgresConnection, ReplicaStatus]
        self._seen = weakref.WeakKeyDictionary()

    async def _read(self, work: Callable[[Connection], T], snapshot: bool) -> T:
        try:
            return await self._try(work, snapshot)
        except Exception as error:
            # What the primary says, or the work itself.
            if isinstance(error, StoreError):
                raise
            translated = translate(error)
            if translated is error:
                raise
            reason = error if isinstance(error, _Unfit) else translated
            # Where the connection is well, it is this read alone.
            kind = _Lost if is_lost(error) else _Refused
            raise kind(str(reason)) from error

    def turn_away(self, reason: str) -> None:
        """Let those that wait for a connection go elsewhere."""
        self._waiters.turn_away(partial(_Refused, reason))

    async def _connect(self) -> PostgresConnection:
        try:
            return await super()._connect()
        except asyncio.CancelledError:
            if not self._closed:
                self._given_up()
            raise

    async def _read_on(
        self,
        connection: PostgresConnection,
        work: Callable[[Connection], T],
        snapshot: bool,
    ) -> T:
        seen = self._seen.get(connection)
        if seen is None:
            # Earlier reads may have had another server, or this one before it was
            # started again, when it was further.
            self._positions.mark()
        needed = await self._positions.needed()
        if self._connector.is_pooled or _is_standby(connection) is None:
            await self._reach(connection, needed, within=True)
            begin = SNAPSHOT if snapshot else READ
            return await self._read_within(connection, work, "COMMIT; " + begin)
        if seen is None or not seen.has_reached(needed):
            await self._reach(connection, needed, within=False)
        try:
            result = await super()._read_on(connection, work, snapshot)
        except Exception as error:
            if not is_lost(error):
                _check_standby(connection)
            raise
        _check_standby(connection)
        return result

    async def _reach(
        self, connection: PostgresConnection, needed: ReplicaStatus, *, within: bool
    ) -> None:
        """Wait until the replica has replayed what is needed.

        :param within: be in a transaction then, so that a pooler can't change the
            server. What is read needs one of its own: this one's view may be older
            than what it has seen the replica replay.
        """
        until_s = self._loop.time() + self._options.replica_wait_s
        pause_s = FIRST_LOOK_S
        while True:
            if within:
                await connection.begin(READ)
            found = await self._look(connection)
            if not found.is_standby:
                raise _Unfit("the replica is a primary")
            if not found.is_of_same_database(needed):
                raise _Unfit("read_url leads to another database than the store's")
            self._seen[connection] = found
            if found.has_reached(needed):
                return
            if within:
                await connection.commit()
            left_s = until_s - self._loop.time()
            if left_s <= 0:
                raise _Unfit("the replica lags behind")
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, LONGEST_LOOK_S)

    async def _look(self, connection: PostgresConnection) -> ReplicaStatus:
        try:
            return await connection.run(standing)
        except Exception as error:
            if is_lost(error):
                raise
            reason = f"the replica does not say how far it is: {translate(error)}"
            raise _Unfit(reason) from error


def _check_standby(connection: PostgresConnection) -> None:
    """Refuse what was read, or was not there to be read, on a primary of its own."""
    if not _is_standby(connection):
        raise _Unfit("the replica was promoted")


def _is_standby(connection: PostgresConnection) -> bool | None:
    """Tell what the server has said last, with its answer at the latest; None: it, or
    what is between, does not tell."""
    if connection.is_closed:
        return False
    setting = getattr(connection.driver.get_settings(), "in_hot_standby", None)
    return None if setting is None else setting == "on"
