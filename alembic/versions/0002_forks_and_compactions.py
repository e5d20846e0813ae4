"""forks and compactions

What is archived is said by ``compactions`` alone, a fork names the rows that it shows
of its parent, and an imported file has a row of its own.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No release has written these.
    op.drop_column("messages", "compacted_at")
    op.drop_column("messages", "compacted_by")
    op.drop_column("compactions", "active_message_id")
    op.add_column(
        "compactions",
        sa.Column(
            "purged", sa.BigInteger(), nullable=False, server_default=sa.text("0")
        ),
    )

    op.create_table(
        "fork_sources",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("source_key", sa.BigInteger(), nullable=False),
        sa.Column("message_after", sa.BigInteger(), nullable=False),
        sa.Column("message_upto", sa.BigInteger(), nullable=False),
        sa.Column("event_after", sa.BigInteger(), nullable=False),
        sa.Column("event_upto", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_fork_sources_session_key"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source_key"],
            ["sessions.session_key"],
            name=op.f("fk_fork_sources_source_key"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint(
            "session_key", "position", name=op.f("pk_fork_sources")
        ),
    )
    op.create_index(op.f("ix_fork_sources_source_key"), "fork_sources", ["source_key"])

    op.create_table(
        "imports",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch", name=op.f("pk_imports")),
    )


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
