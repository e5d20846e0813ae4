"""Files as nocodo left them, and what goes wrong in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.transfer.round_trip import make

SESSIONS = (
    "CREATE TABLE agent_sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "agent_name TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, "
    "system_prompt TEXT, user_prompt TEXT NOT NULL, config TEXT, "
    "status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', "
    "'completed', 'failed', 'waiting_for_user_input')), "
    "started_at INTEGER NOT NULL, ended_at INTEGER, result TEXT, error TEXT)"
)
LEGACY_SESSIONS = SESSIONS.replace("config TEXT, ", "").replace(
    ", 'waiting_for_user_input'", ""
)
OF_SESSION = (
    "session_id INTEGER NOT NULL REFERENCES agent_sessions (id) ON DELETE CASCADE"
)
REST = (
    (
        "CREATE TABLE agent_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        f"{OF_SESSION}, role TEXT NOT NULL CHECK (role IN ('user', 'assistant', "
        "'system', 'tool')), content TEXT NOT NULL, created_at INTEGER NOT NULL)"
    ),
    (
        "CREATE INDEX idx_agent_messages_session_created "
        "ON agent_messages(session_id, created_at)"
    ),
    (
        "CREATE TABLE agent_tool_calls (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        f"{OF_SESSION}, message_id INTEGER REFERENCES agent_messages (id) "
        "ON DELETE SET NULL, tool_call_id TEXT NOT NULL, tool_name TEXT NOT NULL, "
        "request TEXT NOT NULL, response TEXT, status TEXT NOT NULL DEFAULT 'pending' "
        "CHECK (status IN ('pending', 'executing', 'completed', 'failed')), "
        "created_at INTEGER NOT NULL, completed_at INTEGER, execution_time_ms INTEGER, "
        "error_details TEXT)"
    ),
    "CREATE INDEX idx_agent_tool_calls_session ON agent_tool_calls(session_id)",
    "CREATE INDEX idx_agent_tool_calls_status ON agent_tool_calls(session_id, status)",
    (
        "CREATE TABLE project_requirements_qna (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        f"{OF_SESSION}, tool_call_id INTEGER REFERENCES agent_tool_calls (id) "
        "ON DELETE CASCADE, question_id TEXT NOT NULL, question TEXT NOT NULL, "
        "description TEXT, response_type TEXT NOT NULL DEFAULT 'text', answer TEXT, "
        "created_at INTEGER NOT NULL, answered_at INTEGER)"
    ),
    (
        "CREATE TABLE project_settings (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        f"{OF_SESSION}, tool_call_id INTEGER REFERENCES agent_tool_calls (id) "
        "ON DELETE CASCADE, setting_key TEXT NOT NULL, setting_name TEXT NOT NULL, "
        "description TEXT, setting_type TEXT NOT NULL DEFAULT 'text', "
        "setting_value TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)"
    ),
    "CREATE INDEX idx_project_settings_key ON project_settings(setting_key)",
)
HISTORY = (
    (
        "CREATE TABLE refinery_schema_history (version INTEGER PRIMARY KEY, "
        "name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))"
    ),
    (
        "INSERT INTO refinery_schema_history VALUES (?, ?, ?, ?)",
        [(n, f"create_{n}", "2026-02-03T10:00:00Z", str(n * 77)) for n in range(1, 6)],
    ),
)
SCHEMA = (SESSIONS, *REST)


def insert(table: str, *rows: dict[str, Any]) -> tuple[str, list[list[Any]]]:
    columns = ", ".join(rows[0])
    marks = ", ".join("?" * len(rows[0]))
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({marks})",
        [list(row.values()) for row in rows],
    )


def session(id: int | None = None, **given: Any) -> dict[str, Any]:
    return {
        "id": id,
        "agent_name": "sqlite",
        "provider": "anthropic",
        "model": "claude",
        "system_prompt": None,
        "user_prompt": "List the tables",
        "config": json.dumps({"type": "sqlite", "db_path": "/a.db"}),
        "status": "completed",
        "started_at": 1_770_000_000,
        "ended_at": 1_770_000_060,
        "result": "Three tables",
        "error": None,
        **given,
    }


def message(session_id: int, content: Any, **given: Any) -> dict[str, Any]:
    return {
        "id": None,
        "session_id": session_id,
        "role": "user",
        "content": content,
        "created_at": 1_770_000_001,
        **given,
    }


def call(session_id: int, **given: Any) -> dict[str, Any]:
    return {
        "id": None,
        "session_id": session_id,
        "message_id": None,
        "tool_call_id": "call_1",
        "tool_name": "query",
        "request": '{"sql": "SELECT 1",  "n": 1.0}',
        "response": '{"rows":[[1]]}',
        "status": "completed",
        "created_at": 1_770_000_002,
        "completed_at": 1_770_000_003,
        "execution_time_ms": 12,
        "error_details": None,
        **given,
    }


def question(session_id: int, **given: Any) -> dict[str, Any]:
    return {
        "id": None,
        "session_id": session_id,
        "tool_call_id": None,
        "question_id": "q1",
        "question": "Which database?",
        "description": None,
        "response_type": "filepath",
        "answer": None,
        "created_at": 1_770_000_004,
        "answered_at": None,
        **given,
    }


def setting(session_id: int, **given: Any) -> dict[str, Any]:
    return {
        "id": None,
        "session_id": session_id,
        "tool_call_id": None,
        "setting_key": "db.password",
        "setting_name": "Password",
        "description": "of the database",
        "setting_type": "password",
        "setting_value": "hunter2",
        "created_at": 1_770_000_005,
        "updated_at": 1_770_000_006,
        **given,
    }


def ordinary(path: Path) -> Path:
    """Two sessions, interleaved, with all there is; ids have gaps."""
    return make(
        path,
        *SCHEMA,
        *HISTORY,
        insert("agent_sessions", session(3), session(9, status="running")),
        insert(
            "agent_messages",
            message(3, "List the tables"),
            message(9, "", role="system"),
            message(3, "Three", role="assistant"),
            message(3, '{"rows":[[1]]}', role="tool"),
        ),
        "DELETE FROM agent_messages WHERE id = 2",
        insert("agent_messages", message(9, "again", role="user")),
        insert(
            "agent_tool_calls",
            call(3, message_id=3),
            call(3, status="pending", response=None, completed_at=None),
            call(9, status="failed", error_details="no such table", response=None),
        ),
        insert("project_requirements_qna", question(3, tool_call_id=1), question(3)),
        insert("project_settings", setting(9), setting(3, setting_type="text")),
    )


def legacy(path: Path) -> Path:
    """Before ``config``, with none of the later tables."""
    old = session(4)
    del old["config"]
    return make(
        path,
        LEGACY_SESSIONS,
        *REST[:2],
        insert("agent_sessions", old),
        insert("agent_messages", message(4, "hello")),
    )


def configs(path: Path) -> Path:
    """Every way in which a config can be nothing, or not what it should be."""
    kinds: list[Any] = [
        None,
        "null",
        "{}",
        "",
        '{"a":1,"a":2}',
        " [1.0, 1e2] ",
        "{bad",
        "1e999",
    ]
    kinds += ["[" * 300 + "]" * 300, "1" * 5_000, b"{}", '"\\ud800"', "NaN"]
    return make(
        path, *SCHEMA, insert("agent_sessions", *(session(config=x) for x in kinds))
    )


def unknown_texts(path: Path) -> Path:
    """Texts that the enumerations have not, as a tampered or a later file may hold."""
    return make(
        path,
        "PRAGMA ignore_check_constraints = ON",
        *SCHEMA,
        insert("agent_sessions", session(1, status="paused"), session(2, status="")),
        insert(
            "agent_messages",
            message(1, "a", role="phase"),
            message(1, "b", role=b"user"),
            message(2, "c", role="User"),
        ),
        insert(
            "agent_tool_calls",
            call(1, status="queued", response=None, completed_at=None),
            call(1, status="PENDING"),
            call(1, status="pending"),
        ),
    )


def repeated(path: Path) -> Path:
    """Equal rows, questions asked twice under one id, ids that a provider repeats."""
    return make(
        path,
        *SCHEMA,
        insert("agent_sessions", session(), session()),
        insert("agent_messages", *[message(1, "same")] * 3),
        insert("agent_tool_calls", *[call(1)] * 2),
        insert("project_requirements_qna", *[question(1, answer="")] * 2, question(2)),
        insert("project_settings", *[setting(1)] * 2, setting(2, setting_value=None)),
    )


def orphans(path: Path) -> Path:
    """Rows whose session, message or tool call is gone."""
    return make(
        path,
        *SCHEMA,
        insert("agent_sessions", session(5)),
        insert("agent_messages", message(1, "gone"), message(5, "there")),
        insert("agent_messages", *(message(7, f"gone {n}") for n in range(600))),
        insert("agent_tool_calls", call(5, message_id=1), call(5, message_id=999)),
        insert("agent_tool_calls", call(6)),
        insert("project_requirements_qna", question(5, tool_call_id=3), question(8)),
        insert("project_settings", setting(5, tool_call_id=77)),
    )


ODD: tuple[Any, ...] = (
    b"\x00\xff",
    "a\x00b",
    "",
    "\U0001f600 \u2028 é",
    "x" * 5_000,
    "'; DROP TABLE agent_sessions; --",
)
BAD_TEXT = "CAST(x'ff61fe' AS TEXT)"


def odd_cells(path: Path) -> Path:
    """What SQLite lets a column hold whatever its type."""
    return make(
        path,
        *SCHEMA,
        insert(
            "agent_sessions",
            *(
                session(
                    agent_name=x,
                    provider=x,
                    model=x,
                    system_prompt=x,
                    user_prompt=x,
                    config=x,
                    result=x,
                    error=x,
                )
                for x in ODD
            ),
            *(
                session(started_at=x, ended_at=x)
                for x in (-1, 0, 1.5, 2**62, "soon", b"1", float("inf"), -0.5)
            ),
        ),
        insert("agent_messages", *(message(1, x) for x in (*ODD, 5, 2.5))),
        insert("agent_messages", message(1, "when", created_at="yesterday")),
        insert(
            "agent_tool_calls",
            *(
                call(
                    2,
                    message_id=x,
                    tool_call_id=x,
                    tool_name=x,
                    request=x,
                    response=x,
                    execution_time_ms=x,
                    error_details=x,
                )
                for x in (*ODD, 7, 2**62, 0.25)
            ),
        ),
        insert(
            "project_requirements_qna",
            *(
                question(3, question_id=x, question=x, response_type=x, answer=x)
                for x in ODD
            ),
        ),
        insert(
            "project_settings",
            *(
                setting(4, setting_key=x, setting_name=x, setting_type=x, updated_at=x)
                for x in ODD
            ),
        ),
        f"UPDATE agent_sessions SET agent_name = {BAD_TEXT}, result = {BAD_TEXT} "
        "WHERE id = 2",
        f"UPDATE agent_messages SET content = {BAD_TEXT} WHERE id = 1",
    )


def more_than_known(path: Path) -> Path:
    """Columns, tables, indexes and settings that nocodo has not, or not yet."""
    return make(
        path,
        "PRAGMA auto_vacuum = INCREMENTAL",
        "PRAGMA user_version = 42",
        "PRAGMA application_id = 77",
        *SCHEMA,
        "ALTER TABLE agent_sessions ADD COLUMN handoff_id INTEGER NOT NULL DEFAULT 8",
        'ALTER TABLE agent_messages ADD COLUMN "a ""b"" %s?" TEXT DEFAULT \'d\'',
        'CREATE TABLE "odd \'name\' %" ("select" TEXT, rowid TEXT, "ÿ" BLOB)',
        "CREATE TABLE pairs (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE TABLE computed (a INTEGER, b INTEGER AS (a * 2) STORED)",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
        "CREATE VIEW newest AS SELECT * FROM agent_sessions ORDER BY id DESC",
        "CREATE TRIGGER touched AFTER INSERT ON agent_messages BEGIN "
        "UPDATE agent_sessions SET ended_at = 1 WHERE id = NEW.session_id; END",
        "CREATE UNIQUE INDEX first ON agent_messages (lower(content)) WHERE id < 2",
        insert("agent_sessions", session(2), session(1)),
        "UPDATE agent_sessions SET handoff_id = 9 WHERE id = 1",
        insert("agent_messages", message(2, "hello"), message(1, "bye")),
        'UPDATE agent_messages SET "a ""b"" %s?" = NULL WHERE id = 1',
        "INSERT INTO \"odd 'name' %\" VALUES ('x', 'y', x'00'), (1, 2.5, NULL)",
        "DELETE FROM \"odd 'name' %\" WHERE rowid = 'y'",
        "INSERT INTO pairs VALUES ('b', 1), ('a', 2)",
        "INSERT INTO computed (a) VALUES (4)",
        "INSERT INTO words VALUES ('table')",
        "ANALYZE",
    )


def empty(path: Path) -> Path:
    return make(path, *SCHEMA)


BUILDERS = {
    each.__name__: each
    for each in (
        ordinary,
        legacy,
        configs,
        unknown_texts,
        repeated,
        orphans,
        odd_cells,
        more_than_known,
        empty,
    )
}
