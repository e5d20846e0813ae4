"""The command that forks a session.

A fork is made of a few rows, however long the history is: it names the rows that it
shows of its parent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    bindparam,
    func,
    literal,
    select,
)

from turnstore.engine.commands import Command, Outcome, Touched
from turnstore.errors import InvalidArgument, SessionExists, SessionNotFound
from turnstore.records import Session
from turnstore.sql import codec
from turnstore.sql.bulk import Insert, copying
from turnstore.sql.schema import (
    compactions,
    fork_sources,
    messages,
    session_metadata,
    sessions,
)
from turnstore.store.heads import INSERT_HEADS, Head, HeadRow, Heads, find_keys
from turnstore.store.history import Source, find_sources, pieces
from turnstore.store.messages.last_model import find_last_model
from turnstore.store.messages.reads import Range, list_snapshot
from turnstore.store.messages.writes import find_messages
from turnstore.store.sessions.reads import read_sessions


class ForkSession(Command[Session], frozen=True):
    """Forks a session; the result is the fork's record.

    :param upto_message: the last message shown; None for all. ``upto_event`` likewise.
    """

    new_id: str
    upto_message: int | None = None
    upto_event: int | None = None

    @property
    def session_ids(self) -> Collection[str]:
        return self.session_id, self.new_id

    @staticmethod
    def apply(connection: Connection, commands: Sequence[ForkSession]) -> list[Outcome]:
        return [_fork(connection, each) for each in commands]


class _SourceRow(Source, frozen=True, kw_only=True):
    """A row of ``fork_sources``."""

    session_key: int
    position: int


class _Parent(Head):
    message_head: int
    message_count: int
    event_head: int
    active_message_id: str | None
    last_model: str | None
    user_id: str | None


def _fork(connection: Connection, command: ForkSession) -> Outcome:
    parent = _PARENTS.load(connection, [command.session_id]).get(command.session_id)
    if parent is None:
        return SessionNotFound(command.session_id)
    upto_message = _upto(command.upto_message, parent.message_head)
    upto_event = _upto(command.upto_event, parent.event_head)
    if upto_message is None or upto_event is None:
        return InvalidArgument(
            f"session {command.session_id!r} has {parent.message_head} messages and "
            f"{parent.event_head} events: fork at one of them, or at 0"
        )
    if find_keys(connection, [command.new_id]):
        return SessionExists(command.new_id)
    now = codec.now_micros()
    values = {"parent": parent.session_key, "id": command.new_id, "now": now}
    connection.execute(_COPY_SESSION, values)
    key = find_keys(connection, [command.new_id])[command.new_id]
    sources = find_sources(connection, command.session_id)
    _insert_head(connection, key, command, parent, sources, upto_message, upto_event)
    values = {"key": key, "parent": parent.session_key, "now": now}
    connection.execute(_COPY_METADATA, values)
    connection.execute(_COPY_COMPACTIONS, values | {"upto": upto_message})
    _insert_sources(connection, key, parent, sources, upto_message, upto_event)
    session = read_sessions(connection, {command.new_id: key})[command.new_id]
    return Touched(session, command.new_id)


def _upto(wanted: int | None, head: int) -> int | None:
    if wanted is None:
        return head
    return wanted if wanted <= head else None


def _insert_head(
    connection: Connection,
    key: int,
    command: ForkSession,
    parent: _Parent,
    sources: Sequence[Source],
    upto_message: int,
    upto_event: int,
) -> None:
    count = parent.message_count
    active, model = parent.active_message_id, parent.last_model
    if upto_message < parent.message_head:
        active = _active(connection, command.session_id, parent, upto_message)
        # Without gaps in the numbers nothing needs to be counted.
        if count == parent.message_head:
            count = upto_message
        else:
            count = _count(connection, parent.session_key, sources, upto_message)
    if (upto_message, upto_event) != (parent.message_head, parent.event_head):
        # One that was never named is not looked for.
        if model is not None:
            model = find_last_model(
                connection, parent.session_key, sources, upto_message, upto_event
            )
    [created_at] = connection.execute(_CREATED_AT, {"key": key}).scalars()
    row = HeadRow(
        session_key=key,
        created_at=created_at,
        updated_at=created_at,
        message_head=upto_message,
        message_count=count,
        event_head=upto_event,
        last_model=model,
        active_message_id=active,
        user_id=parent.user_id,
    )
    INSERT_HEADS(connection, [row])


def _active(
    connection: Connection, session_id: str, parent: _Parent, upto: int
) -> str | None:
    """Return the parent's active message where the fork has it, else the newest."""
    active = parent.active_message_id
    if active is not None:
        place = (parent.session_key, active)
        if find_messages(connection, {place}).get(place, upto + 1) <= upto:
            return active
    wanted = Range(
        session_id=session_id, before=upto + 1, count=1, newest=True, which="spoken"
    )
    newest = list_snapshot(connection, wanted)
    return newest[0].id if newest else None


def _count(
    connection: Connection, key: int, sources: Sequence[Source], upto: int
) -> int:
    return sum(
        connection.execute(
            _COUNT, {"key": piece, "after": after, "upto": last}
        ).scalar_one()
        for piece, after, last in pieces("message", key, sources, upto)
    )


def _insert_sources(
    connection: Connection,
    key: int,
    parent: _Parent,
    sources: Sequence[Source],
    upto_message: int,
    upto_event: int,
) -> None:
    """Show what the parent shows, and the parent's own rows, up to the point."""
    own = Source(
        source_key=parent.session_key,
        message_after=max((each.message_upto for each in sources), default=0),
        message_upto=parent.message_head,
        event_after=max((each.event_upto for each in sources), default=0),
        event_upto=parent.event_head,
    )
    rows: list[_SourceRow] = []
    for source in [*sources, own]:
        row = _SourceRow(
            session_key=key,
            position=len(rows) + 1,
            source_key=source.source_key,
            message_after=source.message_after,
            message_upto=min(source.message_upto, upto_message),
            event_after=source.event_after,
            event_upto=min(source.event_upto, upto_event),
        )
        if row.message_upto > row.message_after or row.event_upto > row.event_after:
            rows.append(row)
    _INSERT_SOURCES(connection, rows)


_PARENTS: Final = Heads(_Parent)
_now = bindparam("now", type_=BigInteger)
_key = bindparam("key", type_=BigInteger)
_COPY_SESSION: Final = copying(
    sessions,
    sessions.c.session_key == bindparam("parent"),
    # The key is the database's to give; the rest is how the parent's run went.
    without=(
        sessions.c.session_key,
        sessions.c.status_raw,
        sessions.c.result,
        sessions.c.error,
        sessions.c.ended_at,
    ),
    id=bindparam("id", type_=Text),
    status=literal("idle"),
    parent_session_id=sessions.c.id,
    created_at=_now,
)
_CREATED_AT: Final = select(sessions.c.created_at).where(
    sessions.c.session_key == bindparam("key")
)
_INSERT_SOURCES: Final = Insert(fork_sources, _SourceRow)
_COPY_METADATA: Final = copying(
    session_metadata,
    session_metadata.c.session_key == bindparam("parent"),
    session_key=_key,
    created_at=_now,
    updated_at=_now,
)
_COPY_COMPACTIONS: Final = copying(
    compactions,
    compactions.c.session_key == bindparam("parent"),
    compactions.c.summary_seq <= bindparam("upto"),
    session_key=_key,
)
_COUNT: Final = (
    select(func.count())
    .select_from(messages)
    .where(
        messages.c.session_key == bindparam("key"),
        messages.c.seq > bindparam("after"),
        messages.c.seq <= bindparam("upto"),
    )
)
