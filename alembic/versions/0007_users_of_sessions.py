"""users of sessions

Listing one user's sessions, newest write first, is the page that a chat program shows
most. So the user stands in the heads, whose indexes have the times. The indexes hold
only sessions that name a user: an append to another one does not touch them.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    named = sa.text("user_id IS NOT NULL")
    is_postgres = op.get_context().dialect.name == "postgresql"
    # A change of the catalogue alone on both: no row is written.
    op.add_column("session_heads", sa.Column("user_id", sa.Text()))
    op.create_index(
        "ix_session_heads_user_id_created_at",
        "session_heads",
        ["user_id", "created_at"],
        sqlite_where=named,
        postgresql_where=named,
        postgresql_include=["session_key"],
    )
    updated = ["updated_period"] if is_postgres else ["updated_at", "created_at"]
    op.create_index(
        "_".join(["ix_session_heads_user_id", *updated]),
        "session_heads",
        ["user_id", *updated],
        sqlite_where=named,
        postgresql_where=named,
    )


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
