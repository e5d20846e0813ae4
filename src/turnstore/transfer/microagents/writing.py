"""Turns messages of the store into microagents' events, of protocol 0.4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec

from turnstore.records import Json, Usage
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.system import SessionWriter
from turnstore.transfer.rows import SessionRows, StoredMessage, usage_of

Payload = tuple[str, int]
"""An encoded notification, and its time in microseconds."""

_ENDED: Final = ("completed", "failed", "interrupted")


def write_messages(rows: SessionRows, writer: SessionWriter) -> Iterator[Payload]:
    """Yield the events of the messages that are not from an import, in order."""
    session = rows.session
    is_new = not writer.imported.events
    if is_new:
        params = {
            "model": session.model or "",
            "provider": session.provider or "",
            "system": cells.unquoted(session.system_prompt) or "",
            "init_type": "Start",
        }
        yield _payload(rows, "session.init", params, session.created_at)
    fresh = [each for each in rows.messages if each.seq > writer.imported.messages]
    failed = {
        each.call_id for each in rows.tool_calls if each.status in ("failed", "denied")
    }
    turn_id = _turn_id(session.id, 0)
    for message in fresh:
        if message.role == "user":
            turn_id = _turn_id(session.id, message.seq)
        for method, params in _of_message(message, failed, writer):
            params = {"turn_id": turn_id, **params}
            yield _payload(rows, method, params, message.created_at)
    if is_new and session.status in _ENDED:
        yield _stop(rows, fresh)


def _of_message(
    message: StoredMessage, failed: set[str | None], writer: SessionWriter
) -> Iterator[tuple[str, dict[str, Json]]]:
    text = cells.unquoted(message.content) or ""
    if message.role == "user":
        yield "user.prompt.submit", {"prompt": text}
    elif message.role == "assistant":
        yield from _of_answer(message)
    elif message.role == "tool":
        kind = "Err" if message.tool_call_id in failed else "Ok"
        params = {
            "result": {kind: text},
            "tool_call_id": message.tool_call_id or "",
        }
        yield "tool.result", params
    else:
        writer.note(f"messages of role {message.role_raw or message.role}: no event")


def _of_answer(message: StoredMessage) -> Iterator[tuple[str, dict[str, Json]]]:
    content = codec.decode(message.content)
    if content is not None:
        yield "assistant.response", {"content": _parts(content)}
    for each in codec.decode(message.tool_calls) or []:
        function = each.get("function") or {}
        params = {
            "name": function.get("name") or "",
            "input": _arguments(function.get("arguments")),
            "tool_call_id": each.get("id") or "",
        }
        yield "tool.any_call", params


def _stop(rows: SessionRows, messages: Sequence[StoredMessage]) -> Payload:
    session = rows.session
    total = sum((usage_of(each) or Usage() for each in messages), Usage())
    result = cells.unquoted(session.result)
    params = {
        "success": session.status == "completed",
        "result": None if result is None else [{"text": result}],
        "error": cells.unquoted(session.error),
        "usage": {
            "latency": 0,
            "input_tokens": total.prompt_tokens,
            "output_tokens": total.completion_tokens,
            "cache_write_tokens": total.cache_creation_tokens,
            "cache_read_tokens": total.cache_read_tokens,
        },
        "incomplete_tasks": None,
    }
    last = max((each.created_at for each in messages), default=session.created_at)
    ended_at = last if session.ended_at is None else session.ended_at
    return _payload(rows, "session.stop", params, ended_at)


def _payload(
    rows: SessionRows, method: str, params: dict[str, Any], created_at: int
) -> Payload:
    timestamp = cells.rfc3339(created_at).replace("+00:00", "Z")
    payload = {
        "jsonrpc": "2.0",
        "method": method,
        "params": {
            "session_id": rows.session.id,
            **params,
            "timestamp": timestamp,
        },
    }
    return cells.encoded(payload), created_at


def _parts(content: Json) -> list[Json]:
    if isinstance(content, str):
        return [{"text": content}]
    if isinstance(content, list) and all(map(_is_part, content)):
        return content
    return [{"text": cells.encoded(content)}]


def _is_part(part: Json) -> bool:
    return isinstance(part, dict) and ("text" in part or "thinking" in part)


def _arguments(given: Json) -> Json:
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return given


def _turn_id(session_id: str, seq: int) -> str:
    return str(uuid5(NAMESPACE_URL, f"{session_id}/{seq}"))
