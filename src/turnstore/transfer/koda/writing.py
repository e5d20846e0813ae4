"""Turns rows of the store into rows of koda's tables: the reverse of ``reading``."""

from __future__ import annotations

from turnstore.records import Json, Role
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import OutCell
from turnstore.transfer.files.system import SessionWriter
from turnstore.transfer.koda.compactions import archived_at
from turnstore.transfer.koda.schema import (
    EVENTS,
    MESSAGES,
    METADATA,
    SESSIONS,
    TODO_KEY,
    TOKENS,
)
from turnstore.transfer.rows import SessionRows, StoredMessage, usage_of


def write(rows: SessionRows, writer: SessionWriter) -> None:
    _write_session(rows, writer)
    when = archived_at(rows)
    for message in rows.messages:
        _write_message(message, when(message), writer)
    for each in sorted(rows.metadata, key=lambda each: each.key == TODO_KEY):
        if each.key == TODO_KEY and rows.session.todo is not None:
            writer.note("metadata todo: there is a todo list")
            continue
        row: dict[str, OutCell] = {
            "key": each.key,
            "value": cells.unquoted(each.value),
            "updated_at": cells.sqlite_time(each.updated_at),
        }
        writer.add(METADATA, each.key, row)
    if rows.session.todo is not None:
        todo = cells.unquoted(rows.session.todo)
        writer.add(METADATA, TODO_KEY, {"key": TODO_KEY, "value": todo})
    for event in rows.events:
        data = "null" if event.data is None else event.data
        writer.add(
            EVENTS,
            event.seq,
            {
                "kind": event.type,
                "payload": data,
                "created_at": cells.sqlite_time(event.created_at),
            },
        )
    calls = [each for each in rows.tool_calls if each.seq > writer.imported.tool_calls]
    writer.note("tool_calls: only those in messages", len(calls))


def _write_session(rows: SessionRows, writer: SessionWriter) -> None:
    session = rows.session
    config = codec.decode(session.config)
    mode = config.get("mode") if isinstance(config, dict) else None
    writer.add(
        SESSIONS,
        1,
        {
            "created_at": cells.sqlite_time(session.created_at),
            "agent_name": session.agent_name,
            "project_root": session.project_root,
            "last_accessed_at": _time(rows.head.updated_at),
            "title": cells.unquoted(session.title),
            "mode": mode if isinstance(mode, str) else None,
        },
    )
    for column in (
        "provider",
        "model",
        "system_prompt",
        "user_prompt",
        "tool_policy",
        "parent_session_id",
        "result",
        "error",
        "ended_at",
    ):
        if getattr(session, column) is not None:
            writer.note(f"sessions.{column}: no such column")
    if config is not None and (
        not isinstance(config, dict) or config.keys() - {"mode"}
    ):
        writer.note("sessions.config: no such column")


def _write_message(
    message: StoredMessage, compacted_at: int | None, writer: SessionWriter
) -> None:
    is_new = message.seq > writer.imported.messages
    created_at = cells.sqlite_time(message.created_at)
    row: dict[str, OutCell] = {
        "id": cells.own_id(message.id),
        "role": writer.role_of(message),
        "content": cells.unquoted(message.content),
        "tool_calls": _koda_calls(message.tool_calls),
        "tool_call_id": message.tool_call_id,
        "created_at": created_at,
        "agent_name": message.agent_name,
        "compacted_at": _time(compacted_at),
    }
    usage = usage_of(message)
    for name in TOKENS:
        row[name] = None if usage is None else getattr(usage, name)
    if is_new and message.role == Role.ASSISTANT:
        # Without this, later releases of koda take the message for an incomplete one.
        row["completed_at"] = created_at
    writer.add(MESSAGES, message.seq, row)
    if is_new:
        for column in ("name", "model"):
            if getattr(message, column) is not None:
                writer.note(f"messages.{column}: no such column")


def _time(micros: int | None) -> str | None:
    return None if micros is None else cells.sqlite_time(micros)


def _koda_calls(encoded: str | None) -> str | None:
    calls = codec.decode(encoded)
    if isinstance(calls, list):
        calls = [_koda_call(each) for each in calls]
    return None if calls is None else cells.encoded(calls)


def _koda_call(given: Json) -> Json:
    """Return a call in chat format as koda writes it."""
    if not isinstance(given, dict) or not isinstance(given.get("function"), dict):
        return given
    rest = {
        name: value
        for name, value in given.items()
        if name not in ("id", "type", "function")
    }
    function = given["function"]
    return {
        "id": given.get("id"),
        "function_name": function.get("name"),
        "arguments": function.get("arguments"),
        **rest,
    }
