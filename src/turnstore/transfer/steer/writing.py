"""Turns rows of the store into rows of steer's store: the reverse of ``reading``."""

from __future__ import annotations

from typing import Final

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import OutCell
from turnstore.transfer.files.system import SessionWriter
from turnstore.transfer.rows import (
    SessionRows,
    StoredMessage,
    StoredToolCall,
)
from turnstore.transfer.steer.content import write_content
from turnstore.transfer.steer.rows import NUMBER, number, write_event
from turnstore.transfer.steer.schema import CALLS, EVENTS, MESSAGES, SESSIONS

EVENT_TYPES: Final = frozenset(
    {
        "message_part",
        "message_complete",
        "tool_call_started",
        "tool_call_completed",
        "tool_call_failed",
        "tool_approval_required",
        "session_created",
        "session_resumed",
        "session_saved",
        "operation_started",
        "operation_completed",
        "operation_cancelled",
        "error",
        "workspace_changed",
        "workspace_files",
    }
)
_ACTIVE: Final = ("running", "waiting_for_user_input")


def write(rows: SessionRows, writer: SessionWriter, config: Json) -> None:
    session = rows.session
    given = config if isinstance(config, dict) else {}
    last = rows.messages[-1].id if rows.messages else None
    row = _session(rows, given)
    # Sorted, so that the same pairs give the same text.
    pairs = sorted((each.key, cells.unquoted(each.value)) for each in rows.metadata)
    row["metadata"] = cells.encoded(dict(pairs))
    if rows.head.active_message_id != last:
        row["active_message_id"] = rows.head.active_message_id
    writer.add(SESSIONS, 1, row)
    for column in (
        "title",
        "provider",
        "model",
        "user_prompt",
        "parent_session_id",
        "result",
        "error",
        "ended_at",
        "todo",
    ):
        if getattr(session, column) is not None:
            writer.note(f"sessions.{column}: no such column")
    if session.agent_name:
        writer.note("sessions.agent_name: no such column")
    for message in rows.messages:
        _write_message(message, writer)
    for call in rows.tool_calls:
        _write_call(call, writer)
    _write_events(rows, writer)
    writer.note("compactions: no such table", len(rows.compactions))


def _session(rows: SessionRows, config: dict[str, Json]) -> dict[str, OutCell]:
    session = rows.session
    policy = codec.decode(session.tool_policy) or {"mode": "always_ask", "tools": []}
    mode, tools = policy["mode"], policy["tools"]
    approval: dict[str, Json] = {"type": mode}
    if mode == "mixed":
        ask = policy.get("ask_for_others", True)
        approval |= {"pre_approved": tools, "ask_for_others": ask}
    elif mode == "pre_approved":
        approval["tools"] = tools
    tool_config = config.get("tool_config", {"approval_policy": approval})
    # A local workspace needs a path.
    local = {"type": "local", "path": session.project_root or "."}
    workspace = config.get("workspace", local)
    updated_at = rows.head.updated_at
    status = "active" if session.status in _ACTIVE else "inactive"
    if session.status == "unknown":
        status = session.status_raw or status
    return {
        "created_at": cells.rfc3339(session.created_at),
        "updated_at": cells.sqlite_time(
            session.created_at if updated_at is None else updated_at
        ),
        "status": status,
        "tool_policy_type": mode,
        "pre_approved_tools": cells.encoded(tools),
        "tool_config": cells.encoded(tool_config),
        "workspace_config": cells.encoded(workspace),
        "system_prompt": cells.unquoted(session.system_prompt),
    }


def _write_message(message: StoredMessage, writer: SessionWriter) -> None:
    imported = writer.imported.messages
    role = writer.role_of(message)
    if message.seq > imported:
        if message.summary_of is not None:
            role = "assistant"  # as steer writes its own
        elif role == "system":
            role = "user"
            writer.note("messages.role: system written as user")
        for column in ("agent_name", "model", "usage"):
            if getattr(message, column) is not None:
                writer.note(f"messages.{column}: no such column")
        if message.name is not None and role != "tool":
            writer.note("messages.name: no such column")
    writer.add(
        MESSAGES,
        message.seq,
        {
            "id": message.id,
            NUMBER: number(MESSAGES, message.seq, imported, writer),
            "role": role,
            "content": write_content(message),
            "created_at": cells.rfc3339(message.created_at),
            "parent_message_id": message.parent_id,
        },
    )


def _write_call(call: StoredToolCall, writer: SessionWriter) -> None:
    is_new = call.seq > writer.imported.tool_calls
    writer.add(
        CALLS,
        call.seq,
        {
            "id": call.id,
            # steer itself leaves this column empty.
            "message_id": call.message_id if is_new else None,
            "tool_name": call.name,
            "parameters": "null" if call.arguments is None else call.arguments,
            "status": call.status_raw or call.status,
            "result": cells.unquoted(call.output),
            "error": cells.unquoted(call.error),
            "started_at": cells.rfc3339_or_none(call.started_at),
            "completed_at": cells.rfc3339_or_none(call.completed_at),
            "kind": call.kind,
            "payload_json": call.result,
            "error_json": call.error_details,
        },
    )
    if is_new and call.execution_time_ms is not None:
        writer.note("tool_calls.execution_time_ms: no such column")


def _write_events(rows: SessionRows, writer: SessionWriter) -> None:
    imported = writer.imported.events
    for event in rows.events:
        if event.seq > imported and not _is_known(event.type, event.data):
            # steer can't read a log with an event of another type.
            writer.note("events: of no type that steer knows")
            continue
        row = write_event(event)
        row[NUMBER] = number(EVENTS, event.seq, imported, writer)
        row["created_at"] = cells.rfc3339(event.created_at)
        writer.add(EVENTS, event.seq, row)


def _is_known(type: str, data: str | None) -> bool:
    given = codec.decode(data)
    return type in EVENT_TYPES and isinstance(given, dict) and given.get("type") == type
