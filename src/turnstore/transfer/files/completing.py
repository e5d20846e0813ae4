"""Fills in what a system's ``read`` leaves out of a session's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from turnstore.sql import codec
from turnstore.sql.codec import fold
from turnstore.sql.column_types import JsonText
from turnstore.sql.schema import OPEN_STATUSES
from turnstore.store.ledger import COUNTS
from turnstore.transfer.rows import PARTS, Numbered, SessionRows, usage_of, used

ROW_BYTES: Final = 300
"""About the bytes of a row without its payloads."""


def complete(rows: SessionRows) -> SessionRows:
    """Number the rows of a session, and fill in what follows from them: its usage
    ledger, its head, and columns that are copies of others."""
    series: tuple[Sequence[Numbered], ...] = (
        rows.messages,
        rows.tool_calls,
        rows.events,
        rows.compactions,
        rows.questions,
        rows.settings,
    )
    for listed in series:
        for seq, row in enumerate(listed, 1):
            row.seq = seq
    session = rows.session
    if session.title is not None:
        session.title_folded = fold(str(codec.decode(session.title)))
    for pair in rows.metadata:
        pair.created_at = session.created_at
    of_messages = [
        used(
            usage,
            message_seq=each.seq,
            agent_name=each.agent_name,
            model=each.model,
            created_at=each.created_at,
        )
        for each in rows.messages
        if (usage := usage_of(each)) is not None
    ]
    rows.usage = [*of_messages, *rows.usage]
    for seq, entry in enumerate(rows.usage, 1):
        entry.seq = seq
    _count(rows)
    return rows


def _count(rows: SessionRows) -> None:
    """Fill in the head of a session from the rows that it counts."""
    head, created_at = rows.head, rows.session.created_at
    if head.updated_at is None:
        dated: list[Numbered] = [*rows.messages, *rows.events]
        times = [each.created_at for each in dated]
        head.updated_at = max(times, default=created_at)
    head.created_at = created_at
    head.updated_at = max(head.updated_at, created_at)
    head.event_head = len(rows.events)
    head.message_head = head.message_count = len(rows.messages)
    head.tool_call_head = head.tool_call_count = len(rows.tool_calls)
    head.pending_tool_calls = sum(
        each.status in OPEN_STATUSES for each in rows.tool_calls
    )
    head.usage_head = len(rows.usage)
    for name in COUNTS:
        setattr(head, name, sum(getattr(each, name) for each in rows.usage))
    head.total_tokens = head.prompt_tokens + head.completion_tokens


def size_bytes(rows: SessionRows) -> int:
    """Return about how many bytes a session takes."""
    total = 0
    for name, table in PARTS.items():
        payloads = [
            each.name for each in table.columns if isinstance(each.type, JsonText)
        ]
        for row in rows.part(name):
            texts = [getattr(row, each) for each in payloads]
            total += ROW_BYTES + sum(len(each) for each in texts if each is not None)
    return total
