"""titles on PostgreSQL

An index of titles by trigram, as 0001 makes it on SQLite. It needs the extension
pg_trgm; where that can't be had, titles are searched without an index.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(_CREATE_EXTENSION)
        op.execute(_INDEX_TITLES)


# In a block of its own, so that a failure undoes nothing else.
_CREATE_EXTENSION = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION
    WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        RAISE NOTICE 'no extension pg_trgm: titles get no index';
END
$$
"""

# Its operators may lie in a schema that is not searched.
_INDEX_TITLES = """
DO $$
DECLARE place text;
BEGIN
    SELECT quote_ident(n.nspname) INTO place
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm';
    IF place IS NOT NULL THEN
        EXECUTE 'CREATE INDEX session_titles ON sessions USING gin (title_folded '
            || place || '.gin_trgm_ops)';
    END IF;
END
$$
"""


def downgrade() -> None:
    raise NotImplementedError("a store is not taken back to an older schema")
