"""The tables of an empty nocodo file, and the texts that their columns allow."""

from __future__ import annotations

from typing import Final

SESSIONS: Final = "agent_sessions"
MESSAGES: Final = "agent_messages"
CALLS: Final = "agent_tool_calls"
QUESTIONS: Final = "project_requirements_qna"
SETTINGS: Final = "project_settings"

SESSION_STATUSES: Final = ("running", "completed", "failed", "waiting_for_user_input")
CALL_STATUSES: Final = ("pending", "executing", "completed", "failed")
ROLES: Final = ("user", "assistant", "system", "tool")

_OF_SESSION: Final = (
    "session_id INTEGER NOT NULL REFERENCES agent_sessions(id) ON DELETE CASCADE"
)
_OF_CALL: Final = (
    "tool_call_id INTEGER REFERENCES agent_tool_calls(id) ON DELETE CASCADE"
)
_KEY: Final = "id INTEGER PRIMARY KEY AUTOINCREMENT"


def _one_of(column: str, texts: tuple[str, ...]) -> str:
    return f"CHECK ({column} IN ({', '.join(repr(each) for each in texts)}))"


SCHEMA: Final = (
    f"""CREATE TABLE agent_sessions (
        {_KEY},
        agent_name TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        system_prompt TEXT,
        user_prompt TEXT NOT NULL,
        config TEXT,
        status TEXT NOT NULL DEFAULT 'running' {_one_of("status", SESSION_STATUSES)},
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        result TEXT,
        error TEXT
    )""",
    f"""CREATE TABLE agent_messages (
        {_KEY},
        {_OF_SESSION},
        role TEXT NOT NULL {_one_of("role", ROLES)},
        content TEXT NOT NULL,
        created_at INTEGER NOT NULL
    )""",
    (
        "CREATE INDEX idx_agent_messages_session_created "
        "ON agent_messages (session_id, created_at)"
    ),
    f"""CREATE TABLE agent_tool_calls (
        {_KEY},
        {_OF_SESSION},
        message_id INTEGER REFERENCES agent_messages(id) ON DELETE SET NULL,
        tool_call_id TEXT NOT NULL,
        tool_name TEXT NOT NULL,
        request TEXT NOT NULL,
        response TEXT,
        status TEXT NOT NULL DEFAULT 'pending' {_one_of("status", CALL_STATUSES)},
        created_at INTEGER NOT NULL,
        completed_at INTEGER,
        execution_time_ms INTEGER,
        error_details TEXT
    )""",
    "CREATE INDEX idx_agent_tool_calls_session ON agent_tool_calls (session_id)",
    "CREATE INDEX idx_agent_tool_calls_status ON agent_tool_calls (session_id, status)",
    f"""CREATE TABLE project_requirements_qna (
        {_KEY},
        {_OF_SESSION},
        {_OF_CALL},
        question_id TEXT NOT NULL,
        question TEXT NOT NULL,
        description TEXT,
        response_type TEXT NOT NULL DEFAULT 'text',
        answer TEXT,
        created_at INTEGER NOT NULL,
        answered_at INTEGER
    )""",
    (
        "CREATE INDEX idx_project_requirements_qna_session "
        "ON project_requirements_qna (session_id)"
    ),
    f"""CREATE TABLE project_settings (
        {_KEY},
        {_OF_SESSION},
        {_OF_CALL},
        setting_key TEXT NOT NULL,
        setting_name TEXT NOT NULL,
        description TEXT,
        setting_type TEXT NOT NULL DEFAULT 'text',
        setting_value TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER
    )""",
    "CREATE INDEX idx_project_settings_session ON project_settings (session_id)",
    "CREATE INDEX idx_project_settings_key ON project_settings (setting_key)",
)
