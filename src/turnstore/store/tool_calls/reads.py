"""How tool calls are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, bindparam

from turnstore.records import ToolCall
from turnstore.sql.compiled import Value
from turnstore.sql.query import Query
from turnstore.sql.schema import IS_OPEN, tool_calls
from turnstore.store.heads import of_session
from turnstore.store.selects import SESSION_IS, TOOL_CALL


def get_tool_call(connection: Connection, session_id: str, id: str) -> ToolCall | None:
    return _GET.one(connection, session=session_id, id=id)


def list_tool_calls(
    connection: Connection,
    query: Query[ToolCall],
    session_id: str,
    values: Mapping[str, Value],
) -> list[ToolCall]:
    found = query(connection, session=session_id, **values)
    return of_session(connection, session_id, found)


_ALL: Final = TOOL_CALL.where(SESSION_IS).order_by(tool_calls.c.seq)

_OF_OPEN: Final = _ALL.where(IS_OPEN)

_GET: Final = Query(_ALL.where(tool_calls.c.id == bindparam("id")), ToolCall)

FIND: Final = Query(_ALL.where(tool_calls.c.call_id == bindparam("call_id")), ToolCall)

LIST: Final = Query(_ALL, ToolCall)

LIST_STATUS: Final = Query(
    _ALL.where(tool_calls.c.status == bindparam("status")), ToolCall
)

OPEN: Final = Query(_OF_OPEN, ToolCall)

ANY_OPEN: Final = Query(_OF_OPEN.limit(1), ToolCall)
