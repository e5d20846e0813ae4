"""How events and the head of their log are read."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from turnstore.errors import SessionNotFound
from turnstore.records import Event
from turnstore.sql.bounded import Portion
from turnstore.sql.bulk import is_in
from turnstore.sql.query import PlainQuery
from turnstore.sql.schema import events, session_heads, sessions
from turnstore.store.heads import of_session
from turnstore.store.history import History
from turnstore.store.selects import EVENT_COLUMNS, SESSION_IS


def list_single_statement(
    connection: Connection,
    history: History[Event],
    limit: int | None,
    values: dict[str, Any],
) -> list[Event] | None:
    answer = history.single_statement(connection, limit, **values)
    if answer is None:
        return None
    return of_session(connection, values["session"], answer[0])


def page_single_statement(
    connection: Connection, limit: int, values: dict[str, Any]
) -> Portion[Event] | None:
    found = ALL.portion(connection, limit, **values)
    return None if found is None else _page(connection, values, found)


def page_snapshot(
    connection: Connection, limit: int, values: dict[str, Any]
) -> Portion[Event]:
    found = ALL.snapshot_portion(connection, limit, **values)
    return _page(connection, values, found)


def _page(
    connection: Connection, values: dict[str, Any], found: Portion[Event]
) -> Portion[Event]:
    of_session(connection, values["session"], found.rows)
    return found


def list_snapshot(
    connection: Connection,
    history: History[Event],
    limit: int | None,
    values: dict[str, Any],
) -> list[Event]:
    found = history.snapshot(connection, limit, **values)
    return of_session(connection, values["session"], found)


def read_head(connection: Connection, session_id: str) -> int:
    for head in _HEAD(connection, session=session_id):
        return head
    raise SessionNotFound(session_id)


ALL: Final = History("event", events, EVENT_COLUMNS, Event)

OF_TYPES: Final = History(
    "event",
    events,
    EVENT_COLUMNS,
    Event,
    is_in(events.c.type, bindparam("types")),
)

_HEAD: Final = PlainQuery(
    select(session_heads.c.event_head)
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(SESSION_IS),
    int,
)
