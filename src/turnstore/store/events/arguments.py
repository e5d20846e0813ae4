"""What callers give about events, checked and encoded, as commands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.store.events.writes import ROW_BYTES as EVENT_BYTES
from turnstore.store.events.writes import AppendEvents, EventRow


class EventFields(TypedDict, total=False):
    """What appending takes of an event, besides its type and data."""

    model: str | None
    turn_id: str | None
    created_at: datetime | None


def event_row(
    type: str,
    data: Json,
    bytes_max: int,
    *,
    model: str | None = None,
    turn_id: str | None = None,
    created_at: datetime | None = None,
) -> EventRow:
    return (
        codec.check_id(type, "type"),
        None if data is None else codec.encode(data, bytes_max),
        None if model is None else codec.check_text(model, "model"),
        None if turn_id is None else codec.check_text(turn_id, "turn_id"),
        None if created_at is None else codec.to_micros(created_at, "created_at"),
    )


def append_events(
    session_id: str,
    rows: Sequence[EventRow],
    expected_head: int | None = None,
    idempotency_key: str | None = None,
) -> AppendEvents:
    if expected_head is not None:
        expected_head = codec.check_integer(expected_head, "expected_head", 0)
    if idempotency_key is not None:
        idempotency_key = codec.check_id(idempotency_key, "idempotency_key")
    size_bytes = 0
    for row in rows:
        size_bytes += EVENT_BYTES + len(row[1] or "")
    return AppendEvents(
        codec.check_id(session_id, "session_id"),
        size_bytes,
        rows,
        expected_head,
        idempotency_key,
    )
