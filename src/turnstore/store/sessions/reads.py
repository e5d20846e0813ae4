"""How sessions are read: one, several, and one with all that it holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import Connection, bindparam

from turnstore.records import (
    Session,
    SessionState,
    ToolCall,
)
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import is_in
from turnstore.sql.schema import (
    sessions,
    tool_calls,
)
from turnstore.store.messages.reads import Range, list_snapshot
from turnstore.store.selects import SESSION, SESSION_IS, TOOL_CALL


def get_session(connection: Connection, session_id: str) -> Session | None:
    return _SESSION.one(connection, session=session_id)


def load_session(connection: Connection, session_id: str) -> SessionState | None:
    session = _SESSION.one(connection, session=session_id)
    if session is None:
        return None
    return SessionState(
        session=session,
        messages=list_snapshot(connection, Range(session_id=session_id)),
        tool_calls=_TOOL_CALLS(connection, session=session_id),
    )


_SESSION: Final = BoundedQuery(
    SESSION.where(SESSION_IS), Session, computed=["metadata"]
)

_TOOL_CALLS: Final = BoundedQuery(
    TOOL_CALL.where(SESSION_IS).order_by(tool_calls.c.seq), ToolCall
)


def read_sessions(
    connection: Connection, keys: Mapping[str, int]
) -> dict[str, Session]:
    """Return sessions by id, as they are now in this transaction."""
    if not keys:
        return {}
    found = _SESSIONS(connection, len(keys), keys=codec.array(keys.values()))
    return {each.id: each for each in found}


def sessions_by_key(
    connection: Connection, keys: Collection[int]
) -> dict[int, Session]:
    """Return sessions that exist, by key. For a snapshot."""
    found = _SESSIONS(connection, keys=codec.array(keys))
    return dict(zip(sorted(keys), found, strict=True))


_SESSIONS: Final = BoundedQuery(
    SESSION.where(is_in(sessions.c.session_key, bindparam("keys"))).order_by(
        sessions.c.session_key
    ),
    Session,
    computed=["metadata"],
)
