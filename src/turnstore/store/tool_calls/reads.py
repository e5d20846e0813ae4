"""How tool calls are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, select

from turnstore.records import ToolCall
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.query import Query
from turnstore.sql.schema import IS_OPEN, session_heads, sessions, tool_calls
from turnstore.store.heads import of_session
from turnstore.store.selects import SESSION_IS, TOOL_CALL


def get_tool_call(connection: Connection, session_id: str, id: str) -> ToolCall | None:
    return _GET.one(connection, session=session_id, id=id)


def list_single_statement(
    connection: Connection,
    query: BoundedQuery[ToolCall],
    session_id: str,
    values: Mapping[str, Any],
) -> list[ToolCall] | None:
    found = query.single_statement(connection, session=session_id, **values)
    return None if found is None else of_session(connection, session_id, found.rows)


def list_snapshot(
    connection: Connection,
    query: BoundedQuery[ToolCall],
    session_id: str,
    values: Mapping[str, Any],
) -> list[ToolCall]:
    found = query(connection, session=session_id, **values)
    return of_session(connection, session_id, found)


def has_open_calls(connection: Connection, session_id: str) -> bool:
    found = _ANY_OPEN(connection, session=session_id)
    return bool(of_session(connection, session_id, found))


class _Id(msgspec.Struct):
    id: str


_ALL: Final = TOOL_CALL.where(SESSION_IS).order_by(tool_calls.c.seq)

_COUNT: Final = (
    select(session_heads.c.tool_call_count)
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(SESSION_IS)
)

_OF_OPEN: Final = _ALL.where(IS_OPEN)

_GET: Final = BoundedQuery(_ALL.where(tool_calls.c.id == bindparam("id")), ToolCall)

FIND: Final = BoundedQuery(
    _ALL.where(tool_calls.c.call_id == bindparam("call_id")), ToolCall
)

LIST: Final = BoundedQuery(_ALL, ToolCall, rows_max=_COUNT)

LIST_STATUS: Final = BoundedQuery(
    _ALL.where(tool_calls.c.status == bindparam("status")), ToolCall, rows_max=_COUNT
)

OPEN: Final = BoundedQuery(_OF_OPEN, ToolCall, rows_max=_COUNT)

_ANY_OPEN: Final = Query(
    _OF_OPEN.with_only_columns(tool_calls.c.id).limit(1),
    _Id,
)
