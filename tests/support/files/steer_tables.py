"""steer's tables, and a file of them being written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.files.odd_values import Sql, compact
from turnstore.engine.sqlite.library import library

EARLY = (
    (
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "status TEXT NOT NULL CHECK (status IN ('active', 'inactive')), "
        "metadata TEXT NOT NULL DEFAULT '{}', tool_policy_type TEXT NOT NULL "
        "CHECK (tool_policy_type IN ('always_ask', 'pre_approved', 'mixed')), "
        "pre_approved_tools TEXT NOT NULL DEFAULT '[]', "
        "tool_config TEXT NOT NULL DEFAULT '{}')"
    ),
    "CREATE INDEX idx_sessions_created_at ON sessions(created_at)",
    "CREATE INDEX idx_sessions_status ON sessions(status)",
    (
        "CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, "
        "sequence_num INTEGER NOT NULL, role TEXT NOT NULL "
        "CHECK (role IN ('user', 'assistant', 'system', 'tool')), "
        "content TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    "CREATE INDEX idx_messages_session_id ON messages(session_id, sequence_num)",
    (
        "CREATE TABLE tool_calls (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, "
        "message_id TEXT, tool_name TEXT NOT NULL, parameters TEXT NOT NULL, "
        "status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', "
        "'executing', 'completed', 'failed')), result TEXT, error TEXT, "
        "started_at TIMESTAMP, completed_at TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "FOREIGN KEY (message_id) REFERENCES messages(id) ON DELETE CASCADE)"
    ),
    "CREATE INDEX idx_tool_calls_session_id ON tool_calls(session_id)",
    "CREATE INDEX idx_tool_calls_status ON tool_calls(status)",
    (
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, sequence_num INTEGER NOT NULL, "
        "event_type TEXT NOT NULL, event_data TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    "CREATE INDEX idx_events_created_at ON events(session_id, created_at)",
    (
        "CREATE TABLE session_snapshots (id TEXT PRIMARY KEY, "
        "session_id TEXT NOT NULL, "
        "event_sequence_num INTEGER NOT NULL, snapshot_data TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE)"
    ),
)
"""The first five migrations."""

TRIGGER = (
    (
        "CREATE TRIGGER update_sessions_updated_at AFTER UPDATE ON sessions BEGIN "
        "UPDATE sessions SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id; END"
    ),
)
MIGRATIONS = (
    (
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, "
        "description TEXT NOT NULL, "
        "installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "success BOOLEAN NOT NULL, checksum BLOB NOT NULL, "
        "execution_time BIGINT NOT NULL)"
    ),
    (
        "INSERT INTO _sqlx_migrations VALUES (20240101000001, 'create sessions', "
        "'2025-07-24 09:00:00', 1, x'00ff10', 1250000)"
    ),
)
REST = (
    (
        "ALTER TABLE sessions ADD COLUMN workspace_config TEXT NOT NULL "
        """DEFAULT '{"type":"local"}'"""
    ),
    "ALTER TABLE sessions ADD COLUMN system_prompt TEXT",
    "ALTER TABLE messages ADD COLUMN parent_message_id TEXT",
    "CREATE INDEX idx_messages_parent_id ON messages(parent_message_id)",
    "ALTER TABLE tool_calls ADD COLUMN kind TEXT",
    "ALTER TABLE tool_calls ADD COLUMN payload_json TEXT",
    "ALTER TABLE tool_calls ADD COLUMN error_json TEXT",
    "CREATE INDEX idx_tool_calls_kind ON tool_calls(kind)",
    "ALTER TABLE sessions ADD COLUMN active_message_id TEXT",
)
"""What the other migrations of the store add."""

REBUILT = (
    "PRAGMA foreign_keys = OFF",
    "DROP INDEX idx_sessions_status",
    "DROP TRIGGER update_sessions_updated_at",
    "ALTER TABLE sessions DROP COLUMN pre_approved_tools",
    # The column with its CHECK can't be dropped alone.
    "CREATE TABLE sessions_new AS SELECT * FROM sessions",
    "ALTER TABLE sessions_new DROP COLUMN tool_policy_type",
    "DROP TABLE sessions",
    "ALTER TABLE sessions_new RENAME TO sessions",
)
"""As the later migration leaves it, without the policy's columns."""

DOMAIN = (
    (
        "CREATE TABLE domain_sessions (id TEXT PRIMARY KEY, "
        "created_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "updated_at TEXT NOT NULL DEFAULT (datetime('now')), config_json TEXT, "
        "message_count INTEGER NOT NULL DEFAULT 0, last_model TEXT)"
    ),
    (
        "CREATE TABLE domain_events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, sequence_num INTEGER NOT NULL, "
        "event_type TEXT NOT NULL, event_data TEXT NOT NULL, "
        "created_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "FOREIGN KEY (session_id) REFERENCES domain_sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    (
        "CREATE INDEX idx_domain_events_session_seq "
        "ON domain_events(session_id, sequence_num)"
    ),
    (
        "CREATE TABLE session_todos (session_id TEXT PRIMARY KEY, "
        "todos_json TEXT NOT NULL, updated_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "FOREIGN KEY (session_id) REFERENCES domain_sessions(id) ON DELETE CASCADE)"
    ),
    "ALTER TABLE domain_sessions ADD COLUMN title TEXT",
)

ONE = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0001"
TWO = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0002"
NEW = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0003"
MODEL = "Claude3_5Sonnet20241022"
MODEL_ID = {"provider": "anthropic", "id": "claude-sonnet-4-5"}

POLICY = {"type": "mixed", "pre_approved": ["bash"], "ask_for_others": False}
TOOL_CONFIG = {
    "backends": [{"type": "local", "tool_filter": "all"}],
    "visibility": {"type": "all"},
    "approval_policy": POLICY,
    "metadata": {},
    "tools": {"bash": {"approved_patterns": ["git *"]}},
}


def dumps(value: Any) -> str:
    return compact(value)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool_call(id: str, name: str = "bash", **parameters: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "parameters": parameters}


def calls(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "tool_call", "tool_call": each} for each in given]


def answer(id: str, payload: str = "ok") -> dict[str, Any]:
    result = {"External": {"tool_name": "bash", "payload": payload}}
    return {"tool_use_id": id, "result": result}


class SteerFile:
    """A file that is being written."""

    def __init__(self, path: Path, *schema: Sequence[str]) -> None:
        self.path = path
        self.connection = library().module.connect(str(path), isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        for statements in schema:
            self.run(*statements)
        self.seconds = 0
        self.heads: dict[tuple[str, Any], int] = {}

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement)

    def close(self) -> Path:
        self.connection.close()
        return self.path

    def time(self, fraction: str = ".123456789") -> str:
        """As bound by the store."""
        self.seconds += 1
        minutes, seconds = divmod(self.seconds, 60)
        return f"2025-07-24T10:{minutes:02}:{seconds:02}{fraction}+00:00"

    def plain_time(self) -> str:
        """As CURRENT_TIMESTAMP."""
        return self.time("")[:19].replace("T", " ")

    def insert(self, table: str, **values: Any) -> None:
        slots = [each if isinstance(each, Sql) else "?" for each in values.values()]
        given = [each for each in values.values() if not isinstance(each, Sql)]
        statement = (
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(slots)})"
        )
        self.connection.execute(statement, given)

    def next(self, table: str, session: Any) -> int:
        place = (table, repr(session))
        self.heads[place] = self.heads.get(place, -1) + 1
        return self.heads[place]

    def session(self, id: Any = ONE, **values: Any) -> None:
        values = {
            "created_at": self.time(),
            "updated_at": self.plain_time(),
            "status": "inactive",
            "metadata": "{}",
            "tool_policy_type": "always_ask",
            "pre_approved_tools": "[]",
            "tool_config": dumps({"approval_policy": {"type": "always_ask"}}),
            **values,
        }
        values = {name: each for name, each in values.items() if each is not ...}
        self.insert("sessions", id=id, **values)

    def message(
        self, id: Any, role: Any, content: Any, session: Any = ONE, **values: Any
    ) -> None:
        if isinstance(content, list | dict):
            content = dumps(content)
        values = {
            "sequence_num": self.next("messages", session),
            "created_at": self.time(),
            **values,
        }
        self.insert(
            "messages", id=id, session_id=session, role=role, content=content, **values
        )

    def call(self, id: Any, status: str, session: Any = ONE, **values: Any) -> None:
        values = {"tool_name": "bash", "parameters": '{"command":"ls"}', **values}
        self.insert("tool_calls", id=id, session_id=session, status=status, **values)

    def event(
        self,
        type: Any,
        session: Any = ONE,
        data: Any = None,
        sequence_num: Any = None,
        **rest: Any,
    ) -> None:
        if data is None:
            data = dumps({"type": type, **rest})
        if sequence_num is None:
            sequence_num = self.next("events", session)
        self.insert(
            "events",
            session_id=session,
            sequence_num=sequence_num,
            event_type=type,
            event_data=data,
            created_at=self.time(),
        )

    def domain_event(
        self, type: Any, variant: Any, session: Any = NEW, sequence_num: Any = None
    ) -> None:
        if sequence_num is None:
            sequence_num = self.next("domain_events", session)
        is_raw = isinstance(variant, str | bytes)
        self.insert(
            "domain_events",
            session_id=session,
            sequence_num=sequence_num,
            event_type=type,
            event_data=variant if is_raw else dumps(variant),
            created_at=self.plain_time(),
        )


def message_of(id: str, parent: str | None, **data: Any) -> dict[str, Any]:
    return {
        "timestamp": 1753351200,
        "id": id,
        "parent_message_id": parent,
        "data": data,
    }


def domain_session(file: SteerFile, id: Any, **values: Any) -> None:
    now = file.plain_time()
    values = {"created_at": now, "updated_at": now, **values}
    file.insert("domain_sessions", id=id, **values)
