"""``store.archive``: what compactions have archived, and how it is let go."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, func, select, type_coerce

from turnstore.engine.backend import Backend
from turnstore.engine.cancellation import redeliver_cancellation
from turnstore.options import StoreOptions
from turnstore.records import CompactedStatistics
from turnstore.sql import codec
from turnstore.sql.query import Query
from turnstore.store.archive import archived
from turnstore.store.archive.purge import Purge

LOG: Final = logging.getLogger("turnstore")

DAYS_MAX: Final = 1_000_000
ROW_BYTES: Final = 300


class Archive:
    """Archived messages of every session. Reach it as ``store.archive``.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend

    async def statistics(
        self, *, project_root: str | None = None, session_id: str | None = None
    ) -> CompactedStatistics:
        """Count archived messages, and the bytes of their content and tool calls.

        What a fork shows of another session counts for the fork too, though it is
        stored once. Zeros when there are none. Cost: the archived messages.

        :param project_root: only of sessions with this one.
        :param session_id: only of this session; zeros when there is none.
        :raises InvalidArgument: a value is out of bounds.
        """
        work = partial(_count, root=_root(project_root), session=_session(session_id))
        return await self._backend.read(work)

    async def purge(
        self,
        *,
        older_than_days: int,
        project_root: str | None = None,
        session_id: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete messages that were archived long ago; return how many.

        Usage stays counted, numbers are not used again, and a compaction whose
        messages are gone can't be taken back. Forks keep what they show. A session
        whose active message is deleted keeps its id as ``active_message_id``, and its
        next message has it as parent.

        One transaction; then the space is given back to the file system step by step,
        between other writes. An error in these steps is logged, and a cancellation
        ends them and comes at the caller's next await: the count is returned, and the
        rest of the space left to the next ``admin.vacuum``.

        :param older_than_days: archived at least so many days ago, 0 to 1,000,000; 0
            means all.
        :param project_root: only of sessions with this one.
        :param session_id: only of this session; 0 when there is none.
        :param dry_run: only count.
        :raises InvalidArgument: a value is out of bounds.

        Cost: the archived messages, during which no other write is committed (on
        PostgreSQL: of its lane).
        """
        days = codec.check_integer(older_than_days, "older_than_days", 0, DAYS_MAX)
        # Of all, also what is archived until it is this call's turn.
        before = codec.now_micros() - days * codec.DAY_US if days else codec.INTEGER_MAX
        root, session = _root(project_root), _session(session_id)
        if codec.check_flag(dry_run, "dry_run"):
            return await self._backend.read(
                partial(_count_due, before=before, root=root, session=session)
            )
        deleted = await self._backend.write(
            Purge(session or "", ROW_BYTES, before, root, session)
        )
        if deleted:
            await self._give_space_back()
        return deleted

    async def _give_space_back(self) -> None:
        """Raises nothing: what was deleted is committed, and its count is due."""
        try:
            await self._backend.reclaim()
        except asyncio.CancelledError as cancellation:
            redeliver_cancellation(cancellation)
        except Exception as error:
            LOG.warning(
                "messages were purged, their space not given back: run admin.vacuum",
                exc_info=error,
            )


def _root(project_root: str | None) -> str | None:
    return codec.check_text_or_none(project_root, "project_root")


def _session(session_id: str | None) -> str | None:
    return None if session_id is None else codec.check_id(session_id, "session_id")


def _count(
    connection: Connection, root: str | None, session: str | None
) -> CompactedStatistics:
    [found] = _STATISTICS(connection, root=root, session=session)
    return found


def _count_due(
    connection: Connection, before: int, root: str | None, session: str | None
) -> int:
    values = {"before": before, "root": root, "session": session}
    return int(connection.execute(_COUNT_DUE, values).scalar_one())


_ALL: Final = archived.ALL
_STATISTICS: Final = Query(
    select(
        func.count().label("message_count"),
        func.count(_ALL.c.session_key.distinct()).label("session_count"),
        type_coerce(func.coalesce(func.sum(_ALL.c.size_bytes), 0), BigInteger).label(
            "size_bytes"
        ),
        func.min(_ALL.c.archived_at).label("oldest"),
    ),
    CompactedStatistics,
)
_COUNT_DUE: Final = (
    select(func.count())
    .select_from(_ALL)
    .where(_ALL.c.archived_at <= bindparam("before"))
)
