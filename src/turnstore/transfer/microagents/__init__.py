"""microagents' SQLite files: one table ``events`` of JSON-RPC notifications.

Each row becomes an event: ``type`` is the method of the notification, ``data`` its
whole payload unchanged. ``reading`` also replays the events into messages and tool
calls. An export writes the events, and makes events of the messages that were added in
the store. Usage that a provider measured becomes the session's usage; estimates stay in
the events.

A payload that is no notification becomes an event of type ``unknown``, with the payload
as its data if that is JSON.

``turnstore.transfer`` imports ``SYSTEM`` from here. Code here only converts rows: it
touches neither a file nor a store.
"""

from __future__ import annotations

from typing import Any, Final

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import MILLISECOND, Row
from turnstore.transfer.files.system import (
    SessionWriter,
    SourceSession,
    System,
    Table,
    linked,
)
from turnstore.transfer.microagents.reading import EventReplay, Notification
from turnstore.transfer.microagents.writing import write_messages
from turnstore.transfer.rows import SessionRows, StoredEvent, StoredSession

EVENTS: Final = "events"
METHODS: Final = frozenset(
    {
        "session.init",
        "session.stop",
        "session.fork",
        "user.prompt.submit",
        "stream.delta",
        "tool.call",
        "tool.any_call",
        "tool.result",
        "skill.load",
        "assistant.response",
        "assistant.task",
    }
)


def session_id(source: SourceSession) -> str | None:
    return cells.identifier(source.id) or cells.derived_id("microagents", source.id)


def read(source: SourceSession, session_id: str) -> SessionRows:
    session = StoredSession(id=session_id, created_at=0)
    replay = EventReplay(session)
    events: list[StoredEvent] = []
    before: int | None = None
    for row in source[EVENTS]:
        created_at = cells.to_micros(row.get("created_at"), MILLISECOND)
        if created_at is None:
            created_at = before or 0
        before = created_at
        event, notification = _event(source, row, created_at)
        events.append(event)
        if notification is not None:
            replay.apply(Notification(str(row["id"]), *notification, created_at))
            if event.type == "assistant.response":
                event.model = session.model
    session.created_at = min(each.created_at for each in events)
    rows = linked(replay.rows())
    rows.events = events
    rows.head.last_model = session.model
    return rows


def _event(
    source: SourceSession, row: Row, created_at: int
) -> tuple[StoredEvent, tuple[str, dict[str, Any]] | None]:
    """Return a row as an event, with the method and the parameters if it has them."""
    data = cells.json_text(row.get("payload"), source.payload_bytes_max)
    value = codec.decode(data)
    event = StoredEvent(type="unknown", data=data, created_at=created_at)
    found = _notification(value)
    if found is None:
        how = "no JSON" if data is None else "no notification"
        source.note(f"{EVENTS}.payload: {how}")
        kind = value.get("type") if isinstance(value, dict) else None
        event.type = (
            cells.identifier(kind if isinstance(kind, str) else None) or "unknown"
        )
        return event, None
    event.type, params = found
    turn_id = params.get("turn_id")
    event.turn_id = cells.name(turn_id if isinstance(turn_id, str) else None)
    if event.type not in METHODS:
        source.note(f"{EVENTS}.payload: unknown method")
    return event, found


def _notification(value: Json) -> tuple[str, dict[str, Any]] | None:
    """Return the method and the parameters of a JSON-RPC notification."""
    if not isinstance(value, dict) or "jsonrpc" not in value:
        return None
    method, params = value.get("method"), value.get("params")
    if (
        isinstance(method, str)
        and cells.identifier(method)
        and isinstance(params, dict)
    ):
        return method, params
    return None


def write(rows: SessionRows, writer: SessionWriter) -> None:
    if _write_events(rows, writer):
        # Whoever appended notifications has appended those of the messages too.
        return
    if writer.imported.events and len(rows.messages) <= writer.imported.messages:
        return
    row_id = max((event.seq for event in rows.events), default=0)
    for payload, created_at in write_messages(rows, writer):
        row_id += 1
        created_ms = cells.count_of(created_at, MILLISECOND)
        writer.add(EVENTS, row_id, {"payload": payload, "created_at": created_ms})
    for name in ("questions", "settings", "compactions", "metadata"):
        writer.note(f"{name}: no such event", len(getattr(rows, name)))


def _write_events(rows: SessionRows, writer: SessionWriter) -> bool:
    """Write the events; return whether notifications were added after the import."""
    is_added = False
    for event in rows.events:
        if event.seq > writer.imported.events:
            if _notification(codec.decode(event.data)) is None:
                writer.note("events: no notifications of the protocol")
                continue
            is_added = True
        writer.add(
            EVENTS,
            event.seq,
            {
                "payload": "null" if event.data is None else event.data,
                "created_at": cells.count_of(event.created_at, MILLISECOND),
            },
        )
    return is_added


SYSTEM: Final = System(
    name="microagents",
    tables=(
        Table(
            name=EVENTS,
            session="session_id",
            columns=frozenset({"id", "session_id", "payload", "created_at"}),
            key="id",
        ),
    ),
    required=frozenset({EVENTS}),
    immutable=("id", "session_id", "payload", "created_at"),
    schema=(
        """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at INTEGER NOT NULL
    )""",
        "CREATE INDEX idx_events_session_id ON events (session_id)",
    ),
    pragmas={"user_version": 1, "journal_mode": "wal"},
    holds=frozenset({"messages", "tool_calls", "events"}),
    session_id=session_id,
    read=read,
    write=write,
)
