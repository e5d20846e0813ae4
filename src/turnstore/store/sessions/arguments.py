"""What callers give about sessions, checked and encoded, as commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypedDict

import msgspec
from msgspec import UNSET, UnsetType

from turnstore.errors import InvalidArgument
from turnstore.records import Json, SessionStatus, ToolPolicy
from turnstore.sql import codec
from turnstore.sql.codec import fold
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Value
from turnstore.sql.schema import session_heads, sessions
from turnstore.store.checks import Expected, free_text, member, statuses, text_bytes
from turnstore.store.sessions.writes import CreateSession, UpdateSession
from turnstore.store.signatures import given
from turnstore.values import is_a, shown, type_name

SESSION_BYTES: Final = 1_000
"""About what a session takes without its payloads, for the bound on a batch."""


class SessionFields(TypedDict, total=False):
    """What creating and updating take of a session; what is UNSET is not given."""

    user_id: str | None | UnsetType
    agent_name: str | None | UnsetType
    project_root: str | None | UnsetType
    title: str | None | UnsetType
    provider: str | None | UnsetType
    model: str | None | UnsetType
    system_prompt: str | None | UnsetType
    user_prompt: str | None | UnsetType
    status: SessionStatus | str | UnsetType
    config: Json
    tool_policy: ToolPolicy | None | UnsetType
    metadata: Mapping[str, str] | None | UnsetType
    parent_session_id: str | None | UnsetType


class NewSessionFields(SessionFields, total=False):
    created_at: datetime | None | UnsetType


class SessionChanges(SessionFields, total=False):
    active_message_id: str | None | UnsetType
    result: Json
    error: str | None | UnsetType
    ended_at: datetime | None | UnsetType


DEFAULTS: Final[NewSessionFields] = {"agent_name": "", "status": SessionStatus.IDLE}
IDS: Final = frozenset({"parent_session_id", "active_message_id"})
FREE_TEXTS: Final = frozenset({"title", "system_prompt", "user_prompt", "error"})


def create_session(
    id: str | None, fields: NewSessionFields, bytes_max: int
) -> CreateSession:
    found = {**DEFAULTS, **given(fields, NewSessionFields)}
    created_at = found.pop("created_at", None)
    pairs = _pairs(found.pop("metadata", None), bytes_max)
    columns = _columns(found, bytes_max)
    own_id = codec.new_id() if id is None else codec.check_id(id, "id")
    _check_parent(own_id, columns)
    return CreateSession(
        own_id,
        SESSION_BYTES + text_bytes(columns) + text_bytes(pairs),
        columns,
        pairs,
        codec.to_micros_or_none(created_at, "created_at"),
    )


def update_session(
    id: str, fields: SessionChanges, expected_status: Expected, bytes_max: int
) -> UpdateSession:
    found = given(fields, SessionChanges)
    metadata = found.pop("metadata", UNSET)
    pairs = UNSET if metadata is UNSET else _pairs(metadata, bytes_max)
    columns = _columns(found, bytes_max)
    own_id = codec.check_id(id, "id")
    _check_parent(own_id, columns)
    return UpdateSession(
        own_id,
        SESSION_BYTES + text_bytes(columns) + text_bytes(pairs or {}),
        columns,
        pairs,
        statuses(expected_status, SessionStatus),
    )


def _columns(found: Mapping[str, Any], bytes_max: int) -> dict[str, Value]:
    """Return fields as columns, checked and encoded by the type of the column where a
    field has no rule of its own."""
    columns: dict[str, Value] = {}
    for name, value in found.items():
        kind = (sessions if name in sessions.c else session_heads).c[name].type
        if name == "status":
            columns[name] = member(value, SessionStatus, name)
        elif name == "agent_name":
            columns[name] = "" if value is None else codec.check_text(value, name)
        elif name == "tool_policy":
            columns[name] = None if value is None else _policy(value)
        elif name in IDS:
            columns[name] = None if value is None else codec.check_id(value, name)
        elif name in FREE_TEXTS:
            columns[name] = free_text(value, name, bytes_max)
        elif isinstance(kind, JsonText):
            columns[name] = codec.encode_or_none(value, bytes_max)
        elif isinstance(kind, Micros):
            columns[name] = codec.to_micros_or_none(value, name)
        else:
            columns[name] = codec.check_text_or_none(value, name)
        if name == "title":
            columns["title_folded"] = (
                None if value is None else fold(codec.check_free_text(value, name))
            )
    return columns


def _check_parent(id: str, columns: Mapping[str, Value]) -> None:
    if columns.get("parent_session_id") == id:
        raise InvalidArgument("parent_session_id is the session itself")


def _pairs(metadata: Mapping[str, str] | None, bytes_max: int) -> dict[str, str]:
    if metadata is None:
        return {}
    return {
        codec.check_id(key, "metadata key"): codec.encode(
            codec.check_free_text(value, f"metadata {shown(key)}"), bytes_max
        )
        for key, value in codec.check_mapping(metadata, "metadata")
    }


def _policy(value: object) -> str:
    if not is_a(value, ToolPolicy):
        raise InvalidArgument(
            f"tool_policy must be a ToolPolicy, got {type_name(value)}"
        )
    assert isinstance(value, ToolPolicy)
    mode = codec.check_text(value.mode, "tool_policy.mode")
    if mode not in ("always_ask", "pre_approved", "mixed"):
        raise InvalidArgument(
            f"tool_policy.mode must be always_ask, pre_approved or mixed, got "
            f"{shown(mode)}"
        )
    policy = {
        "mode": mode,
        "tools": sorted(codec.check_texts(value.tools, "tool_policy.tools")),
        "ask_for_others": codec.check_flag(
            value.ask_for_others, "tool_policy.ask_for_others"
        ),
    }
    return msgspec.json.encode(policy).decode()
