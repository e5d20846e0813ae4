"""How rows become records: one SELECT for each, its columns named as the fields.

Rooms narrow these by ``where`` and ``order_by``. They stand here because more than
one room reads each of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)

from turnstore.records import Role, SessionStatus, ToolCallStatus
from turnstore.sql.dialects import Formatted, Joined, Quoted
from turnstore.sql.query import object_of
from turnstore.sql.schema import (
    JsonText,
    events,
    messages,
    session_heads,
    session_metadata,
    sessions,
    tool_calls,
)

_pairs = Joined(
    Quoted(session_metadata.c.key)
    .concat(literal_column("':'"))
    .concat(session_metadata.c.value),
    literal_column("','"),
)
_METADATA: Final = (
    select(
        type_coerce(
            Formatted(
                literal_column("'{%s}'"), func.coalesce(_pairs, literal_column("''"))
            ),
            JsonText,
        )
    )
    .where(session_metadata.c.session_key == session_heads.c.session_key)
    .correlate(session_heads)
    .scalar_subquery()
)

_USAGE: Final = object_of(
    {
        name: session_heads.c[name]
        for name in (
            "prompt_tokens",
            "completion_tokens",
            "cache_read_tokens",
            "cache_creation_tokens",
            "thinking_tokens",
            "api_calls",
        )
    }
)


def _raw(column: Column[str], raw: Column[str], known: type[StrEnum]) -> Any:
    """Return the text that reads as unknown: an import's, or a later release's."""
    names: list[ColumnElement[str]] = [literal_column(f"'{each}'") for each in known]
    return func.coalesce(raw, case((column.not_in(names), column)), type_=Text).label(
        raw.name
    )


SESSION: Final = select(
    sessions.c.id,
    session_heads.c.user_id,
    sessions.c.agent_name,
    sessions.c.project_root,
    sessions.c.title,
    sessions.c.provider,
    sessions.c.model,
    sessions.c.system_prompt,
    sessions.c.user_prompt,
    sessions.c.status,
    _raw(sessions.c.status, sessions.c.status_raw, SessionStatus),
    sessions.c.config,
    sessions.c.tool_policy,
    _METADATA.label("metadata"),
    sessions.c.parent_session_id,
    session_heads.c.active_message_id,
    sessions.c.result,
    sessions.c.error,
    sessions.c.created_at,
    session_heads.c.updated_at,
    sessions.c.ended_at,
    session_heads.c.message_count,
    session_heads.c.message_head,
    session_heads.c.event_head,
    session_heads.c.tool_call_count,
    session_heads.c.pending_tool_calls,
    session_heads.c.last_model,
    _USAGE.label("usage"),
).join(session_heads, session_heads.c.session_key == sessions.c.session_key)

MESSAGE_COLUMNS: Final = select(
    messages.c.id,
    sessions.c.id.label("session_id"),
    messages.c.seq,
    messages.c.role,
    _raw(messages.c.role, messages.c.role_raw, Role),
    messages.c.content,
    messages.c.tool_calls,
    messages.c.tool_call_id,
    messages.c.name,
    messages.c.agent_name,
    messages.c.model,
    messages.c.parent_id,
    messages.c.usage,
    messages.c.created_at,
    messages.c.summary_of.is_not(None).label("is_summary"),
)
MESSAGE: Final = MESSAGE_COLUMNS.join(
    sessions, sessions.c.session_key == messages.c.session_key
)

TOOL_CALL: Final = select(
    tool_calls.c.id,
    tool_calls.c.call_id,
    sessions.c.id.label("session_id"),
    tool_calls.c.message_id,
    tool_calls.c.name,
    tool_calls.c.arguments,
    tool_calls.c.kind,
    tool_calls.c.status,
    _raw(tool_calls.c.status, tool_calls.c.status_raw, ToolCallStatus),
    tool_calls.c.output,
    tool_calls.c.result,
    tool_calls.c.error,
    tool_calls.c.error_details,
    tool_calls.c.execution_time_ms,
    tool_calls.c.created_at,
    tool_calls.c.started_at,
    tool_calls.c.completed_at,
).join(sessions, sessions.c.session_key == tool_calls.c.session_key)

EVENT_COLUMNS: Final = select(
    sessions.c.id.label("session_id"),
    events.c.seq,
    events.c.type,
    events.c.data,
    events.c.model,
    events.c.turn_id,
    events.c.created_at,
)

SESSION_IS: Final = sessions.c.id == bindparam("session")
"""Narrows any of them to the session given as ``session``."""
