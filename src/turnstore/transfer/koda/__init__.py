"""koda's SQLite files: tables ``sessions``, ``messages``, ``session_metadata`` and,
in files of later releases, ``session_events``, ``owned_files`` and ``tasks``.

A file does not say which release wrote it, so any column but the oldest ones may be
missing. Times are text with whole seconds. koda numbers messages over all sessions;
that number becomes the message's id, as text. A session's ``mode`` becomes ``mode`` in
its ``config``, and the metadata ``todo`` its todo list. Messages that have no row of
their session make a session of that id.

Calls in a message's ``tool_calls`` are kept in chat format, and become tool calls too:
``completed`` if they were answered, else ``failed`` with the error ``unanswered``.

A compaction marks what it archives with one time, and adds a summary and a hint; see
``compactions``.

``turnstore.transfer`` imports ``SYSTEM`` from here. Code here only converts rows: it
touches neither a file nor a store.
"""

from __future__ import annotations

from typing import Final

from turnstore.transfer.files import cells
from turnstore.transfer.files.system import SourceSession, System
from turnstore.transfer.koda.reading import read
from turnstore.transfer.koda.schema import MESSAGES, SCHEMA, SESSIONS, TABLES
from turnstore.transfer.koda.writing import write

IMMUTABLE: Final = ("id", "created_at", "agent_name")


def session_id(source: SourceSession) -> str | None:
    if not source[SESSIONS] and not source[MESSAGES]:
        return None
    known_by = source.id
    if known_by is None:
        # Not the same for all files: others may have rows without an id too.
        row = source[SESSIONS][0] if source[SESSIONS] else {}
        known_by = repr([row.get(column) for column in IMMUTABLE])
    return cells.identifier(source.id) or cells.derived_id("koda", known_by)


SYSTEM: Final = System(
    name="koda",
    tables=TABLES,
    required=frozenset({SESSIONS, MESSAGES}),
    immutable=IMMUTABLE,
    schema=SCHEMA,
    pragmas={"auto_vacuum": 2, "journal_mode": "wal"},
    holds=frozenset({"messages", "events"}),
    session_id=session_id,
    read=read,
    write=write,
)
