"""updates within a page

On PostgreSQL an append gave session_heads a new entry in each of its indexes, as
updated_at was in one of them. The index is on whole periods now.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PERIOD = "updated_at >> 18"


def upgrade() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    if on_postgresql:
        # Before the column, which has the table written anew.
        op.execute("ALTER TABLE session_heads SET (fillfactor = 70)")
    # SQLite adds a generated column to a table only where it is not stored.
    computed = sa.Computed(PERIOD, persisted=on_postgresql)
    op.add_column(
        "session_heads", sa.Column("updated_period", sa.BigInteger(), computed)
    )
    if on_postgresql:
        op.drop_index("ix_session_heads_updated_at_created_at")
        op.create_index(
            "ix_session_heads_updated_period", "session_heads", ["updated_period"]
        )


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
