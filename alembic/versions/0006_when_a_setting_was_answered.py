"""when a setting was answered

A setting's value is an answer as a question's is, and the time of it has the same
name now.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A change of the catalogue alone on both: no row is written.
    op.alter_column("settings", "updated_at", new_column_name="answered_at")


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
