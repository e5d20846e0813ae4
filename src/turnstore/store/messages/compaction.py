"""The commands that compact a session and take a compaction back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    literal_column,
    select,
)

from turnstore.engine.commands import Command, Outcome
from turnstore.errors import InvalidArgument, PendingToolCalls, SessionNotFound
from turnstore.records import Compaction, Json, Message, Role
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import Insert
from turnstore.sql.schema import (
    IS_OPEN,
    compactions,
    messages,
    session_heads,
    tool_calls,
)
from turnstore.store.heads import Head, Heads
from turnstore.store.history import materialize, materialize_forks_of
from turnstore.store.messages.last_model import find_last_model
from turnstore.store.messages.pairing import boundary, branch
from turnstore.store.messages.reads import Active, CompactionRow, read_compactions
from turnstore.store.messages.writes import AppendMessages, MessageRow
from turnstore.store.selects import MESSAGE


class Compact(Command[Compaction], frozen=True):
    """Archives all but the last active messages of a session and adds a summary.

    :param row: the summary.
    """

    row: MessageRow
    preserve: int

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Compact]) -> list[Outcome]:
        return [_compact(connection, each) for each in commands]


class Uncompact(Command[Compaction | None], frozen=True):
    """Takes the last compaction of a session back; the result is what it was."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Uncompact]) -> list[Outcome]:
        return [_uncompact(connection, each.session_id) for each in commands]


class _Head(Head):
    message_head: int
    message_count: int
    event_head: int
    pending_tool_calls: int
    active_message_id: str | None
    last_model: str | None


class _Part(msgspec.Struct, frozen=True):
    """What a compaction looks at of a message; the content only if it has blocks of
    tools."""

    seq: int
    id: str
    parent_id: str | None
    role: Role
    content: Json
    tool_calls: Json
    tool_call_id: str | None
    is_summary: bool


def _compact(connection: Connection, command: Compact) -> Outcome:
    session_id = command.session_id
    head = _HEADS.load(connection, [session_id]).get(session_id)
    if head is None:
        return SessionNotFound(session_id)
    if head.pending_tool_calls:
        return PendingToolCalls(
            session_id, _open_call_ids(connection, head.session_key)
        )
    active = _PARTS.read(connection, session_id)
    boundary_seq, archived = _archiving(active, head, command.preserve)
    if not archived:
        return Compaction(
            archived=0,
            summary_message=None,
            boundary_seq=boundary_seq,
            created_at=None,
        )
    earlier = read_compactions(connection, session_id)
    seq = earlier[-1].seq + 1 if earlier else 1
    now = codec.now_micros()
    row = msgspec.structs.replace(command.row, created_at=now, summary_of=seq)
    append = AppendMessages(session_id, command.size_bytes, [row])
    [[summary]] = AppendMessages.apply(connection, [append])
    made = CompactionRow(
        session_key=head.session_key,
        seq=seq,
        summary_seq=summary.seq,
        boundary_seq=boundary_seq,
        archived=archived,
        model=row.model,
        created_at=now,
    )
    _INSERT(connection, [made])
    return _record(made, summary)


def _archiving(active: list[_Part], head: _Head, preserve: int) -> tuple[int, int]:
    """Return the seq of the first message that stays, and how many are archived.

    :param active: the active messages of all branches, by seq.
    """
    line = branch(active, head.active_message_id)
    summaries = sum(each.is_summary for each in line)
    said = [each for each in active if not each.is_summary]
    seqs = [each.seq for each in said]
    edge = len(line) - preserve
    # As few as possible of other branches: none that is newer than what goes of this.
    first = bisect_right(seqs, line[edge - 1].seq) if edge > summaries else 0
    first = boundary(said, first)
    goes = edge > 0 and (summaries > 0 or line[0].seq in seqs[:first])
    boundary_seq = seqs[first] if first < len(seqs) else head.message_head + 1
    # An earlier summary goes whole.
    return boundary_seq, summaries + first if goes else 0


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
    materialize(connection, [key])
    materialize_forks_of(connection, [key])
    values = {"key": key, "seq": last.seq, "first": last.summary_seq}
    summaries = _SUMMARIES(connection, **values)
    connection.execute(_DELETE_SUMMARIES, values)
    connection.execute(_DELETE_COMPACTION, values)
    head.message_count -= len(summaries)
    if head.active_message_id in {each.id for each in summaries}:
        head.active_message_id = None
    if head.last_model in {each.model for each in summaries} - {None}:
        # Materialized above: all that the session shows is its own.
        head.last_model = find_last_model(
            connection, key, [], head.message_head, head.event_head
        )
    _HEADS.save(connection, [head], codec.now_micros())
    return _record(last, summaries[0] if summaries else None)


def _open_call_ids(connection: Connection, session_key: int) -> list[str]:
    """Return the ids of a session's open tool calls, oldest first."""
    return list(connection.execute(_OPEN_CALLS, {"key": session_key}).scalars())


def _record(row: CompactionRow, summary: Message | None) -> Compaction:
    return Compaction(
        archived=row.archived,
        summary_message=summary,
        boundary_seq=row.boundary_seq,
        created_at=codec.from_micros(row.created_at),
    )


_HEADS: Final = Heads(
    _Head,
    session_heads.c.message_count,
    session_heads.c.active_message_id,
    session_heads.c.last_model,
)
# A list, as encoded, with a block of type "tool_use" or "tool_result" in it.
_has_blocks = and_(
    messages.c.content.like(literal_column("'[%'")),
    messages.c.content.like(literal_column("'%\"tool#_%'"), escape="#"),
)
_PARTS: Final = Active(
    select(
        messages.c.seq,
        messages.c.id,
        messages.c.parent_id,
        messages.c.role,
        case((_has_blocks, messages.c.content)).label("content"),
        messages.c.tool_calls,
        messages.c.tool_call_id,
        messages.c.summary_of.is_not(None).label("is_summary"),
    ),
    _Part,
)
_INSERT: Final = Insert(compactions, CompactionRow)
_is_summary = and_(
    messages.c.session_key == bindparam("key"),
    messages.c.seq >= bindparam("first"),
    messages.c.summary_of == bindparam("seq"),
)
_SUMMARIES: Final = BoundedQuery(
    MESSAGE.where(_is_summary).order_by(messages.c.seq), Message
)
_DELETE_SUMMARIES: Final = delete(messages).where(_is_summary)
_DELETE_COMPACTION: Final = delete(compactions).where(
    compactions.c.session_key == bindparam("key"),
    compactions.c.seq == bindparam("seq"),
)

_OPEN_CALLS: Final = (
    select(tool_calls.c.id)
    .where(tool_calls.c.session_key == bindparam("key"), IS_OPEN)
    .order_by(tool_calls.c.seq)
)
