"""koda's SQLite files: tables ``sessions``, ``messages``, ``session_metadata`` and,
in later ones, ``session_events``, ``owned_files`` and ``tasks``.

Nothing in them tells their age, so every column but the oldest may be missing. Times
there are text of whole seconds. A message's id, which counts over all sessions, stays
its id as text. A session's ``mode`` is ``mode`` in its ``config``; the metadata
``todo`` is its todo list. Messages whose session is gone make a session of that id.

Calls in a message's ``tool_calls`` are kept in chat format, and are tool calls too: an
answered one is completed, any other failed with the error ``unanswered``.

A compaction there marks what it archives with one time and adds a summary and a hint;
see ``koda_compactions``.
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
        # Other files have rows without an id too.
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
