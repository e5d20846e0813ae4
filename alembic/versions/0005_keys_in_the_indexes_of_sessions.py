"""keys in the indexes of sessions

On PostgreSQL each match of a filter was looked up in the table for its key, which the
indexes hold now.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = (
    "agent_name",
    "project_root",
    "provider",
    "model",
    "status",
    "parent_session_id",
)


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for column in COLUMNS:
        name = f"ix_sessions_{column}_created_at"
        op.drop_index(name)
        op.create_index(
            name,
            "sessions",
            [column, "created_at"],
            postgresql_include=["session_key"],
        )


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
