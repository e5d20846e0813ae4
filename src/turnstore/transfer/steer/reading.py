"""Turns rows of steer's store into rows of the store: tables ``sessions``,
``messages``, ``tool_calls`` and ``events``.

Messages keep their ids and parents, and so the branches. If no message of a session has
a parent, each is taken to follow the one before it. A session without an active message
gets its last one. Rows are ordered by steer's numbers, which start at 0. Models and
usage come from the events. ``config`` holds ``tool_config`` and ``workspace``.
"""

from __future__ import annotations

from typing import Final

from turnstore.records import Json, Role
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Row
from turnstore.transfer.files.ids import UniqueIds
from turnstore.transfer.files.system import SourceSession
from turnstore.transfer.rows import (
    SessionRows,
    StoredEvent,
    StoredHead,
    StoredMessage,
    StoredSession,
    StoredToolCall,
)
from turnstore.transfer.steer.content import Content, apply_content, read_content
from turnstore.transfer.steer.rows import (
    first_time,
    model_of,
    object_in,
    pairs_of,
    project_root,
    read_event,
    sort_by_number,
    text_in,
    time,
    usage_in,
)
from turnstore.transfer.steer.schema import (
    CALL_STATUSES,
    CALLS,
    EVENTS,
    MESSAGES,
    POLICIES,
    ROLES,
    SESSIONS,
)

PLACED: Final = (SESSIONS, MESSAGES, CALLS, EVENTS)
_STATUSES: Final = {"inactive": "idle", "active": "running"}


def read(source: SourceSession, session_id: str) -> SessionRows:
    return _Reader(source).read(session_id)


class _Reader:
    def __init__(self, source: SourceSession) -> None:
        self._source = source
        self._bytes_max = source.payload_bytes_max
        self._asking: dict[str, StoredMessage] = {}
        self._by_id: dict[str, StoredMessage] = {}

    def read(self, session_id: str) -> SessionRows:
        source = self._source
        for table in (MESSAGES, EVENTS):
            sort_by_number(source, table)
        row = source[SESSIONS][0] if source[SESSIONS] else {}
        session = self._session(session_id, row)
        messages = self._messages(session.created_at)
        active = row.get("active_message_id")
        last = messages[-1].id if messages else None
        is_there = isinstance(active, str) and active in self._by_id
        updated_at = cells.micros_of_text(row.get("updated_at"))
        head = StoredHead(
            updated_at=updated_at, active_message_id=str(active) if is_there else last
        )
        metadata = object_in(row.get("metadata"), self._bytes_max)
        return SessionRows(
            session=session,
            head=head,
            metadata=pairs_of(metadata, updated_at or session.created_at),
            messages=messages,
            tool_calls=self._calls(session.created_at),
            events=self._events(session.created_at, head),
        )

    def _session(self, session_id: str, row: Row) -> StoredSession:
        begun_at = first_time([*self._source[MESSAGES], *self._source[EVENTS]])
        status = row.get("status")
        is_known = not row or status in _STATUSES
        if not is_known:
            self._source.note("sessions.status: unknown text")
        config: dict[str, Json] = {}
        for key, column in (
            ("tool_config", "tool_config"),
            ("workspace", "workspace_config"),
        ):
            text = cells.json_text(row.get(column), self._bytes_max)
            if text is not None:
                config[key] = codec.decode(text)
        return StoredSession(
            id=session_id,
            project_root=project_root(config.get("workspace")),
            system_prompt=cells.quoted(row.get("system_prompt"), self._bytes_max),
            status=_STATUSES.get(str(status), "idle") if is_known else "unknown",
            status_raw=None if is_known else cells.name(status),
            config=cells.encoded(config) if config else None,
            tool_policy=self._policy(row, config.get("tool_config")),
            created_at=time(row, "created_at", begun_at),
        )

    def _policy(self, row: Row, tool_config: Json) -> str | None:
        """Return the tool policy. The columns win over the JSON, as in steer."""
        given = tool_config if isinstance(tool_config, dict) else {}
        approval = given.get("approval_policy")
        approval = approval if isinstance(approval, dict) else {}
        mode = approval.get("type")
        tools = approval.get("tools", approval.get("pre_approved", []))
        if "tool_policy_type" in row:
            mode = row["tool_policy_type"]
            text = cells.json_text(row.get("pre_approved_tools"), self._bytes_max)
            tools = codec.decode(text)
        if mode not in POLICIES or not isinstance(tools, list):
            return None
        if not all(isinstance(each, str) and "\x00" not in each for each in tools):
            return None
        ask = approval.get("ask_for_others") is not False
        policy = {"mode": mode, "tools": sorted(set(tools)), "ask_for_others": ask}
        return cells.encoded(policy)

    def _messages(self, created_at: int) -> list[StoredMessage]:
        rows = self._source[MESSAGES]
        ids = UniqueIds()
        found: list[StoredMessage] = []
        has_parents = any(row.get("parent_message_id") is not None for row in rows)
        for row in rows:
            created_at = time(row, "created_at", created_at)
            message = self._message(row, ids.give(row.get("id")), created_at)
            parent = row.get("parent_message_id")
            if not has_parents:
                message.parent_id = found[-1].id if found else None
            elif isinstance(parent, str) and parent in self._by_id:
                # In the store a parent is always older.
                message.parent_id = parent
            self._by_id[message.id] = message
            for call in codec.decode(message.tool_calls) or ():
                self._asking[call["id"]] = message
            found.append(message)
        return found

    def _message(self, row: Row, id: str, created_at: int) -> StoredMessage:
        role, raw = self._known(row, "role", ROLES, MESSAGES)
        message = StoredMessage(id=id, role=role, role_raw=raw, created_at=created_at)
        given = row.get("content")
        text = cells.json_text(given, self._bytes_max)
        if text is None:
            content = Content(content=cells.quoted(given, self._bytes_max))
        else:
            content = read_content(role, text)
        apply_content(message, content)
        return message

    def _calls(self, created_at: int) -> list[StoredToolCall]:
        ids = UniqueIds()
        return [
            self._call(row, ids.give(row.get("id")), created_at)
            for row in self._source[CALLS]
        ]

    def _call(self, row: Row, id: str, created_at: int) -> StoredToolCall:
        asker = self._asking.get(id)
        named = row.get("message_id")
        if isinstance(named, str) and named in self._by_id:
            asker = self._by_id[named]
        started_at = cells.micros_of_text(row.get("started_at"))
        status, raw = self._known(row, "status", CALL_STATUSES, CALLS)
        parameters = row.get("parameters")
        arguments = cells.json_text(parameters, self._bytes_max)
        if arguments is None:
            arguments = cells.quoted(parameters, self._bytes_max)
        if asker is not None:
            created_at = asker.created_at
        elif started_at is not None:
            created_at = started_at
        return StoredToolCall(
            id=id,
            call_id=cells.name(row.get("id")),
            message_id=None if asker is None else asker.id,
            name=cells.name(row.get("tool_name")) or "",
            arguments=arguments,
            kind=cells.name(row.get("kind")) or "external",
            status=status,
            status_raw=raw,
            output=cells.quoted(row.get("result"), self._bytes_max),
            result=cells.json_text(row.get("payload_json"), self._bytes_max),
            error=cells.quoted(row.get("error"), self._bytes_max),
            error_details=cells.json_text(row.get("error_json"), self._bytes_max),
            created_at=created_at,
            started_at=started_at,
            completed_at=cells.micros_of_text(row.get("completed_at")),
        )

    def _events(self, at: int, head: StoredHead) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for row in list(self._source[EVENTS]):
            at = time(row, "created_at", at)
            event, data = read_event(row, at, self._bytes_max)
            if not event.type:
                self._source.set_aside(EVENTS, row, "its type is no name")
                continue
            found.append(event)
            if isinstance(data, dict):
                self._learn(event, data)
            head.last_model = event.model or head.last_model
        return found

    def _learn(self, event: StoredEvent, data: dict[str, Json]) -> None:
        """Add to a message what only the event that completes it says."""
        event.model = model_of(data.get("model"))
        event.turn_id = text_in(data, "operation_id")
        message = self._by_id.get(text_in(data.get("message"), "id") or "")
        if event.type == "message_complete" and message is not None:
            if message.role == Role.ASSISTANT:
                message.model = event.model
                usage = usage_in(data.get("usage"))
                message.usage = None if usage is None else cells.encoded(usage)

    def _known(
        self, row: Row, column: str, known: tuple[str, ...], table: str
    ) -> tuple[str, str | None]:
        """Return a text of an enumeration, or "unknown" and the text itself."""
        cell = row.get(column)
        if cell in known:
            return str(cell), None
        self._source.note(f"{table}.{column}: unknown text")
        return "unknown", cells.name(cell)
