"""steer's SQLite files: of its store, of its event store, or of both.

A session of the store has rows in ``sessions``, ``messages``, ``tool_calls`` and
``events``; see ``reading``. A session of the event store has rows in
``domain_sessions`` and ``domain_events``; see ``domain``. A session that is in both is
read from the store's tables, and its other rows are kept. Messages and events that have
no row of their session make a session of that id.

``turnstore.transfer`` imports ``SYSTEM`` from here. Code here only converts rows: it
touches neither a file nor a store.
"""

from __future__ import annotations

from typing import Final

from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.system import SessionWriter, SourceSession, System
from turnstore.transfer.rows import SessionRows
from turnstore.transfer.steer import domain, reading, writing
from turnstore.transfer.steer.domain import CONFIG
from turnstore.transfer.steer.schema import (
    DOMAIN_EVENTS,
    DOMAIN_SESSIONS,
    EVENTS,
    MESSAGES,
    SCHEMA,
    SESSIONS,
    SNAPSHOTS,
    TABLES,
)

IMMUTABLE: Final = ("id", "created_at")

_OF_STORE: Final = (SESSIONS, MESSAGES, EVENTS)
_OF_DOMAIN: Final = (DOMAIN_SESSIONS, DOMAIN_EVENTS)


def session_id(source: SourceSession) -> str | None:
    if not any(source[each] for each in _OF_STORE + _OF_DOMAIN):
        return None
    known_by = source.id
    if known_by is None:
        # Not the same for all files: others may have rows without an id too.
        row = next(iter(source[SESSIONS] + source[DOMAIN_SESSIONS]), {})
        known_by = repr([row.get(column) for column in IMMUTABLE])
    return cells.identifier(source.id) or cells.derived_id("steer", known_by)


def read(source: SourceSession, session_id: str) -> SessionRows:
    is_of_store = any(source[each] for each in _OF_STORE)
    tables = reading.PLACED if is_of_store else domain.PLACED
    for name in [each for each in source.rows if each not in tables]:
        reason = "its session is in other tables"
        if name == SNAPSHOTS:
            reason = "no place of its own"
        for row in list(source[name]):
            source.set_aside(name, row, reason)
    first = SESSIONS if is_of_store else DOMAIN_SESSIONS
    for row in source[first][1:]:  # NULL is no key
        source.set_aside(first, row, "another row with its id")
    if not source[first]:
        source.note(f"{first}: no row for its session")
    if is_of_store:
        return reading.read(source, session_id)
    return domain.read(source, session_id)


def write(rows: SessionRows, writer: SessionWriter) -> None:
    config = codec.decode(rows.session.config)
    if isinstance(config, dict) and CONFIG in config:
        domain.write(rows, writer, config[CONFIG])
    else:
        writing.write(rows, writer, config)


SYSTEM: Final = System(
    name="steer",
    tables=TABLES,
    required=frozenset({SESSIONS, EVENTS}),
    or_required=frozenset(_OF_DOMAIN),
    immutable=IMMUTABLE,
    schema=SCHEMA,
    history=frozenset({"_sqlx_migrations"}),
    pragmas={"journal_mode": "wal"},
    holds=frozenset({"messages", "tool_calls", "events"}),
    session_id=session_id,
    read=read,
    write=write,
)
