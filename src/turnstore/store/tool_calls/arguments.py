"""What callers give about tool calls, checked and encoded, as commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, TypedDict

from msgspec import UnsetType

from turnstore.records import Json, ToolCallStatus
from turnstore.sql import codec
from turnstore.sql.compiled import Value
from turnstore.store.checks import Expected, member, statuses, text_bytes
from turnstore.store.signatures import given
from turnstore.store.tool_calls.writes import (
    CreateToolCalls,
    ToolCallRow,
    UpdateToolCall,
)

TOOL_CALL_BYTES: Final = 300


class ToolCallFields(TypedDict, total=False):
    """What creating takes of a tool call, besides its name and arguments."""

    id: str | None
    call_id: str | None
    message_id: str | None
    kind: str
    status: ToolCallStatus | str
    created_at: datetime | None


class ToolCallChanges(TypedDict, total=False):
    """What updating takes of a tool call; what is UNSET stays."""

    status: ToolCallStatus | str | UnsetType
    output: str | None | UnsetType
    result: Json
    error: str | None | UnsetType
    error_details: Json
    kind: str | UnsetType
    execution_time_ms: int | None | UnsetType


def tool_call_row(
    name: str,
    arguments: Json,
    bytes_max: int,
    *,
    id: str | None = None,
    call_id: str | None = None,
    message_id: str | None = None,
    kind: str = "external",
    status: ToolCallStatus | str = ToolCallStatus.PENDING,
    created_at: datetime | None = None,
) -> ToolCallRow:
    return ToolCallRow(
        id=codec.new_id() if id is None else codec.check_id(id, "id"),
        name=codec.check_text(name, "name"),
        arguments=codec.encode_or_none(arguments, bytes_max),
        call_id=codec.check_text_or_none(call_id, "call_id"),
        message_id=None
        if message_id is None
        else codec.check_id(message_id, "message_id"),
        kind=codec.check_text(kind, "kind"),
        status=member(status, ToolCallStatus, "status"),
        created_at=codec.to_micros_or_none(created_at, "created_at"),
    )


def create_tool_calls(
    session_id: str,
    rows: Sequence[ToolCallRow],
    own_ids: Collection[str] = (),
    new_messages: Collection[str] = (),
) -> CreateToolCalls:
    """
    :param own_ids: of the rows whose id the caller gave.
    :param new_messages: those that the same turn appends before.
    """
    return CreateToolCalls(
        codec.check_id(session_id, "session_id"),
        sum(TOOL_CALL_BYTES + len(each.arguments or "") for each in rows),
        rows,
        frozenset(own_ids),
        frozenset(new_messages),
    )


def update_tool_call(
    session_id: str,
    id: str,
    fields: ToolCallChanges,
    expected_status: Expected,
    bytes_max: int,
) -> UpdateToolCall:
    found = given(fields, ToolCallChanges)
    if "status" not in found and found.get("error") is not None:
        found["status"] = ToolCallStatus.FAILED
    columns: dict[str, Value] = {}
    for name, value in found.items():
        if name == "status":
            columns[name] = member(value, ToolCallStatus, name)
        elif name in ("output", "error"):
            text = None if value is None else codec.check_string(value, name)
            columns[name] = codec.encode_or_none(text, bytes_max)
        elif name == "kind":
            columns[name] = codec.check_text(value, name)
        elif name == "execution_time_ms":
            columns[name] = (
                None if value is None else codec.check_integer(value, name, 0)
            )
        else:
            columns[name] = codec.encode_or_none(value, bytes_max)
    return UpdateToolCall(
        codec.check_id(session_id, "session_id"),
        TOOL_CALL_BYTES + text_bytes(columns),
        codec.check_id(id, "id"),
        columns,
        statuses(expected_status, ToolCallStatus),
    )


def tool_call_status(given: object) -> str:
    """Return a status to look for: unknown is one too."""
    return member(given, ToolCallStatus, "status", readable=True)
