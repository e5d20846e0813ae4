"""A new field is nowhere forgotten: each test names the place that lacks it.

What transfers and copies move is tested in ``tests/transfer/test_rows.py``, what a
migrated schema has in ``tests/migrations``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from inspect import signature
from typing import Any

import pytest
from msgspec import Struct
from sqlalchemy import Column, Table

from turnstore import (
    Event,
    Message,
    NewEvent,
    NewMessage,
    OpenTurn,
    Session,
    SessionFilter,
    SessionStore,
    ToolCall,
)
from turnstore.sql.schema import (
    HEAD_COLUMNS,
    events,
    messages,
    session_heads,
    sessions,
    tool_calls,
)
from turnstore.store.heads import HeadRow
from turnstore.store.sessions.filters import EQUALS, wanted

STORE = SessionStore("sqlite://")
# What the store itself makes of a session; the rest is written by callers.
MADE_BY_THE_STORE = {
    "updated_at",
    "message_count",
    "message_head",
    "event_head",
    "tool_call_count",
    "pending_tool_calls",
    "last_model",
    "usage",
    "status_raw",
}
LATER = {"active_message_id", "result", "error", "ended_at"}
"""Written by an update alone: a new session has none of it."""
ONCE = {"id", "created_at"}


def fields(record: type[Struct]) -> set[str]:
    return set(record.__struct_fields__)


def arguments(method: Any) -> set[str]:
    return set(signature(method).parameters)


def test_every_field_of_a_session_can_be_created() -> None:
    given = fields(Session) - MADE_BY_THE_STORE - LATER
    assert arguments(STORE.sessions.create) == given
    turn = arguments(OpenTurn.create_session) - {"self", "session_id"}
    assert turn == given - {"id"}


def test_every_field_of_a_session_can_be_updated() -> None:
    given = fields(Session) - MADE_BY_THE_STORE - ONCE
    expected = given | {"expected_status"}
    assert arguments(STORE.sessions.update) - {"id"} == expected
    assert arguments(OpenTurn.update_session) - {"self", "session_id"} == expected


def test_every_field_of_a_message_can_be_appended() -> None:
    given = fields(NewMessage)
    assert given < fields(Message)
    appended = arguments(STORE.messages.append) - {"session_id", "idempotency_key"}
    assert appended == given
    assert arguments(OpenTurn.message) - {"self", "session_id"} >= given


def test_every_field_of_a_tool_call_can_be_created_or_updated() -> None:
    given = fields(ToolCall) - {"status_raw", "started_at", "completed_at"}
    created = arguments(STORE.tool_calls.create)
    updated = arguments(STORE.tool_calls.update) - {"expected_status"}
    assert created | updated == given
    assert arguments(OpenTurn.tool_call) - {"self"} == created
    assert arguments(OpenTurn.update_tool_call) - {"self", "expected_status"} == updated


def test_every_field_of_an_event_can_be_appended() -> None:
    given = fields(NewEvent)
    assert given < fields(Event)
    of_the_call = {"session_id", "idempotency_key", "expected_head"}
    assert arguments(STORE.events.append) - of_the_call == given
    assert arguments(OpenTurn.event) - {"self", "session_id"} >= given


def test_a_head_row_has_every_column_of_heads() -> None:
    assert fields(HeadRow) == {each.name for each in HEAD_COLUMNS}


@pytest.mark.parametrize(
    ("record", "tables", "inside"),
    [
        (
            Session,
            (sessions, session_heads),
            {
                # Keys, and what is counted, searched or read by another room.
                "session_key",
                "title_folded",
                "todo",
                "updated_period",
                "tool_call_head",
                "usage_head",
                "total_tokens",
                "prompt_tokens",
                "completion_tokens",
                "cache_read_tokens",
                "cache_creation_tokens",
                "thinking_tokens",
                "api_calls",
            },
        ),
        (Message, (messages,), {"session_key", "summary_of"}),
        (ToolCall, (tool_calls,), {"session_key", "seq"}),
        (Event, (events,), {"session_key"}),
    ],
)
def test_every_column_is_a_field_or_stays_inside(
    record: type[Struct], tables: tuple[Any, ...], inside: set[str]
) -> None:
    columns = {each.name for table in tables for each in table.c}
    assert columns - fields(record) == inside


@pytest.mark.parametrize("name", SessionFilter.__struct_fields__)
def test_every_field_of_a_filter_filters(name: str) -> None:
    is_time = name.endswith(("_after", "_before"))
    value: Any = {
        "ids": ["x"],
        "status": "idle",
        "metadata": {"a": "b"},
        "metadata_keys": ["a"],
        "has_pending_tool_calls": True,
        "message_count_min": 1,
        "message_count_max": 1,
    }.get(name, datetime.now(UTC) if is_time else "x")
    assert len(wanted(SessionFilter(**{name: value})).conditions) == 1


@pytest.mark.parametrize("column", EQUALS, ids=str)
def test_every_filter_of_one_value_has_an_index(column: Column[Any]) -> None:
    """Its matches come in order of creation, and a page costs the page."""
    assert isinstance(column.table, Table)
    leading = [
        [each.name for each in index.columns][:2] for index in column.table.indexes
    ]
    assert [column.name, "created_at"] in leading
