"""The plain listing query: sessions joined with messages, counted and grouped.

Its tables have what such a query needs: token counts as columns, indexes on the times,
fresh planner statistics.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final


def copy_listing(source: Path, target: Path) -> None:
    """Copy the sessions and messages of a store into plain tables.

    The source must not be open: two libraries must never share a file.
    """
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ATTACH ? AS source", (str(source),))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(copy_script(source="source", usage="usage"))
        connection.execute("DETACH source")


def copy_script(*, source: str, usage: str) -> str:
    """Return the script that makes and fills the plain tables.

    Token counts become columns, and message rows are what is counted.

    :param source: the schema that has the store's tables.
    :param usage: a message's usage as JSON.
    """
    return _COPY.format(source=source, usage=usage)


def listing_query(where: str, having: str, order_by: str, limit: int) -> str:
    """Return the query for a page, the ids in its first column.

    ``where`` is a condition on ``s``, ``having`` one on its messages ``m``.
    """
    return (
        f"SELECT s.id, s.*, COUNT(m.seq) AS message_count, "
        f"COALESCE(SUM(m.prompt_tokens + m.completion_tokens), 0) AS total_tokens "
        f"FROM sessions s LEFT JOIN messages m ON m.session_key = s.session_key "
        f"WHERE {where or 'TRUE'} GROUP BY s.session_key HAVING {having or 'TRUE'} "
        f"ORDER BY {order_by} DESC, s.created_at DESC, s.session_key DESC LIMIT {limit}"
    )


# INTEGER is narrow on PostgreSQL and makes the key of SQLite's rows.
_COPY: Final = """
BEGIN;
CREATE TABLE sessions (
    session_key INTEGER PRIMARY KEY, id TEXT UNIQUE, agent_name TEXT,
    project_root TEXT, title TEXT, provider TEXT, model TEXT, last_model TEXT,
    status TEXT, parent_session_id TEXT, created_at BIGINT, updated_at BIGINT
);
INSERT INTO sessions
SELECT s.session_key, s.id, s.agent_name, s.project_root, s.title_folded, s.provider,
    s.model, h.last_model, s.status, s.parent_session_id, s.created_at, h.updated_at
FROM {source}.sessions s JOIN {source}.session_heads h USING (session_key);
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE INDEX ix_sessions_updated_at ON sessions (updated_at);
CREATE TABLE session_metadata (
    session_key INTEGER, key TEXT, value TEXT, PRIMARY KEY (session_key, key)
);
INSERT INTO session_metadata
SELECT session_key, key, value FROM {source}.session_metadata;
CREATE TABLE messages (
    session_key INTEGER, seq INTEGER, role TEXT, content TEXT, prompt_tokens INTEGER,
    completion_tokens INTEGER, created_at BIGINT, PRIMARY KEY (session_key, seq)
);
INSERT INTO messages
SELECT session_key, seq, role, content, CAST({usage} ->> 'prompt_tokens' AS INTEGER),
    CAST({usage} ->> 'completion_tokens' AS INTEGER), created_at
FROM {source}.messages;
CREATE TABLE tool_calls (
    session_key INTEGER, id TEXT, status TEXT, PRIMARY KEY (session_key, id)
);
INSERT INTO tool_calls SELECT session_key, id, status FROM {source}.tool_calls;
COMMIT;
ANALYZE;
"""
