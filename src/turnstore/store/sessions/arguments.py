"""What callers give about sessions, checked and encoded, as commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from turnstore.errors import InvalidArgument
from turnstore.records import (
    SessionStatus,
    ToolPolicy,
)
from turnstore.sql import codec
from turnstore.sql.codec import fold
from turnstore.sql.compiled import Value
from turnstore.store.checks import Expected, free_text, member, statuses, text_bytes
from turnstore.store.sessions.writes import CreateSession, UpdateSession

SESSION_BYTES: Final = 1_000
"""About what a session takes beside its payloads, for the bound on a batch."""


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
        codec.new_id() if id is None else codec.check_id(id, "id"),
        SESSION_BYTES + text_bytes(columns) + text_bytes(pairs),
        columns,
        pairs,
        codec.to_micros_or_none(created_at, "created_at"),
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
        active_message_id = codec.check_id(active_message_id, "active_message_id")
    return UpdateSession(
        codec.check_id(id, "id"),
        SESSION_BYTES + text_bytes(columns) + text_bytes(pairs or {}),
        columns,
        pairs,
        active_message_id,
        statuses(expected_status, SessionStatus),
    )


def _session_columns(given: Mapping[str, object], bytes_max: int) -> dict[str, Value]:
    columns: dict[str, Value] = {}
    for name, value in given.items():
        if name in ("title", "system_prompt", "user_prompt", "error"):
            columns[name] = free_text(value, name, bytes_max)
            if name == "title":
                columns["title_folded"] = (
                    None if value is None else fold(codec.check_free_text(value, name))
                )
        elif name in ("config", "result"):
            columns[name] = codec.encode_or_none(value, bytes_max)
        elif name == "tool_policy":
            columns[name] = None if value is None else _policy(value)
        elif name == "status":
            columns[name] = member(value, SessionStatus, name)
        elif name == "ended_at":
            columns[name] = codec.to_micros_or_none(value, name)
        elif name == "parent_session_id":
            columns[name] = None if value is None else codec.check_id(value, name)
        elif name == "agent_name":
            columns[name] = "" if value is None else codec.check_text(value, name)
        else:
            columns[name] = codec.check_text_or_none(value, name)
    return columns


def _pairs(metadata: Mapping[str, str] | None, bytes_max: int) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be a mapping of text to text")
    return {
        codec.check_id(key, "metadata key"): codec.encode(
            codec.check_free_text(value, f"metadata {key!r}"), bytes_max
        )
        for key, value in metadata.items()
    }


def _policy(value: object) -> str:
    if not isinstance(value, ToolPolicy):
        raise InvalidArgument(
            f"tool_policy must be a ToolPolicy, got {type(value).__name__}"
        )
    mode = codec.check_text(value.mode, "tool_policy.mode")
    if mode not in ("always_ask", "pre_approved", "mixed"):
        raise InvalidArgument(
            f"tool_policy.mode must be always_ask, pre_approved or mixed, got {mode!r}"
        )
    if not isinstance(value.ask_for_others, bool):
        raise InvalidArgument("tool_policy.ask_for_others must be True or False")
    policy = {
        "mode": mode,
        "tools": sorted(codec.check_texts(value.tools, "tool_policy.tools")),
        "ask_for_others": value.ask_for_others,
    }
    return msgspec.json.encode(policy).decode()
