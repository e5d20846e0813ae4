"""The commands that compact a session, take a compaction back, and purge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
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

from turnstore import _archived, _codec
from turnstore._arrays import Insert, is_in
from turnstore._forks import settle, settle_forks_of
from turnstore._heads import Head, Heads, lock_keys
from turnstore._last_model import find_last_model
from turnstore._message_reads import Active, CompactionRow, read_compactions
from turnstore._message_writes import AppendMessages, MessageRow
from turnstore._pairing import boundary
from turnstore._rows import Query
from turnstore._selects import MESSAGE
from turnstore._tool_call_writes import open_call_ids
from turnstore.backends.base import Command, Outcome
from turnstore.errors import InvalidArgument, PendingToolCalls, SessionNotFound
from turnstore.records import Compaction, Json, Message, Role
from turnstore.schema import compactions, messages, session_heads


class Compact(Command[Compaction]):
    """Archives all but the last active messages of a session and adds a summary.

    :param row: the summary.
    """

    row: MessageRow
    preserve: int

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Compact]) -> list[Outcome]:
        return [_compact(connection, each) for each in commands]


class Uncompact(Command[Compaction | None]):
    """Takes the last compaction of a session back; the result is what it was."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Uncompact]) -> list[Outcome]:
        return [_uncompact(connection, each.session_id) for each in commands]


class Purge(Command[int]):
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


class _Head(Head):
    message_head: int
    message_count: int
    event_head: int
    pending_tool_calls: int
    active_message_id: str | None
    last_model: str | None


class _Part(msgspec.Struct, frozen=True):
    """What a compaction looks at of a message."""

    seq: int
    role: Role
    tool_calls: Json
    tool_call_id: str | None
    is_summary: bool


def _compact(connection: Connection, command: Compact) -> Outcome:
    session_id = command.session_id
    head = _HEADS.load(connection, [session_id]).get(session_id)
    if head is None:
        return SessionNotFound(session_id)
    if head.pending_tool_calls:
        return PendingToolCalls(session_id, open_call_ids(connection, head.session_key))
    parts = sorted(
        _PARTS.read(connection, session_id), key=lambda each: not each.is_summary
    )
    edge = boundary(parts, command.preserve)
    if edge:
        # An earlier summary goes whole.
        edge = max(edge, sum(each.is_summary for each in parts))
    kept = parts[edge:]
    boundary_seq = kept[0].seq if kept else head.message_head + 1
    if not edge:
        return Compaction(
            archived=0,
            summary_message=None,
            boundary_seq=boundary_seq,
            created_at=None,
        )
    earlier = read_compactions(connection, session_id)
    seq = earlier[-1].seq + 1 if earlier else 1
    now = _codec.now_micros()
    row = msgspec.structs.replace(command.row, created_at=now, summary_of=seq)
    append = AppendMessages(session_id, command.size_bytes, [row])
    [[summary]] = AppendMessages.apply(connection, [append])
    _INSERT(
        connection,
        [[head.session_key, seq, summary.seq, boundary_seq, edge, 0, row.model, now]],
    )
    return _record(CompactionRow(seq, summary.seq, boundary_seq, edge, 0, now), summary)


def _uncompact(connection: Connection, session_id: str) -> Outcome:
    head = _HEADS.load(connection, [session_id]).get(session_id)
    if head is None:
        return SessionNotFound(session_id)
    rows = read_compactions(connection, session_id)
    if not rows:
        return None
    last = rows[-1]
    if last.purged:
        return InvalidArgument(
            f"messages that the last compaction of session {session_id!r} archived "
            f"were purged: it can't be taken back"
        )
    # The summary may be a source's, and forks may show it.
    key = head.session_key
    settle(connection, [key])
    settle_forks_of(connection, [key])
    values = {"key": key, "seq": last.seq, "first": last.summary_seq}
    summaries = _SUMMARIES(connection, **values)
    connection.execute(_DELETE_SUMMARIES, values)
    connection.execute(_DELETE_COMPACTION, values)
    head.message_count -= len(summaries)
    if head.active_message_id in {each.id for each in summaries}:
        head.active_message_id = None
    if head.last_model in {each.model for each in summaries} - {None}:
        # Settled above: all that the session shows is its own.
        head.last_model = find_last_model(
            connection, key, [], head.message_head, head.event_head
        )
    _HEADS.save(connection, [head], _codec.now_micros())
    return _record(last, summaries[0] if summaries else None)


def _record(row: CompactionRow, summary: Message | None) -> Compaction:
    return Compaction(
        archived=row.archived,
        summary_message=summary,
        boundary_seq=row.boundary_seq,
        created_at=_codec.moment(row.created_at_us),
    )


def _purge(connection: Connection, command: Purge) -> int:
    values = {
        "before": command.before,
        "root": command.root,
        "session": command.session,
    }
    # What a fork shows of others is not its to delete: it gets a copy first.
    settle(connection, connection.execute(_DUE_FORKS, values).scalars().all())
    keys = connection.execute(_DUE_KEYS, values).scalars().all()
    if not keys:
        return 0
    # Until the locks are there others may have compacted these sessions or taken a
    # compaction back. What is due is read after, of these sessions alone.
    lock_keys(connection, keys)
    values["keys"] = _codec.array(keys)
    counts = connection.execute(_DUE_COUNTS, values).all()
    settle_forks_of(connection, keys)
    connection.execute(_MARK_PURGED, values)
    deleted = connection.execute(_DELETE_DUE, values).rowcount
    if counts:
        connection.execute(
            _COUNT_OFF, [{"key": key, "deleted": count} for key, count in counts]
        )
    return deleted


_HEADS: Final = Heads(
    _Head,
    session_heads.c.message_count,
    session_heads.c.active_message_id,
    session_heads.c.last_model,
)
_PARTS: Final = Active(
    select(
        messages.c.seq,
        messages.c.role,
        messages.c.tool_calls,
        messages.c.tool_call_id,
        messages.c.summary_of.is_not(None).label("is_summary"),
    ),
    _Part,
)
_INSERT: Final = Insert(
    compactions,
    compactions.c.session_key,
    compactions.c.seq,
    compactions.c.summary_seq,
    compactions.c.boundary_seq,
    compactions.c.archived,
    compactions.c.purged,
    compactions.c.model,
    compactions.c.created_at,
)
_is_summary = and_(
    messages.c.session_key == bindparam("key"),
    messages.c.seq >= bindparam("first"),
    messages.c.summary_of == bindparam("seq"),
)
_SUMMARIES: Final = Query(MESSAGE.where(_is_summary).order_by(messages.c.seq), Message)
_DELETE_SUMMARIES: Final = delete(messages).where(_is_summary)
_DELETE_COMPACTION: Final = delete(compactions).where(
    compactions.c.session_key == bindparam("key"),
    compactions.c.seq == bindparam("seq"),
)


def _due(rows: Subquery) -> ColumnElement[bool]:
    return rows.c.archived_at <= bindparam("before")


_OWN: Final = _archived.OWN
_DUE_FORKS: Final = (
    select(_archived.SHARED.c.session_key).where(_due(_archived.SHARED)).distinct()
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
