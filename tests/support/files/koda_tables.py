"""koda's tables, at each age of its schema, and a file of them being written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.files.odd_values import Sql
from turnstore.engine.sqlite.library import library

FIRST = (
    (
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, "
        "created_at DATETIME DEFAULT CURRENT_TIMESTAMP, agent_name TEXT NOT NULL)"
    ),
    (
        "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT, tool_calls TEXT, "
        "tool_call_id TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, "
        "created_at DATETIME DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY(session_id) REFERENCES sessions(id))"
    ),
    "CREATE INDEX idx_messages_session_id ON messages(session_id)",
)
"""0.1.3: before any column was added."""

ADDED = (
    "ALTER TABLE sessions ADD COLUMN project_root TEXT",
    "ALTER TABLE sessions ADD COLUMN last_accessed_at TEXT",
    "ALTER TABLE messages ADD COLUMN cache_read_tokens INTEGER",
    "ALTER TABLE messages ADD COLUMN cache_creation_tokens INTEGER",
    "ALTER TABLE messages ADD COLUMN thinking_tokens INTEGER",
    "ALTER TABLE messages ADD COLUMN agent_name TEXT",
    "ALTER TABLE messages ADD COLUMN compacted_at TEXT",
    "CREATE INDEX idx_messages_role_id ON messages(role, id DESC)",
    (
        "CREATE TABLE session_metadata (session_id TEXT NOT NULL, key TEXT NOT NULL, "
        "value TEXT NOT NULL, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, "
        "PRIMARY KEY(session_id, key), FOREIGN KEY(session_id) REFERENCES sessions(id))"
    ),
)
"""0.1.13: what came with 0.1.4 to 0.1.13."""

LATER = (
    "ALTER TABLE sessions ADD COLUMN title TEXT",
    "ALTER TABLE sessions ADD COLUMN mode TEXT",
    "ALTER TABLE messages ADD COLUMN full_content TEXT",
    "ALTER TABLE messages ADD COLUMN thinking_content TEXT",
    "ALTER TABLE messages ADD COLUMN completed_at DATETIME",
    (
        "CREATE TABLE owned_files (session_id TEXT NOT NULL, path TEXT NOT NULL, "
        "created_at DATETIME DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY(session_id, path))"
    ),
    (
        "CREATE TABLE kv_store (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
        "updated_at DATETIME DEFAULT CURRENT_TIMESTAMP)"
    ),
    (
        "CREATE TABLE input_history (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "input TEXT NOT NULL, created_at DATETIME DEFAULT CURRENT_TIMESTAMP)"
    ),
    (
        "CREATE TABLE session_events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL, "
        "parent_tool_call_id TEXT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY(session_id) REFERENCES sessions(id))"
    ),
    "CREATE INDEX idx_session_events ON session_events(session_id, id)",
    (
        "CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "status TEXT NOT NULL CHECK(status IN ('running', 'done', 'failed')), "
        "prompt TEXT NOT NULL, session_id TEXT, project_root TEXT, "
        "created_at INTEGER NOT NULL, completed_at INTEGER, exit_code INTEGER)"
    ),
)
"""0.2.x."""

ONE = "6c1f2a34-0d5b-4a8e-9d1e-5b7a31c0a001"
TWO = "6c1f2a34-0d5b-4a8e-9d1e-5b7a31c0a002"
HINT = "Go on from the summary."


class KodaFile:
    """A file that is being written."""

    def __init__(self, path: Path, *schema: tuple[str, ...], wal: bool = True) -> None:
        self.path = path
        self.connection = library().module.connect(str(path), isolation_level=None)
        if wal:
            self.connection.execute("PRAGMA journal_mode = WAL")
        for statements in schema:
            for statement in statements:
                self.connection.execute(statement)
        self.seconds = 0

    def close(self) -> Path:
        self.connection.close()
        return self.path

    def time(self) -> str:
        self.seconds += 1
        minutes, seconds = divmod(self.seconds, 60)
        return f"2025-03-04 10:{minutes:02}:{seconds:02}"

    def insert(self, table: str, **values: Any) -> int:
        slots = [each if isinstance(each, Sql) else "?" for each in values.values()]
        given = [each for each in values.values() if not isinstance(each, Sql)]
        statement = (
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(slots)})"
        )
        return int(self.connection.execute(statement, given).lastrowid)

    def session(self, id: Any = ONE, **values: Any) -> None:
        values = {"agent_name": "koda", "created_at": self.time(), **values}
        self.insert("sessions", id=id, **values)

    def message(
        self, role: Any, content: Any = None, session: Any = ONE, **values: Any
    ) -> int:
        values = {"created_at": self.time(), **values}
        return self.insert(
            "messages", session_id=session, role=role, content=content, **values
        )

    def compact(
        self, summary: str, preserve: int, session: str = ONE, **hint: Any
    ) -> list[int]:
        """As koda does it; return the ids of the summary and the hint."""
        now = self.time()
        active = [
            each
            for (each,) in self.connection.execute(
                "SELECT id FROM messages WHERE session_id = ? AND compacted_at IS NULL "
                "ORDER BY id",
                (session,),
            )
        ]
        for each in active[: max(0, len(active) - preserve)]:
            self.connection.execute(
                "UPDATE messages SET compacted_at = ? WHERE id = ?", (now, each)
            )
        return [
            self.message("system", summary, session, created_at=now),
            self.message("assistant", HINT, session, created_at=now, **hint),
        ]
