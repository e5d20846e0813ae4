"""The command that deletes messages which were archived long ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy import tuple_ as row_of

from turnstore.engine.commands import Command, Outcome
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.schema import compactions, messages, session_heads
from turnstore.store.archive import archived
from turnstore.store.heads import lock_keys
from turnstore.store.history import materialize, materialize_forks_of


class Purge(Command[int], frozen=True):
    """Deletes archived messages; the result is their count.

    :param before: only those archived by then, in microseconds.
    :param root: only of sessions with this project root.
    :param session: only of this session.
    """

    before: int
    root: str | None = None
    session: str | None = None

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Purge]) -> list[Outcome]:
        return [_purge(connection, each) for each in commands]


def _purge(connection: Connection, command: Purge) -> int:
    values = {
        "before": command.before,
        "root": command.root,
        "session": command.session,
    }
    # What a fork shows of others is not its to delete: it gets a copy first.
    materialize(connection, connection.execute(_DUE_FORKS, values).scalars().all())
    keys = connection.execute(_DUE_KEYS, values).scalars().all()
    if not keys:
        return 0
    # Until the locks are there others may have compacted these sessions or taken a
    # compaction back. What is due is read after, of these sessions alone.
    lock_keys(connection, keys)
    values["keys"] = codec.array(keys)
    counts = connection.execute(_DUE_COUNTS, values).all()
    materialize_forks_of(connection, keys)
    connection.execute(_MARK_PURGED, values)
    deleted = connection.execute(_DELETE_DUE, values).rowcount
    if counts:
        connection.execute(
            _COUNT_OFF, [{"key": key, "deleted": count} for key, count in counts]
        )
    return deleted


def _due(rows: Subquery) -> ColumnElement[bool]:
    return rows.c.archived_at <= bindparam("before")


_OWN: Final = archived.OWN

_DUE_FORKS: Final = (
    select(archived.SHARED.c.session_key).where(_due(archived.SHARED)).distinct()
)

_DUE_KEYS: Final = select(_OWN.c.session_key).where(_due(_OWN)).distinct()

_is_due_here = and_(_due(_OWN), is_in(_OWN.c.session_key, bindparam("keys")))

_DUE_COUNTS: Final = (
    select(_OWN.c.session_key, func.count())
    .where(_is_due_here)
    .group_by(_OWN.c.session_key)
)

_MARK_PURGED: Final = (
    update(compactions)
    .where(
        row_of(compactions.c.session_key, compactions.c.seq).in_(
            select(_OWN.c.session_key, _OWN.c.archived_by).where(_is_due_here)
        )
    )
    .values(purged=1)
)

_DELETE_DUE: Final = delete(messages).where(
    row_of(messages.c.session_key, messages.c.seq).in_(
        select(_OWN.c.session_key, _OWN.c.seq).where(_is_due_here)
    )
)

_COUNT_OFF: Final = (
    update(session_heads)
    .where(session_heads.c.session_key == bindparam("key"))
    .values(message_count=session_heads.c.message_count - bindparam("deleted"))
)
