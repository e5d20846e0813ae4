"""Turns the rows of koda's tables into rows of the store."""

from __future__ import annotations

from typing import Any, Final

from turnstore.records import Json, Role, Usage
from turnstore.sql import codec
from turnstore.store.messages.pairing import OpenCalls
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Cell, Row
from turnstore.transfer.files.ids import UniqueIds
from turnstore.transfer.files.system import SourceSession
from turnstore.transfer.koda.compactions import find_compactions
from turnstore.transfer.koda.schema import (
    EVENTS,
    MESSAGES,
    METADATA,
    SESSIONS,
    TODO_KEY,
    TOKENS,
    UNPLACED,
)
from turnstore.transfer.rows import (
    SessionRows,
    StoredEvent,
    StoredHead,
    StoredMessage,
    StoredMetadata,
    StoredSession,
    StoredToolCall,
)

ROLES: Final = ("system", "user", "assistant", "tool")
TOKENS_MAX: Final = 10**12

_UNANSWERED: Final = cells.encoded("unanswered")


def read(source: SourceSession, session_id: str) -> SessionRows:
    return _Reader(source).read(session_id)


class _Reader:
    def __init__(self, source: SourceSession) -> None:
        self._source = source
        self._bytes_max = source.payload_bytes_max
        self._ids = UniqueIds()
        self._calls: list[StoredToolCall] = []
        self._open: OpenCalls[StoredToolCall | None] = OpenCalls()

    def read(self, session_id: str) -> SessionRows:
        source = self._source
        for table in UNPLACED:
            for row in list(source[table]):
                source.set_aside(table, row, "no place of its own")
        accessed_at = self._accessed_at()
        session = self._session(session_id, accessed_at)
        metadata = self._metadata(session)
        at = session.created_at
        messages: list[StoredMessage] = []
        for row in source[MESSAGES]:
            at = _time(row, "created_at", at)
            messages.append(self._message(row, at))
        found = find_compactions(source[MESSAGES], messages)
        if found.without_summary:
            reason = "messages.compacted_at: of no compaction with a summary"
            source.notes[reason] += found.without_summary
        parent: str | None = None
        for message in messages:
            if message.summary_of is None:
                message.parent_id, parent = parent, message.id
        return SessionRows(
            session=session,
            head=StoredHead(updated_at=accessed_at, active_message_id=parent),
            metadata=metadata,
            messages=messages,
            tool_calls=self._calls,
            events=self._events(session.created_at),
            compactions=found.compactions,
        )

    def _accessed_at(self) -> int | None:
        for row in self._source[SESSIONS]:
            return cells.micros_of_text(row.get("last_accessed_at"))
        return None

    def _session(self, session_id: str, accessed_at: int | None) -> StoredSession:
        rows = self._source[SESSIONS]
        for row in rows[1:]:  # NULL is no key
            self._source.set_aside(SESSIONS, row, "another row with its id")
        if not rows:
            self._source.note("sessions: no row for its messages")
        row = rows[0] if rows else {}
        mode = row.get("mode")
        return StoredSession(
            id=session_id,
            agent_name=cells.name(row.get("agent_name")) or "",
            project_root=cells.name(row.get("project_root")),
            title=cells.quoted(row.get("title"), self._bytes_max),
            config=cells.encoded({"mode": mode}) if isinstance(mode, str) else None,
            created_at=_time(row, "created_at", self._first_time(accessed_at)),
        )

    def _first_time(self, otherwise: int | None) -> int:
        """Return when a session began, if its own row does not say so."""
        for row in self._source[MESSAGES]:
            found = cells.micros_of_text(row.get("created_at"))
            if found is not None:
                return found
        return otherwise or 0

    def _metadata(self, session: StoredSession) -> list[StoredMetadata]:
        """Return the metadata, and move the todo list to the session.

        The row of the todo list becomes the last one, as ``write`` gives it.
        """
        found: list[StoredMetadata] = []
        todo: list[Row] = []
        for row in list(self._source[METADATA]):
            key = cells.identifier(row.get("key"))
            value = cells.quoted(row.get("value"), self._bytes_max)
            if key is None or value is None:
                self._source.set_aside(METADATA, row, "no text")
            elif key == TODO_KEY:
                session.todo = value
                todo.append(row)
            else:
                at = _time(row, "updated_at", session.created_at)
                found.append(StoredMetadata(key=key, value=value, updated_at=at))
        self._source[METADATA].sort(key=lambda row: row in todo)
        return found

    def _message(self, row: Row, created_at: int) -> StoredMessage:
        role = row.get("role")
        is_known = role in ROLES
        if not is_known:
            self._source.note("messages.role: unknown text")
        message = StoredMessage(
            id=self._ids.give(row.get("id")),
            role=str(role) if is_known else "unknown",
            role_raw=None if is_known else cells.name(role),
            content=cells.quoted(row.get("content"), self._bytes_max),
            tool_calls=_chat_calls(row.get("tool_calls"), self._bytes_max),
            tool_call_id=cells.name(row.get("tool_call_id")),
            agent_name=cells.name(row.get("agent_name")),
            usage=_usage(row),
            created_at=created_at,
        )
        if message.role == Role.ASSISTANT:
            self._ask(message)
        elif message.role == Role.TOOL:
            self._answer(message)
        return message

    def _ask(self, message: StoredMessage) -> None:
        asked: list[tuple[str, StoredToolCall | None]] = []
        for at, given in enumerate(codec.decode(message.tool_calls) or (), 1):
            call_id = given.get("id")
            if not isinstance(call_id, str):
                continue
            call = self._call(message, at, given)
            asked.append((call_id, call))
            if call is not None:
                self._calls.append(call)
        self._open.ask(asked)

    def _call(
        self, message: StoredMessage, at: int, given: dict[str, Any]
    ) -> StoredToolCall | None:
        function = given.get("function")
        if not isinstance(function, dict):
            return None
        name = cells.name(function.get("name"))
        if name is None:
            return None
        arguments = function.get("arguments")
        return StoredToolCall(
            id=f"{message.id}.{at}",
            call_id=cells.name(given["id"]),
            message_id=message.id,
            name=name,
            arguments=cells.json_text(arguments, self._bytes_max)
            or cells.encoded(arguments),
            status="failed",
            error=_UNANSWERED,
            created_at=message.created_at,
        )

    def _answer(self, message: StoredMessage) -> None:
        call = self._open.answer(message.tool_call_id)
        if call is not None:
            call.status, call.error = "completed", None
            call.output = message.content
            call.completed_at = message.created_at

    def _events(self, at: int) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for row in list(self._source[EVENTS]):
            kind = cells.identifier(row.get("kind"))
            if kind is None:
                self._source.set_aside(EVENTS, row, "its kind is no name")
                continue
            at = _time(row, "created_at", at)
            payload = row.get("payload")
            data = cells.json_text(payload, self._bytes_max)
            if data is None:
                data = cells.quoted(payload, self._bytes_max)
            found.append(StoredEvent(type=kind, data=data, created_at=at))
        return found


def _time(row: Row, column: str, otherwise: int) -> int:
    found = cells.micros_of_text(row.get(column))
    return otherwise if found is None else found


def _usage(row: Row) -> str | None:
    """Return a message's tokens, encoded, if it has one of the first two counts."""
    counts = {
        name: count
        for name in TOKENS
        if isinstance(count := row.get(name), int) and 0 <= count <= TOKENS_MAX
    }
    if "prompt_tokens" not in counts and "completion_tokens" not in counts:
        return None
    return cells.encoded(Usage(**counts))


def _chat_calls(cell: Cell, bytes_max: int) -> str | None:
    """Return calls in chat format, or None if they are not a list of objects."""
    given = codec.decode(cells.json_text(cell, bytes_max))
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        return None
    return cells.encoded([_chat_call(each) for each in given])


def _chat_call(given: dict[str, Any]) -> dict[str, Json]:
    key = "function_name" if "function_name" in given else "name"
    if key not in given or {"type", "function"} & given.keys():
        return given
    rest = {
        name: value
        for name, value in given.items()
        if name not in ("id", key, "arguments")
    }
    function = {"name": given[key], "arguments": given.get("arguments")}
    return {"id": given.get("id"), "type": "function", "function": function, **rest}
