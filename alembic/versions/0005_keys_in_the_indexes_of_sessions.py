"""keys in the indexes of sessions

On PostgreSQL each match of a filter was looked up in the table for its key, which the
indexes hold now.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PENDING = "pending_tool_calls > 0"
SETTLED = "pending_tool_calls = 0"
INDEXES = (
    ("sessions", "agent_name_created_at", ["agent_name", "created_at"], None),
    ("sessions", "project_root_created_at", ["project_root", "created_at"], None),
    ("sessions", "provider_created_at", ["provider", "created_at"], None),
    ("sessions", "model_created_at", ["model", "created_at"], None),
    ("sessions", "status_created_at", ["status", "created_at"], None),
    (
        "sessions",
        "parent_session_id_created_at",
        ["parent_session_id", "created_at"],
        None,
    ),
    ("session_heads", "created_at", ["created_at"], None),
    (
        "session_heads",
        "message_count_created_at",
        ["message_count", "created_at"],
        None,
    ),
    ("session_heads", "total_tokens_created_at", ["total_tokens", "created_at"], None),
    ("session_heads", "last_model_created_at", ["last_model", "created_at"], None),
    ("session_heads", "pending", ["created_at"], PENDING),
    ("session_heads", "settled", ["created_at"], SETTLED),
)


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for table, name, columns, where in INDEXES:
        op.drop_index(f"ix_{table}_{name}")
        op.create_index(
            f"ix_{table}_{name}",
            table,
            columns,
            postgresql_include=["session_key"],
            postgresql_where=None if where is None else sa.text(where),
        )


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
