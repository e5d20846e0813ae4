"""steer's event store: ``domain_sessions``, ``domain_events`` and ``session_todos``.

The source is an event log only. We store the events unchanged, and replay them into
messages with their parents, tool calls with their outcomes, usage, and compactions. An
event that can't be replayed is still stored. ``config`` holds the session's own under
``session_config``; by that key an export recognises a session of this kind.
"""

from __future__ import annotations

from typing import Final

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import OutCell, Row
from turnstore.transfer.files.system import SessionWriter, SourceSession
from turnstore.transfer.rows import (
    SessionRows,
    StoredEvent,
    StoredHead,
    StoredMessage,
    StoredSession,
)
from turnstore.transfer.steer.content import message_event
from turnstore.transfer.steer.replay import EventReplay, ids_added
from turnstore.transfer.steer.rows import (
    NUMBER,
    first_time,
    model_of,
    number,
    pairs_of,
    project_root,
    read_event,
    sort_by_number,
    text_in,
    time,
    write_event,
)
from turnstore.transfer.steer.schema import DOMAIN_EVENTS, DOMAIN_SESSIONS, TODOS

PLACED: Final = (DOMAIN_SESSIONS, DOMAIN_EVENTS, TODOS)
CONFIG: Final = "session_config"
VARIANTS: Final = frozenset(
    {
        "SessionCreated",
        "SessionConfigUpdated",
        "AssistantMessageAdded",
        "UserMessageAdded",
        "ToolMessageAdded",
        "LlmUsageUpdated",
        "MessageUpdated",
        "ToolCallStarted",
        "ToolCallCompleted",
        "ToolCallFailed",
        "ApprovalRequested",
        "ApprovalDecided",
        "OperationStarted",
        "OperationCompleted",
        "OperationCancelled",
        "CompactResult",
        "ConversationCompacted",
        "WorkspaceChanged",
        "QueueUpdated",
        "Error",
        "McpServerStateChanged",
    }
)


def read(source: SourceSession, session_id: str) -> SessionRows:
    sort_by_number(source, DOMAIN_EVENTS)
    row = source[DOMAIN_SESSIONS][0] if source[DOMAIN_SESSIONS] else {}
    created_at = time(row, "created_at", first_time(source[DOMAIN_EVENTS]))
    replay = EventReplay()
    events = _events(source, created_at, replay)
    session = _session(source, session_id, row, created_at, replay)
    head = StoredHead(
        updated_at=cells.micros_of_text(row.get("updated_at")),
        last_model=cells.name(row.get("last_model")) or replay.last_model,
        active_message_id=replay.last_message_id,
    )
    for todo in list(source[TODOS]):
        text = cells.quoted(todo.get("todos_json"), source.payload_bytes_max)
        if text is None:
            source.set_aside(TODOS, todo, "no text")
        session.todo = text
    metadata = replay.created.get("metadata", replay.config.get("metadata"))
    return SessionRows(
        session=session,
        head=head,
        metadata=pairs_of(metadata, created_at),
        messages=replay.messages,
        tool_calls=replay.calls,
        events=events,
        compactions=replay.compactions,
        usage=replay.usage,
    )


def _events(source: SourceSession, at: int, replay: EventReplay) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    for row in list(source[DOMAIN_EVENTS]):
        at = time(row, "created_at", at)
        event, data = read_event(row, at, source.payload_bytes_max)
        if not event.type:
            source.set_aside(DOMAIN_EVENTS, row, "its type is no name")
            continue
        found.append(event)
        if isinstance(data, dict) and len(data) == 1:
            [(variant, inside)] = data.items()
            if isinstance(inside, dict):
                event.model = model_of(inside.get("model"))
                event.turn_id = text_in(inside, "op_id")
                replay.apply(variant, inside, event)
    source.notes.update(replay.notes)
    return found


def _session(
    source: SourceSession,
    session_id: str,
    row: Row,
    created_at: int,
    replay: EventReplay,
) -> StoredSession:
    config = codec.decode(
        cells.json_text(row.get("config_json"), source.payload_bytes_max)
    )
    if isinstance(config, dict):
        replay.config = config
    settings = replay.config
    prompt = settings.get("system_prompt")
    return StoredSession(
        id=session_id,
        agent_name=text_in(settings, "primary_agent_id") or "",
        project_root=project_root(settings.get("workspace")),
        title=cells.quoted(row.get("title"), source.payload_bytes_max),
        model=model_of(settings.get("default_model")),
        system_prompt=cells.encoded(prompt) if isinstance(prompt, str) else None,
        config=cells.encoded({CONFIG: config}),
        parent_session_id=cells.identifier(
            text_in(replay.created, "parent_session_id")
            or text_in(settings, "parent_session_id")
        ),
        created_at=created_at,
    )


def write(rows: SessionRows, writer: SessionWriter, config: Json) -> None:
    session = rows.session
    updated_at = rows.head.updated_at
    writer.add(
        DOMAIN_SESSIONS,
        1,
        {
            "created_at": cells.sqlite_time(session.created_at),
            "updated_at": cells.sqlite_time(
                session.created_at if updated_at is None else updated_at
            ),
            "config_json": None if config is None else cells.encoded(config),
            "message_count": len(rows.messages),
            "last_model": rows.head.last_model,
            "title": cells.unquoted(session.title),
        },
    )
    imported = writer.imported.events
    row_id = imported
    for event in rows.events:
        if event.seq > imported and not _is_known(event):
            # steer can't read a log with an event of another type.
            writer.note("events: of no type that steer knows")
            continue
        row_id = max(row_id, event.seq)
        _write_event(event, event.seq, writer)
    for message in _without_event(rows, writer):
        added = message_event(message)
        if added is None:
            writer.note("messages: of no role that steer's events have")
            continue
        row_id += 1
        _write_event(added, row_id, writer)
    if session.todo is not None:
        todo: dict[str, OutCell] = {
            "todos_json": cells.unquoted(session.todo),
            # The store does not know when it was set.
            "updated_at": cells.sqlite_time(session.created_at),
        }
        writer.add(TODOS, 1, todo)
    calls = [each for each in rows.tool_calls if each.seq > writer.imported.tool_calls]
    writer.note("tool_calls: only those in messages", len(calls))


def _without_event(rows: SessionRows, writer: SessionWriter) -> list[StoredMessage]:
    """Return the messages that no event has added: those added in the store."""
    added = [each for each in rows.messages if each.seq > writer.imported.messages]
    if not added:
        return []
    with_event = ids_added(rows.events)
    return [each for each in added if each.id not in with_event]


def _write_event(event: StoredEvent, row_id: int, writer: SessionWriter) -> None:
    row = write_event(event)
    row[NUMBER] = number(DOMAIN_EVENTS, row_id, writer.imported.events, writer)
    row["created_at"] = cells.sqlite_time(event.created_at)
    writer.add(DOMAIN_EVENTS, row_id, row)


def _is_known(event: StoredEvent) -> bool:
    given = codec.decode(event.data)
    if isinstance(given, dict) and len(given) == 1:
        return next(iter(given)) in VARIANTS
    return isinstance(given, str) and given == "WorkspaceChanged"
