"""What callers give, checked and encoded: as rows, as columns, and as the commands that
write them. For the rooms, and for turns, which take the same arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from turnstore import _codec
from turnstore._compiled import Value
from turnstore._event_writes import ROW_BYTES as EVENT_BYTES
from turnstore._event_writes import AppendEvents, EventRow
from turnstore._filters import fold
from turnstore._message_writes import AppendMessages, MessageRow
from turnstore._session_writes import CreateSession, UpdateSession
from turnstore._tool_call_writes import CreateToolCalls, ToolCallRow, UpdateToolCall
from turnstore._usage_writes import check_usage
from turnstore.errors import InvalidArgument, PayloadInvalid
from turnstore.records import (
    Json,
    NewMessage,
    Role,
    SessionStatus,
    ToolCallStatus,
    ToolPolicy,
)

SESSION_BYTES: Final = 1_000
"""About what a session takes beside its payloads, for the bound on a batch."""
MESSAGE_BYTES: Final = 300
TOOL_CALL_BYTES: Final = 300

Expected = StrEnum | str | Collection[StrEnum | str] | None
"""A status, or several."""


# Messages


def message_row(given: NewMessage, bytes_max: int) -> MessageRow:
    if not isinstance(given, NewMessage):
        raise InvalidArgument(
            f"messages must be NewMessage records, got {type(given).__name__}"
        )
    calls = given.tool_calls
    if calls is not None and not (
        isinstance(calls, list | tuple)
        and all(isinstance(each, dict) for each in calls)
    ):
        raise PayloadInvalid("tool_calls must be a list of objects")
    text = _codec.check_text_or_none
    return MessageRow(
        id=_codec.new_id() if given.id is None else _codec.check_id(given.id, "id"),
        is_own_id=given.id is not None,
        role=check_role(given.role),
        content=_codec.encode_or_none(given.content, bytes_max),
        tool_calls=_codec.encode_or_none(calls, bytes_max),
        tool_call_id=text(given.tool_call_id, "tool_call_id"),
        name=text(given.name, "name"),
        agent_name=text(given.agent_name, "agent_name"),
        model=text(given.model, "model"),
        parent_id=None
        if given.parent_id is None
        else _codec.check_id(given.parent_id, "parent_id"),
        usage=None if given.usage is None else check_usage(given.usage),
        created_at=_codec.micros_or_none(given.created_at, "created_at"),
    )


def message_bytes(row: MessageRow) -> int:
    return MESSAGE_BYTES + len(row.content or "") + len(row.tool_calls or "")


def append_messages(
    session_id: str, rows: list[MessageRow], idempotency_key: str | None = None
) -> AppendMessages:
    if idempotency_key is not None:
        idempotency_key = _codec.check_id(idempotency_key, "idempotency_key")
    return AppendMessages(
        _codec.check_id(session_id, "session_id"),
        sum(map(message_bytes, rows)),
        rows,
        idempotency_key,
    )


def check_role(role: object) -> str:
    """Return a role that can be written."""
    return _member(role, Role, "role")


# Tool calls


def tool_call_row(
    name: str,
    arguments: Json,
    id: str | None,
    call_id: str | None,
    message_id: str | None,
    kind: str,
    status: ToolCallStatus | str,
    created_at: datetime | None,
    bytes_max: int,
) -> ToolCallRow:
    return ToolCallRow(
        id=_codec.new_id() if id is None else _codec.check_id(id, "id"),
        is_own_id=id is not None,
        name=_codec.check_text(name, "name"),
        arguments=_codec.encode_or_none(arguments, bytes_max),
        call_id=_codec.check_text_or_none(call_id, "call_id"),
        message_id=None
        if message_id is None
        else _codec.check_id(message_id, "message_id"),
        kind=_codec.check_text(kind, "kind"),
        status=_member(status, ToolCallStatus, "status"),
        created_at=_codec.micros_or_none(created_at, "created_at"),
    )


def create_tool_calls(session_id: str, rows: list[ToolCallRow]) -> CreateToolCalls:
    return CreateToolCalls(
        _codec.check_id(session_id, "session_id"),
        sum(TOOL_CALL_BYTES + len(each.arguments or "") for each in rows),
        rows,
    )


def update_tool_call(
    session_id: str,
    id: str,
    fields: Mapping[str, Any],
    expected_status: Expected,
    bytes_max: int,
) -> UpdateToolCall:
    """:param fields: by name; those that are UNSET stay as they are."""
    given = {name: value for name, value in fields.items() if value is not UNSET}
    if "status" not in given and given.get("error") is not None:
        given["status"] = ToolCallStatus.FAILED
    columns: dict[str, Value] = {}
    for name, value in given.items():
        if name == "status":
            columns[name] = _member(value, ToolCallStatus, name)
        elif name in ("output", "error"):
            columns[name] = _free_text(value, name, bytes_max)
        elif name == "kind":
            columns[name] = _codec.check_text(value, name)
        elif name == "execution_time_ms":
            columns[name] = (
                None if value is None else _codec.check_integer(value, name, 0)
            )
        else:
            columns[name] = _codec.encode_or_none(value, bytes_max)
    return UpdateToolCall(
        _codec.check_id(session_id, "session_id"),
        TOOL_CALL_BYTES + _text_bytes(columns),
        _codec.check_id(id, "id"),
        columns,
        _expected(expected_status, ToolCallStatus),
    )


# Events


def event_row(
    type: str,
    data: Json,
    model: str | None,
    turn_id: str | None,
    created_at: datetime | None,
    bytes_max: int,
) -> EventRow:
    return (
        _codec.check_id(type, "type"),
        None if data is None else _codec.encode(data, bytes_max),
        None if model is None else _codec.check_text(model, "model"),
        None if turn_id is None else _codec.check_text(turn_id, "turn_id"),
        None if created_at is None else _codec.micros(created_at, "created_at"),
    )


def append_events(
    session_id: str,
    rows: Sequence[EventRow],
    expected_head: int | None = None,
    idempotency_key: str | None = None,
) -> AppendEvents:
    if expected_head is not None:
        expected_head = _codec.check_integer(expected_head, "expected_head", 0)
    if idempotency_key is not None:
        idempotency_key = _codec.check_id(idempotency_key, "idempotency_key")
    size_bytes = 0
    for row in rows:
        size_bytes += EVENT_BYTES + len(row[1] or "")
    return AppendEvents(
        _codec.check_id(session_id, "session_id"),
        size_bytes,
        rows,
        expected_head,
        idempotency_key,
    )


# Sessions


def create_session(
    id: str | None,
    fields: Mapping[str, object],
    metadata: Mapping[str, str] | None,
    created_at: datetime | None,
    bytes_max: int,
) -> CreateSession:
    columns = _session_columns(fields, bytes_max)
    pairs = _pairs(metadata, bytes_max)
    return CreateSession(
        _codec.new_id() if id is None else _codec.check_id(id, "id"),
        SESSION_BYTES + _text_bytes(columns) + _text_bytes(pairs),
        columns,
        pairs,
        _codec.micros_or_none(created_at, "created_at"),
    )


def update_session(
    id: str,
    fields: Mapping[str, object],
    metadata: Mapping[str, str] | None | UnsetType,
    active_message_id: str | None | UnsetType,
    expected_status: Expected,
    bytes_max: int,
) -> UpdateSession:
    """:param fields: by name; those that are UNSET stay as they are."""
    given = {name: value for name, value in fields.items() if value is not UNSET}
    columns = _session_columns(given, bytes_max)
    pairs = UNSET if metadata is UNSET else _pairs(metadata, bytes_max)
    if active_message_id is not UNSET and active_message_id is not None:
        active_message_id = _codec.check_id(active_message_id, "active_message_id")
    return UpdateSession(
        _codec.check_id(id, "id"),
        SESSION_BYTES + _text_bytes(columns) + _text_bytes(pairs or {}),
        columns,
        pairs,
        active_message_id,
        _expected(expected_status, SessionStatus),
    )


def _session_columns(given: Mapping[str, object], bytes_max: int) -> dict[str, Value]:
    columns: dict[str, Value] = {}
    for name, value in given.items():
        if name in ("title", "system_prompt", "user_prompt", "error"):
            columns[name] = _free_text(value, name, bytes_max)
            if name == "title":
                columns["title_folded"] = (
                    None if value is None else fold(_codec.check_free_text(value, name))
                )
        elif name in ("config", "result"):
            columns[name] = _codec.encode_or_none(value, bytes_max)
        elif name == "tool_policy":
            columns[name] = None if value is None else _policy(value)
        elif name == "status":
            columns[name] = _member(value, SessionStatus, name)
        elif name == "ended_at":
            columns[name] = _codec.micros_or_none(value, name)
        elif name == "parent_session_id":
            columns[name] = None if value is None else _codec.check_id(value, name)
        elif name == "agent_name":
            columns[name] = "" if value is None else _codec.check_text(value, name)
        else:
            columns[name] = _codec.check_text_or_none(value, name)
    return columns


def _pairs(metadata: Mapping[str, str] | None, bytes_max: int) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be a mapping of text to text")
    return {
        _codec.check_id(key, "metadata key"): _codec.encode(
            _codec.check_free_text(value, f"metadata {key!r}"), bytes_max
        )
        for key, value in metadata.items()
    }


def _policy(value: object) -> str:
    if not isinstance(value, ToolPolicy):
        raise InvalidArgument(
            f"tool_policy must be a ToolPolicy, got {type(value).__name__}"
        )
    mode = _codec.check_text(value.mode, "tool_policy.mode")
    if mode not in ("always_ask", "pre_approved", "mixed"):
        raise InvalidArgument(
            f"tool_policy.mode must be always_ask, pre_approved or mixed, got {mode!r}"
        )
    if not isinstance(value.ask_for_others, bool):
        raise InvalidArgument("tool_policy.ask_for_others must be True or False")
    policy = {
        "mode": mode,
        "tools": sorted(_codec.check_texts(value.tools, "tool_policy.tools")),
        "ask_for_others": value.ask_for_others,
    }
    return msgspec.json.encode(policy).decode()


# What several of them take


def tool_call_status(given: object) -> str:
    """Return a status to look for: unknown is one too."""
    return _member(given, ToolCallStatus, "status", readable=True)


def _expected(given: Expected, kind: type[StrEnum]) -> frozenset[str] | None:
    if given is None:
        return None
    name = "expected_status"
    several = _codec.check_texts([given] if isinstance(given, str) else given, name)
    return frozenset(_member(each, kind, name, readable=True) for each in several)


def _member(
    given: object, kind: type[StrEnum], name: str, *, readable: bool = False
) -> str:
    """Return the text of an enumeration; unknown where it is only looked for."""
    known = _KNOWN[kind]
    if given in known and (readable or given != "unknown"):
        return known[known.index(given)]  # what it is equal to may be written apart
    shown = [each for each in known if readable or each != "unknown"]
    raise InvalidArgument(f"{name} must be one of {', '.join(shown)}, got {given!r}")


def _free_text(value: object, name: str, bytes_max: int) -> str | None:
    if value is None:
        return None
    return _codec.encode(_codec.check_free_text(value, name), bytes_max)


def _text_bytes(values: Mapping[str, Value]) -> int:
    return sum(len(each) for each in values.values() if isinstance(each, str))


_KNOWN: Final[dict[type[StrEnum], list[str]]] = {
    kind: [str(each) for each in kind] for kind in (Role, SessionStatus, ToolCallStatus)
}
