"""The tables of koda's files, as its latest known release makes them."""

from __future__ import annotations

from typing import Final

from turnstore.transfer.files.system import Table

SESSIONS: Final = "sessions"
MESSAGES: Final = "messages"
METADATA: Final = "session_metadata"
EVENTS: Final = "session_events"
TODO_KEY: Final = "todo"
"""The metadata key of the todo list."""
TOKENS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "thinking_tokens",
)
UNPLACED: Final = ("owned_files", "tasks")
"""Tables with rows of sessions that the store has no place for."""

TABLES: Final = (
    Table(name=SESSIONS, session="id", columns=frozenset({"id", "agent_name"})),
    Table(
        name=MESSAGES,
        session="session_id",
        columns=frozenset({"id", "session_id", "role", "content", "tool_calls"}),
        key="id",
    ),
    Table(
        name=METADATA,
        session="session_id",
        columns=frozenset({"session_id", "key", "value"}),
    ),
    Table(
        name=EVENTS,
        session="session_id",
        columns=frozenset({"id", "session_id", "kind", "payload"}),
        key="id",
    ),
    *(
        Table(name=each, session="session_id", columns=frozenset({"session_id"}))
        for each in UNPLACED
    ),
)

_NOW: Final = "DATETIME DEFAULT CURRENT_TIMESTAMP"
_KEY: Final = "id INTEGER PRIMARY KEY AUTOINCREMENT"
_OF_SESSION: Final = "session_id TEXT NOT NULL REFERENCES sessions(id)"

SCHEMA: Final = (
    f"""CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        created_at {_NOW},
        agent_name TEXT NOT NULL,
        project_root TEXT,
        last_accessed_at TEXT,
        title TEXT,
        mode TEXT
    )""",
    f"""CREATE TABLE messages (
        {_KEY},
        {_OF_SESSION},
        role TEXT NOT NULL,
        content TEXT,
        full_content TEXT,
        tool_calls TEXT,
        tool_call_id TEXT,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_creation_tokens INTEGER,
        thinking_tokens INTEGER,
        thinking_content TEXT,
        agent_name TEXT,
        compacted_at TEXT,
        completed_at DATETIME,
        created_at {_NOW}
    )""",
    "CREATE INDEX idx_messages_session_id ON messages (session_id)",
    "CREATE INDEX idx_messages_role_id ON messages (role, id DESC)",
    f"""CREATE TABLE session_metadata (
        {_OF_SESSION},
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        updated_at {_NOW},
        PRIMARY KEY (session_id, key)
    )""",
    f"""CREATE TABLE session_events (
        {_KEY},
        {_OF_SESSION},
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        parent_tool_call_id TEXT,
        created_at {_NOW}
    )""",
    "CREATE INDEX idx_session_events_session_id ON session_events (session_id, id)",
)
