"""The tables of steer's files: those of its store, and those of its event store."""

from __future__ import annotations

from typing import Final

from turnstore.transfer.files.system import Table

SESSIONS: Final = "sessions"
MESSAGES: Final = "messages"
CALLS: Final = "tool_calls"
EVENTS: Final = "events"
SNAPSHOTS: Final = "session_snapshots"
DOMAIN_SESSIONS: Final = "domain_sessions"
DOMAIN_EVENTS: Final = "domain_events"
TODOS: Final = "session_todos"

SESSION_STATUSES: Final = ("active", "inactive")
POLICIES: Final = ("always_ask", "pre_approved", "mixed")
ROLES: Final = ("user", "assistant", "system", "tool")
CALL_STATUSES: Final = (
    "pending",
    "approved",
    "denied",
    "executing",
    "completed",
    "failed",
)

TABLES: Final = (
    Table(
        name=SESSIONS,
        session="id",
        columns=frozenset({"id", "status", "metadata", "tool_config"}),
        references={"active_message_id": MESSAGES},
    ),
    Table(
        name=MESSAGES,
        session="session_id",
        columns=frozenset({"id", "session_id", "sequence_num", "role", "content"}),
        key="id",
        references={"parent_message_id": MESSAGES},
    ),
    Table(
        name=CALLS,
        session="session_id",
        columns=frozenset({"id", "session_id", "tool_name", "parameters", "status"}),
        key="id",
        references={"message_id": MESSAGES},
    ),
    Table(
        name=EVENTS,
        session="session_id",
        columns=frozenset({"id", "session_id", "sequence_num", "event_data"}),
        key="id",
    ),
    Table(
        name=SNAPSHOTS,
        session="session_id",
        columns=frozenset({"session_id", "snapshot_data"}),
    ),
    Table(name=DOMAIN_SESSIONS, session="id", columns=frozenset({"id", "created_at"})),
    Table(
        name=DOMAIN_EVENTS,
        session="session_id",
        columns=frozenset({"id", "session_id", "sequence_num", "event_data"}),
        key="id",
    ),
    Table(
        name=TODOS,
        session="session_id",
        columns=frozenset({"session_id", "todos_json"}),
    ),
)

_NOW: Final = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
_TEXT_NOW: Final = "TEXT NOT NULL DEFAULT (datetime('now'))"
_OF_SESSION: Final = "TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE"
_OF_DOMAIN: Final = "REFERENCES domain_sessions(id) ON DELETE CASCADE"


def _one_of(column: str, texts: tuple[str, ...]) -> str:
    return f"CHECK ({column} IN ({', '.join(repr(each) for each in texts)}))"


SCHEMA: Final = (
    f"""CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        created_at {_NOW},
        updated_at {_NOW},
        status TEXT NOT NULL {_one_of("status", SESSION_STATUSES)},
        metadata TEXT NOT NULL DEFAULT '{{}}',
        tool_policy_type TEXT NOT NULL {_one_of("tool_policy_type", POLICIES)},
        pre_approved_tools TEXT NOT NULL DEFAULT '[]',
        tool_config TEXT NOT NULL DEFAULT '{{}}',
        workspace_config TEXT NOT NULL DEFAULT '{{"type":"local"}}',
        system_prompt TEXT,
        active_message_id TEXT
    )""",
    "CREATE INDEX idx_sessions_created_at ON sessions (created_at)",
    "CREATE INDEX idx_sessions_status ON sessions (status)",
    """CREATE TRIGGER update_sessions_updated_at AFTER UPDATE ON sessions
    BEGIN
        UPDATE sessions SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
    END""",
    f"""CREATE TABLE messages (
        id TEXT PRIMARY KEY,
        session_id {_OF_SESSION},
        sequence_num INTEGER NOT NULL,
        role TEXT NOT NULL {_one_of("role", ROLES)},
        content TEXT NOT NULL,
        created_at {_NOW},
        parent_message_id TEXT,
        UNIQUE (session_id, sequence_num)
    )""",
    "CREATE INDEX idx_messages_session_id ON messages (session_id, sequence_num)",
    "CREATE INDEX idx_messages_parent_id ON messages (parent_message_id)",
    f"""CREATE TABLE tool_calls (
        id TEXT PRIMARY KEY,
        session_id {_OF_SESSION},
        message_id TEXT REFERENCES messages(id) ON DELETE CASCADE,
        tool_name TEXT NOT NULL,
        parameters TEXT NOT NULL,
        status TEXT NOT NULL {_one_of("status", CALL_STATUSES)},
        result TEXT,
        error TEXT,
        started_at TIMESTAMP,
        completed_at TIMESTAMP,
        kind TEXT,
        payload_json TEXT,
        error_json TEXT
    )""",
    "CREATE INDEX idx_tool_calls_session_id ON tool_calls (session_id)",
    "CREATE INDEX idx_tool_calls_status ON tool_calls (status)",
    "CREATE INDEX idx_tool_calls_kind ON tool_calls (kind)",
    f"""CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id {_OF_SESSION},
        sequence_num INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        event_data TEXT NOT NULL,
        created_at {_NOW},
        UNIQUE (session_id, sequence_num)
    )""",
    "CREATE INDEX idx_events_session_id ON events (session_id, sequence_num)",
    "CREATE INDEX idx_events_created_at ON events (session_id, created_at)",
    f"""CREATE TABLE session_snapshots (
        id TEXT PRIMARY KEY,
        session_id {_OF_SESSION},
        event_sequence_num INTEGER NOT NULL,
        snapshot_data TEXT NOT NULL,
        created_at {_NOW}
    )""",
    f"""CREATE TABLE domain_sessions (
        id TEXT PRIMARY KEY,
        created_at {_TEXT_NOW},
        updated_at {_TEXT_NOW},
        config_json TEXT,
        message_count INTEGER NOT NULL DEFAULT 0,
        last_model TEXT,
        title TEXT
    )""",
    f"""CREATE TABLE domain_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL {_OF_DOMAIN},
        sequence_num INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        event_data TEXT NOT NULL,
        created_at {_TEXT_NOW},
        UNIQUE (session_id, sequence_num)
    )""",
    f"""CREATE TABLE session_todos (
        session_id TEXT PRIMARY KEY {_OF_DOMAIN},
        todos_json TEXT NOT NULL,
        updated_at {_TEXT_NOW}
    )""",
)
