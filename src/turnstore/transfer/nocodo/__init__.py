"""nocodo's SQLite files: tables ``agent_sessions``, ``agent_messages``,
``agent_tool_calls``, ``project_requirements_qna`` and ``project_settings``.

nocodo's times are whole seconds, and its ids are integers. The id of a session in the
store is a digest of the columns that never change, so that a second import finds the
session and sessions of two files have different ids. Messages and tool calls keep their
ids as text. The text of ``error_details`` becomes a tool call's ``error``. A setting of
type ``password`` becomes a secret one.

``turnstore.transfer`` imports ``SYSTEM`` from here. Code here only converts rows: it
touches neither a file nor a store.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import SECOND, Cell, OutCell, Row
from turnstore.transfer.files.system import (
    SessionWriter,
    SourceSession,
    System,
    Table,
    linked,
)
from turnstore.transfer.nocodo.schema import (
    CALL_STATUSES,
    CALLS,
    MESSAGES,
    QUESTIONS,
    ROLES,
    SCHEMA,
    SESSION_STATUSES,
    SESSIONS,
    SETTINGS,
)
from turnstore.transfer.rows import (
    SessionRows,
    StoredHead,
    StoredMessage,
    StoredQuestion,
    StoredSession,
    StoredSetting,
    StoredToolCall,
)

IMMUTABLE: Final = (
    "id",
    "agent_name",
    "provider",
    "model",
    "system_prompt",
    "user_prompt",
    "config",
    "started_at",
)
# The nearest statuses that nocodo has.
_SESSION_STATUS: Final = {"idle": "waiting_for_user_input", "interrupted": "failed"}
_CALL_STATUS: Final = {"approved": "pending", "denied": "failed"}
_NO_CONFIG: Final = "null"


def session_id(source: SourceSession) -> str | None:
    rows = source[SESSIONS]
    if not rows:
        return None
    known_by = [cells.pack(rows[0].get(column)) for column in IMMUTABLE]
    digest = hashlib.sha256(msgspec.json.encode(known_by)).hexdigest()
    return f"nocodo-{digest[:32]}"


def read(source: SourceSession, session_id: str) -> SessionRows:
    return _Reader(source).read(session_id)


class _Reader:
    def __init__(self, source: SourceSession) -> None:
        self._source = source
        self._bytes_max = source.payload_bytes_max
        self._messages: set[str] = set()
        self._calls: set[str] = set()
        self._started_at = 0

    def read(self, session_id: str) -> SessionRows:
        source = self._source
        row = source[SESSIONS][0]
        session = self._session(session_id, row)
        for name in (MESSAGES, CALLS):
            for row in [each for each in source[name] if "id" not in each]:
                source.set_aside(name, row, "no column id")
        self._messages = {str(row["id"]) for row in source[MESSAGES]}
        self._calls = {str(row["id"]) for row in source[CALLS]}
        rows = SessionRows(
            session=session,
            head=StoredHead(last_model=cells.name(row.get("model")) or None),
            messages=[self._message(row) for row in source[MESSAGES]],
            tool_calls=[self._call(row) for row in source[CALLS]],
            questions=[self._question(row) for row in source[QUESTIONS]],
            settings=[self._setting(row) for row in source[SETTINGS]],
        )
        times = [
            session.ended_at,
            *(each.created_at for each in rows.messages),
            *(each.completed_at or each.created_at for each in rows.tool_calls),
        ]
        rows.head.updated_at = max(
            (each for each in times if each is not None), default=None
        )
        return linked(rows)

    def _session(self, session_id: str, row: Row) -> StoredSession:
        self._started_at = cells.to_micros(row.get("started_at"), SECOND) or 0
        status, raw = self._known(row, "status", SESSION_STATUSES, SESSIONS)
        config = self._json(row, "config")
        return StoredSession(
            id=session_id,
            agent_name=cells.name(row.get("agent_name")) or "",
            project_root=_project_root(config),
            provider=cells.name(row.get("provider")),
            model=cells.name(row.get("model")),
            system_prompt=self._text(row, "system_prompt"),
            user_prompt=self._text(row, "user_prompt"),
            config=config,
            status=status,
            status_raw=raw,
            result=self._text(row, "result"),
            error=self._text(row, "error"),
            created_at=self._started_at,
            ended_at=cells.to_micros(row.get("ended_at"), SECOND),
        )

    def _message(self, row: Row) -> StoredMessage:
        role, raw = self._known(row, "role", ROLES, MESSAGES)
        return StoredMessage(
            id=str(row["id"]),
            role=role,
            role_raw=raw,
            content=self._text(row, "content"),
            created_at=self._created_at(row),
        )

    def _call(self, row: Row) -> StoredToolCall:
        status, raw = self._known(row, "status", CALL_STATUSES, CALLS)
        message_id = str(row.get("message_id"))
        return StoredToolCall(
            id=str(row["id"]),
            call_id=cells.name(row.get("tool_call_id")),
            message_id=message_id if message_id in self._messages else None,
            name=cells.name(row.get("tool_name")) or "",
            arguments=self._json(row, "request"),
            result=self._json(row, "response"),
            status=status,
            status_raw=raw,
            error=self._text(row, "error_details"),
            execution_time_ms=cells.integer(row.get("execution_time_ms")),
            created_at=self._created_at(row),
            completed_at=cells.to_micros(row.get("completed_at"), SECOND),
        )

    def _question(self, row: Row) -> StoredQuestion:
        return StoredQuestion(
            tool_call_id=self._asker(row),
            question_id=cells.name(row.get("question_id")) or "",
            question=self._text(row, "question") or '""',
            description=self._text(row, "description"),
            response_type=cells.name(row.get("response_type")) or "",
            answer=self._text(row, "answer"),
            created_at=self._created_at(row),
            answered_at=cells.to_micros(row.get("answered_at"), SECOND),
        )

    def _setting(self, row: Row) -> StoredSetting:
        kind = row.get("setting_type")
        return StoredSetting(
            tool_call_id=self._asker(row),
            setting_key=cells.name(row.get("setting_key")) or "",
            setting_name=self._text(row, "setting_name") or '""',
            description=self._text(row, "description"),
            setting_type=cells.name(kind) or "",
            value=self._text(row, "setting_value"),
            secret=int(isinstance(kind, str) and kind.lower() == "password"),
            created_at=self._created_at(row),
            answered_at=cells.to_micros(row.get("updated_at"), SECOND),
        )

    def _asker(self, row: Row) -> str | None:
        call_id = str(row.get("tool_call_id"))
        return call_id if call_id in self._calls else None

    def _created_at(self, row: Row) -> int:
        found = cells.to_micros(row.get("created_at"), SECOND)
        return self._started_at if found is None else found

    def _text(self, row: Row, column: str) -> str | None:
        return cells.quoted(row.get(column), self._bytes_max)

    def _json(self, row: Row, column: str) -> str | None:
        return cells.json_text(row.get(column), self._bytes_max)

    def _known(
        self, row: Row, column: str, known: tuple[str, ...], table: str
    ) -> tuple[str, str | None]:
        """Return a text of an enumeration, or "unknown" and the text itself."""
        cell = row.get(column)
        if cell in known:
            return str(cell), None
        self._source.note(f"{table}.{column}: unknown text")
        return "unknown", cells.name(cell)


def write(rows: SessionRows, writer: SessionWriter) -> None:
    _write_session(rows.session, writer)
    for message in rows.messages:
        writer.add(
            MESSAGES,
            message.seq,
            {
                "id": cells.own_id(message.id),
                "role": writer.role_of(message),
                "content": _content(message, writer),
                "created_at": cells.count_of(message.created_at, SECOND),
            },
        )
        if message.seq > writer.imported.messages:
            for column in ("tool_calls", "usage", "name"):
                if getattr(message, column) is not None:
                    writer.note(f"messages.{column}: no such column")
    for call in rows.tool_calls:
        _write_call(call, writer)
    for question in rows.questions:
        _write_question(question, writer)
    for setting in rows.settings:
        _write_setting(setting, writer)
    writer.note("events: no such table", len(rows.events))
    writer.note("metadata: no such table", len(rows.metadata))
    writer.note("compactions: no such table", len(rows.compactions))


def _write_session(session: StoredSession, writer: SessionWriter) -> None:
    status = session.status_raw
    if status is None:
        status = _SESSION_STATUS.get(session.status, session.status)
    if session.status in _SESSION_STATUS:
        writer.note(f"status {session.status}: written as {status}")
    for column in ("title", "tool_policy", "parent_session_id", "todo"):
        if getattr(session, column) is not None:
            writer.note(f"sessions.{column}: no such column")
    writer.add(
        SESSIONS,
        1,
        {
            "agent_name": session.agent_name,
            "provider": session.provider or "",
            "model": session.model or "",
            "system_prompt": cells.unquoted(session.system_prompt),
            "user_prompt": cells.unquoted(session.user_prompt) or "",
            "config": _NO_CONFIG if session.config is None else session.config,
            "status": status,
            "started_at": cells.count_of(session.created_at, SECOND),
            "ended_at": cells.count_of(session.ended_at, SECOND),
            "result": cells.unquoted(session.result),
            "error": cells.unquoted(session.error),
        },
    )


def _content(message: StoredMessage, writer: SessionWriter) -> str:
    text = cells.unquoted(message.content)
    if text is not None and not (message.content or "").startswith('"'):
        writer.note("messages.content: JSON written as text")
    return text or ""


def _write_call(call: StoredToolCall, writer: SessionWriter) -> None:
    status = call.status_raw
    if status is None:
        status = _CALL_STATUS.get(call.status, call.status)
    if call.status in _CALL_STATUS:
        writer.note(f"tool call status {call.status}: written as {status}")
    # In nocodo an answer is JSON, so a text is one in quotes, as it is stored here.
    response = call.output if call.result is None else call.result
    writer.add(
        CALLS,
        call.seq,
        {
            "id": cells.own_id(call.id),
            "message_id": cells.own_id_or_none(call.message_id),
            "tool_call_id": call.id if call.call_id is None else call.call_id,
            "tool_name": call.name,
            "request": "null" if call.arguments is None else call.arguments,
            "response": response,
            "status": status,
            "created_at": cells.count_of(call.created_at, SECOND),
            "completed_at": cells.count_of(call.completed_at, SECOND),
            "execution_time_ms": call.execution_time_ms,
            "error_details": cells.unquoted(call.error),
        },
    )
    if call.error_details is not None:
        writer.note("tool_calls.error_details: no such column")


def _write_question(question: StoredQuestion, writer: SessionWriter) -> None:
    row: dict[str, OutCell] = {
        "tool_call_id": cells.own_id_or_none(question.tool_call_id),
        "question_id": question.question_id,
        "question": cells.unquoted(question.question),
        "description": cells.unquoted(question.description),
        "response_type": question.response_type,
        "answer": cells.unquoted(question.answer),
        "created_at": cells.count_of(question.created_at, SECOND),
        "answered_at": cells.count_of(question.answered_at, SECOND),
    }
    writer.add(QUESTIONS, question.seq, row)
    for column in ("default", "options"):
        if getattr(question, column) is not None:
            writer.note(f"questions.{column}: no such column")


def _write_setting(setting: StoredSetting, writer: SessionWriter) -> None:
    row: dict[str, OutCell] = {
        "tool_call_id": cells.own_id_or_none(setting.tool_call_id),
        "setting_key": setting.setting_key,
        "setting_name": cells.unquoted(setting.setting_name),
        "description": cells.unquoted(setting.description),
        "setting_type": setting.setting_type,
        "setting_value": cells.unquoted(setting.value),
        "created_at": cells.count_of(setting.created_at, SECOND),
        "updated_at": cells.count_of(setting.answered_at, SECOND),
    }
    writer.add(SETTINGS, setting.seq, row)


def _project_root(config: str | None) -> str | None:
    """Return the folder that the configuration of an agent names."""
    value: Cell = None
    found = codec.decode(config)
    if isinstance(found, dict):
        value = found.get("path")
    return cells.name(value)


SYSTEM: Final = System(
    name="nocodo",
    tables=(
        Table(
            name=SESSIONS,
            session="id",
            columns=frozenset(
                {"id", "agent_name", "provider", "model", "user_prompt", "started_at"}
            ),
            key="id",
        ),
        Table(
            name=MESSAGES,
            session="session_id",
            columns=frozenset({"id", "session_id", "role", "content"}),
            key="id",
        ),
        Table(
            name=CALLS,
            session="session_id",
            columns=frozenset({"id", "session_id", "tool_call_id", "request"}),
            key="id",
            references={"message_id": MESSAGES},
        ),
        Table(
            name=QUESTIONS,
            session="session_id",
            columns=frozenset({"id", "session_id", "question_id", "question"}),
            key="id",
            references={"tool_call_id": CALLS},
        ),
        Table(
            name=SETTINGS,
            session="session_id",
            columns=frozenset({"id", "session_id", "setting_key", "setting_name"}),
            key="id",
            references={"tool_call_id": CALLS},
        ),
    ),
    required=frozenset({SESSIONS}),
    immutable=IMMUTABLE,
    schema=SCHEMA,
    history=frozenset({"refinery_schema_history"}),
    holds=frozenset({"messages", "tool_calls"}),
    has_integer_ids=True,
    session_id=session_id,
    read=read,
    write=write,
)
