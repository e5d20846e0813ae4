"""How far a replica has to be for a read, and how far it is.

A replica has all that was committed on the primary at one moment when it has replayed

- the log up to where the primary had written it out then, which a commit waits for;
  where commits don't, up to where it was logging; or
- the end of every transaction that had begun by then. That shows where nobody commits
  any more, and the primary has written out half of something that can wait.

Both are of a *timeline*: every promotion begins a new one. A replica that went on with
another one may be further by either and lack what the store has written.

What a read must see is not asked for after each commit. A commit leaves a *mark*, and
the first read that comes then asks the primary where it is; reads that come meanwhile
wait for that answer where it was asked for after their marks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
)

from turnstore.engine.cancellation import mark_seen


class ReplicaStatus(msgspec.Struct, frozen=True, gc=False):
    """Which database of which server system this is, and how far it is.

    ``position``: of a standby what it has replayed, of a primary what it has logged.
    ``oldest``: every transaction before it has ended. ``newest``: none from it on has.
    """

    is_standby: bool
    system: int
    database: int
    timeline: int
    position: int
    oldest: int
    newest: int

    def is_of_same_database(self, other: ReplicaStatus) -> bool:
        return self.system == other.system and self.database == other.database

    def has_reached(self, needed: ReplicaStatus) -> bool:
        return self.timeline == needed.timeline and (
            self.position >= needed.position or self.oldest >= needed.newest
        )


def standing(connection: Connection, *, is_durable: bool = True) -> ReplicaStatus:
    """Ask a server how far it is.

    :param is_durable: of a primary, what it has written out is enough.
    """
    row = connection.execute(_WRITTEN if is_durable else _LOGGED).one()
    return ReplicaStatus(
        is_standby=row.is_standby,
        system=row.system,
        database=row.database,
        timeline=int(row.timeline, 16),
        position=row.position,
        oldest=row.oldest,
        newest=row.newest,
    )


class Positions:
    """What reads must see: what this store has written and what it has read.

    :param ask: asks the primary how far it is.
    """

    def __init__(
        self,
        ask: Callable[[], Coroutine[Any, Any, ReplicaStatus]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._ask = ask
        self._loop = loop
        self._marks = 1
        self._marks_known = 0  # those that were there when ``_needed`` was asked for
        self._needed: ReplicaStatus | None = None
        self._asking: asyncio.Task[None] | None = None

    def mark(self) -> None:
        """Something was seen, or will be, that a later read must see too."""
        self._marks += 1

    async def needed(self) -> ReplicaStatus:
        """Return what a read that begins now must see. Costs nothing while there are
        no new marks.

        :raises BackendUnavailable: the primary did not say.
        """
        marks = self._marks
        while self._marks_known < marks:
            if self._asking is None:
                self._asking = self._loop.create_task(self._ask_now())
                self._asking.add_done_callback(mark_seen)
            await asyncio.shield(self._asking)
        assert self._needed is not None
        return self._needed

    async def _ask_now(self) -> None:
        marks = self._marks
        try:
            self._needed = await self._ask()
            self._marks_known = marks
        finally:
            self._asking = None

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])


def _number(value: Any) -> Any:
    return cast(cast(value, Text), BigInteger)


_is_standby: Final = func.pg_is_in_recovery()
_system: Final[Any] = func.pg_control_system().table_valued("system_identifier")
_checkpoint: Final[Any] = func.pg_control_checkpoint().table_valued("timeline_id")
_recovery: Final[Any] = func.pg_control_recovery().table_valued(
    "min_recovery_end_timeline"
)
_receiver: Final = table("pg_stat_wal_receiver", column("received_tli"))
_databases: Final = table("pg_database", column("oid"), column("datname"))
# A standby has no function that tells the timeline it replays. Its control file does,
# some time after a change; the receiver at once, to users that may see it. Both say no
# more than that the standby has gone over to it, which it does only where it has
# nothing of its own that the timeline lacks.
_replayed_timeline: Final = func.greatest(
    select(_checkpoint.c.timeline_id).scalar_subquery(),
    select(_recovery.c.min_recovery_end_timeline).scalar_subquery(),
    select(_receiver.c.received_tli).scalar_subquery(),
)


def _statement(logged: Any) -> Any:
    position = case((_is_standby, func.pg_last_wal_replay_lsn()), else_=logged)
    database = select(_databases.c.oid).where(
        _databases.c.datname == func.current_database()
    )
    return select(
        _is_standby.label("is_standby"),
        _number(select(_system.c.system_identifier).scalar_subquery()).label("system"),
        _number(database.scalar_subquery()).label("database"),
        case(
            (_is_standby, func.to_hex(_replayed_timeline)),
            else_=func.left(func.pg_walfile_name(logged), literal_column("8")),
        ).label("timeline"),
        # A standby that was just started may not know yet.
        func.coalesce(
            cast(func.pg_wal_lsn_diff(position, literal_column("'0/0'")), BigInteger),
            literal_column("0"),
        ).label("position"),
        _number(func.pg_snapshot_xmin(func.pg_current_snapshot())).label("oldest"),
        _number(func.pg_snapshot_xmax(func.pg_current_snapshot())).label("newest"),
    )


_WRITTEN: Final = _statement(func.pg_current_wal_flush_lsn())
_LOGGED: Final = _statement(func.pg_current_wal_insert_lsn())
