"""Payloads, and rows of the store's tables as dicts."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Table

from bench.internals import schema

Row = dict[str, Any]

EVENT_KIND: Final = "message.part"
EVENT_DATA: Final = {
    "text": "the tests of the parser fail on nested quotes, see the log; " * 2,
    "usage": {"prompt": 1_024, "completion": 256},
    "tools": ["read_file", "edit_file"],
    "delta": "hello " * 5,
}
EVENT_JSON: Final = msgspec.json.encode(EVENT_DATA).decode()
"""About 250 bytes, the size of a streamed part of a message."""

MESSAGE_TEXT: Final = "what do the failing tests of the parser have in common; " * 6
"""About 330 characters."""
MESSAGE_JSON: Final = msgspec.json.encode(MESSAGE_TEXT).decode()

START_US: Final = 1_767_225_600_000_000  # 2026-01-01


def session_id(key: int) -> str:
    return f"{key:012d}-session"


def session(key: int, id: str, created_at: int, **values: Any) -> Row:
    return {
        **_empty(schema.sessions),
        "session_key": key,
        "id": id,
        "agent_name": "coder",
        "status": "idle",
        "created_at": created_at,
        **values,
    }


def head(key: int, created_at: int, **values: Any) -> Row:
    return {
        **_empty(schema.session_heads),
        "session_key": key,
        "created_at": created_at,
        "updated_at": created_at,
        **values,
    }


def pair(key: int, name: str, value: str, created_at: int) -> Row:
    return {
        "session_key": key,
        "key": name,
        "value": msgspec.json.encode(value).decode(),
        "created_at": created_at,
        "updated_at": created_at,
    }


def event(key: int, seq: int) -> Row:
    return {
        "session_key": key,
        "seq": seq,
        "type": EVENT_KIND,
        "data": EVENT_JSON,
        "model": None,
        "turn_id": None,
        "created_at": START_US + seq,
    }


def message(
    key: int, seq: int, created_at: int, prompt_tokens: int, completion_tokens: int
) -> Row:
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "api_calls": 1,
    }
    return {
        **_empty(schema.messages),
        "session_key": key,
        "seq": seq,
        "id": f"m{seq}",
        "role": "user" if seq % 2 else "assistant",
        "content": MESSAGE_JSON,
        "parent_id": f"m{seq - 1}" if seq > 1 else None,
        "usage": msgspec.json.encode(usage).decode(),
        "created_at": created_at,
    }


def open_call(
    key: int, created_at: int, *, id: str = "t1", status: str = "pending"
) -> Row:
    return {
        **_empty(schema.tool_calls),
        "session_key": key,
        "seq": 1,
        "id": id,
        "name": "read_file",
        "arguments": '{"path":"src/parser.py"}',
        "kind": "external",
        "status": status,
        "created_at": created_at,
    }


def column_names(table: Table) -> list[str]:
    """Return the columns that are written: the database itself makes the others."""
    return [each.name for each in table.c if each.computed is None]


_EMPTY: Final[dict[str, Row]] = {}


def _empty(table: Table) -> Row:
    """Return a row of nothing: NULL, or 0 where a number must be."""
    if table.name not in _EMPTY:
        _EMPTY[table.name] = {
            name: None if table.c[name].nullable else 0 for name in column_names(table)
        }
    return _EMPTY[table.name]
