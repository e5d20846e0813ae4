"""steer's event store: ``domain_sessions``, ``domain_events`` and ``session_todos``.

The events are all there is, so they are stored as they are, and told again: messages
with their parents, tool calls with what became of them, usage, and compactions, whose
summary stands for all before it. An event that can't be told is still an event.
``config`` holds the session's, under ``session_config``; that key says that a session
is of this kind.
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
from turnstore.transfer.steer.telling import EventReplay, told_ids

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
    telling = EventReplay()
    events = _events(source, created_at, telling)
    session = _session(source, session_id, row, created_at, telling)
    head = StoredHead(
        updated_at=cells.micros_of_text(row.get("updated_at")),
        last_model=cells.name(row.get("last_model")) or telling.last_model,
        active_message_id=telling.last_message_id,
    )
    for todo in list(source[TODOS]):
        text = cells.quoted(todo.get("todos_json"), source.payload_bytes_max)
        if text is None:
            source.set_aside(TODOS, todo, "no text")
        session.todo = text
    metadata = telling.created.get("metadata", telling.config.get("metadata"))
    return SessionRows(
        session=session,
        head=head,
        metadata=pairs_of(metadata, created_at),
        messages=telling.messages,
        tool_calls=telling.calls,
        events=events,
        compactions=telling.compactions,
        usage=telling.usage,
    )


def _events(source: SourceSession, at: int, telling: EventReplay) -> list[StoredEvent]:
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
                telling.tell(variant, inside, event)
    source.notes.update(telling.notes)
    return found


def _session(
    source: SourceSession,
    session_id: str,
    row: Row,
    created_at: int,
    telling: EventReplay,
) -> StoredSession:
    config = codec.decode(
        cells.json_text(row.get("config_json"), source.payload_bytes_max)
    )
    if isinstance(config, dict):
        telling.config = config
    told = telling.config
    prompt = told.get("system_prompt")
    return StoredSession(
        id=session_id,
        agent_name=text_in(told, "primary_agent_id") or "",
        project_root=project_root(told.get("workspace")),
        title=cells.quoted(row.get("title"), source.payload_bytes_max),
        model=model_of(told.get("default_model")),
        system_prompt=cells.encoded(prompt) if isinstance(prompt, str) else None,
        config=cells.encoded({CONFIG: config}),
        parent_session_id=cells.identifier(
            text_in(telling.created, "parent_session_id")
            or text_in(told, "parent_session_id")
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
    place = imported
    for event in rows.events:
        if event.seq > imported and not _is_known(event):
            # steer can't read a log that has another one.
            writer.note("events: of no type that steer knows")
            continue
        place = max(place, event.seq)
        _write_event(event, event.seq, writer)
    for message in _untold(rows, writer):
        told = message_event(message)
        if told is None:
            writer.note("messages: of no role that steer's events have")
            continue
        place += 1
        _write_event(told, place, writer)
    if session.todo is not None:
        todo: dict[str, OutCell] = {
            "todos_json": cells.unquoted(session.todo),
            # When it was set is not known here.
            "updated_at": cells.sqlite_time(session.created_at),
        }
        writer.add(TODOS, 1, todo)
    added = [each for each in rows.tool_calls if each.seq > writer.imported.tool_calls]
    writer.note("tool_calls: only those in messages", len(added))


def _untold(rows: SessionRows, writer: SessionWriter) -> list[StoredMessage]:
    """Return the messages that no event tells of: those that were added here."""
    added = [each for each in rows.messages if each.seq > writer.imported.messages]
    if not added:
        return []
    told = told_ids(rows.events)
    return [each for each in added if each.id not in told]


def _write_event(event: StoredEvent, place: int, writer: SessionWriter) -> None:
    row = write_event(event)
    row[NUMBER] = number(DOMAIN_EVENTS, place, writer.imported.events, writer)
    row["created_at"] = cells.sqlite_time(event.created_at)
    writer.add(DOMAIN_EVENTS, place, row)


def _is_known(event: StoredEvent) -> bool:
    given = codec.decode(event.data)
    if isinstance(given, dict) and len(given) == 1:
        return next(iter(given)) in VARIANTS
    return isinstance(given, str) and given == "WorkspaceChanged"
