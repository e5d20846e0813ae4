"""the first schema

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column(
            "session_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("project_root", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("title_folded", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("system_prompt", sa.Text(), nullable=True),
        sa.Column("user_prompt", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_raw", sa.Text(), nullable=True),
        sa.Column("config", sa.Text(), nullable=True),
        sa.Column("tool_policy", sa.Text(), nullable=True),
        sa.Column("parent_session_id", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("todo", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("session_key", name=op.f("pk_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_sessions_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_sessions_agent_name_created_at"),
        "sessions",
        ["agent_name", "created_at"],
    )
    op.create_index(
        op.f("ix_sessions_model_created_at"), "sessions", ["model", "created_at"]
    )
    op.create_index(
        op.f("ix_sessions_parent_session_id_created_at"),
        "sessions",
        ["parent_session_id", "created_at"],
    )
    op.create_index(
        op.f("ix_sessions_project_root_created_at"),
        "sessions",
        ["project_root", "created_at"],
    )
    op.create_index(
        op.f("ix_sessions_provider_created_at"), "sessions", ["provider", "created_at"]
    )
    op.create_index(
        op.f("ix_sessions_status_created_at"), "sessions", ["status", "created_at"]
    )

    op.create_table(
        "usage_ledger",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_seq", sa.BigInteger(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_creation_tokens", sa.BigInteger(), nullable=False),
        sa.Column("thinking_tokens", sa.BigInteger(), nullable=False),
        sa.Column("api_calls", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_usage_ledger")),
    )
    op.create_table(
        "compactions",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("summary_seq", sa.BigInteger(), nullable=False),
        sa.Column("boundary_seq", sa.BigInteger(), nullable=False),
        sa.Column("archived", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("active_message_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_compactions_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_compactions")),
    )
    op.create_table(
        "events",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("turn_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_events_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_events")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_idempotency_keys_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "session_key", "kind", "key", name=op.f("pk_idempotency_keys")
        ),
    )
    op.create_table(
        "messages",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("role_raw", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("tool_calls", sa.Text(), nullable=True),
        sa.Column("tool_call_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("compacted_at", sa.BigInteger(), nullable=True),
        sa.Column("compacted_by", sa.BigInteger(), nullable=True),
        sa.Column("summary_of", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_messages_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "session_key", "id", name=op.f("uq_messages_session_key_id")
        ),
    )
    op.create_index(
        "ix_messages_user_created_at",
        "messages",
        ["created_at"],
        sqlite_where=sa.text("role = 'user'"),
        postgresql_where=sa.text("role = 'user'"),
    )

    op.create_table(
        "questions",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("tool_call_id", sa.Text(), nullable=True),
        sa.Column("question_id", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("response_type", sa.Text(), nullable=False),
        sa.Column("default", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_questions_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_questions")),
    )
    op.create_table(
        "session_heads",
        sa.Column(
            "session_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("event_head", sa.BigInteger(), nullable=False),
        sa.Column("message_head", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("tool_call_head", sa.BigInteger(), nullable=False),
        sa.Column("tool_call_count", sa.BigInteger(), nullable=False),
        sa.Column("pending_tool_calls", sa.BigInteger(), nullable=False),
        sa.Column("usage_head", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_creation_tokens", sa.BigInteger(), nullable=False),
        sa.Column("thinking_tokens", sa.BigInteger(), nullable=False),
        sa.Column("api_calls", sa.BigInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("last_model", sa.Text(), nullable=True),
        sa.Column("active_message_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_session_heads_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", name=op.f("pk_session_heads")),
    )
    op.create_index(
        op.f("ix_session_heads_created_at"), "session_heads", ["created_at"]
    )
    op.create_index(
        op.f("ix_session_heads_last_model_created_at"),
        "session_heads",
        ["last_model", "created_at"],
    )
    op.create_index(
        op.f("ix_session_heads_message_count_created_at"),
        "session_heads",
        ["message_count", "created_at"],
    )
    op.create_index(
        "ix_session_heads_pending",
        "session_heads",
        ["created_at"],
        sqlite_where=sa.text("pending_tool_calls > 0"),
        postgresql_where=sa.text("pending_tool_calls > 0"),
    )
    op.create_index(
        "ix_session_heads_settled",
        "session_heads",
        ["created_at"],
        sqlite_where=sa.text("pending_tool_calls = 0"),
        postgresql_where=sa.text("pending_tool_calls = 0"),
    )
    op.create_index(
        op.f("ix_session_heads_total_tokens_created_at"),
        "session_heads",
        ["total_tokens", "created_at"],
    )
    op.create_index(
        op.f("ix_session_heads_updated_at_created_at"),
        "session_heads",
        ["updated_at", "created_at"],
    )

    op.create_table(
        "session_metadata",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_session_metadata_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "key", name=op.f("pk_session_metadata")),
    )
    op.create_index(
        op.f("ix_session_metadata_key_created_at_session_key"),
        "session_metadata",
        ["key", "created_at", "session_key"],
    )
    op.create_index(
        op.f("ix_session_metadata_key_value_created_at_session_key"),
        "session_metadata",
        ["key", "value", "created_at", "session_key"],
    )

    op.create_table(
        "settings",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("tool_call_id", sa.Text(), nullable=True),
        sa.Column("setting_key", sa.Text(), nullable=False),
        sa.Column("setting_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("setting_type", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("secret", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_settings_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_settings")),
    )
    op.create_table(
        "source_rows",
        sa.Column(
            "row_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("session_key", sa.BigInteger(), nullable=True),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_source_rows_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("row_key", name=op.f("pk_source_rows")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_source_rows_batch_table_name_position"),
        "source_rows",
        ["batch", "table_name", "position"],
    )
    op.create_index(op.f("ix_source_rows_session_key"), "source_rows", ["session_key"])

    op.create_table(
        "tool_calls",
        sa.Column("session_key", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_raw", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_details", sa.Text(), nullable=True),
        sa.Column("execution_time_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_key"],
            ["sessions.session_key"],
            name=op.f("fk_tool_calls_session_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_key", "seq", name=op.f("pk_tool_calls")),
        sa.UniqueConstraint(
            "session_key", "id", name=op.f("uq_tool_calls_session_key_id")
        ),
    )
    op.create_index(
        "ix_tool_calls_open",
        "tool_calls",
        ["session_key", "seq"],
        sqlite_where=sa.text("status IN ('pending', 'approved', 'executing')"),
        postgresql_where=sa.text("status IN ('pending', 'approved', 'executing')"),
    )
    op.create_index(
        op.f("ix_tool_calls_session_key_call_id_seq"),
        "tool_calls",
        ["session_key", "call_id", "seq"],
        sqlite_where=sa.text("call_id IS NOT NULL"),
        postgresql_where=sa.text("call_id IS NOT NULL"),
    )

    if op.get_context().dialect.name == "sqlite":
        _index_titles()


def _index_titles() -> None:
    """Index titles by trigram, so that a part of one is found without a scan.

    The index has no copy of the titles: it reads them from ``sessions``, and triggers
    keep it true to them.
    """
    op.execute(
        "CREATE VIRTUAL TABLE session_titles USING fts5(title_folded, "
        "content='sessions', content_rowid='session_key', "
        "tokenize='trigram', detail=none)"
    )
    remove = (
        "INSERT INTO session_titles(session_titles, rowid, title_folded) "
        "VALUES ('delete', old.session_key, old.title_folded);"
    )
    add = (
        "INSERT INTO session_titles(rowid, title_folded) "
        "VALUES (new.session_key, new.title_folded);"
    )
    op.execute(
        "CREATE TRIGGER session_titles_insert AFTER INSERT ON sessions "
        f"WHEN new.title_folded IS NOT NULL BEGIN {add} END"
    )
    op.execute(
        "CREATE TRIGGER session_titles_delete AFTER DELETE ON sessions "
        f"WHEN old.title_folded IS NOT NULL BEGIN {remove} END"
    )
    # What was not indexed must not be removed: that would damage the index.
    op.execute(
        "CREATE TRIGGER session_titles_forget BEFORE UPDATE OF title_folded "
        f"ON sessions WHEN old.title_folded IS NOT NULL BEGIN {remove} END"
    )
    op.execute(
        "CREATE TRIGGER session_titles_update AFTER UPDATE OF title_folded "
        f"ON sessions WHEN new.title_folded IS NOT NULL BEGIN {add} END"
    )


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first schema")
