"""The tables.

Integer keys inside, text ids outside: a narrow integer key keeps the indexes of the
hot tables small. ``sessions`` is wide and changes seldom; ``session_heads`` is narrow
and carries what every append touches. Every key of a table that grows with a session
leads with ``session_key``, so that the tables can be distributed by session.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    literal_column,
    text,
)

from turnstore.records import ToolPolicy, Usage
from turnstore.sql.column_types import (
    KEY,
    Micros,
    json_column,
    listed_by,
    session_key,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

OPEN_STATUSES = ("pending", "approved", "executing")
"""Statuses of a tool call that is not settled."""


_OF_A_USER = "user_id IS NOT NULL"
_ON_SQLITE = {"only_on": "sqlite"}
_ON_POSTGRESQL = {"only_on": "postgresql"}

sessions = Table(
    "sessions",
    metadata,
    # Autoincrement, so that a key is never used again after its session is deleted:
    # what was cached or kept under it can't come to mean another session.
    Column("session_key", KEY, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("agent_name", Text, nullable=False),
    Column("project_root", Text),
    json_column("title", str),
    # The title with ASCII letters lowered: what title_contains searches.
    Column("title_folded", Text),
    Column("provider", Text),
    Column("model", Text),
    json_column("system_prompt", str),
    json_column("user_prompt", str),
    Column("status", Text, nullable=False),
    Column("status_raw", Text),
    json_column("config"),
    json_column("tool_policy", ToolPolicy),
    Column("parent_session_id", Text),
    json_column("result"),
    json_column("error", str),
    json_column("todo"),
    Column("created_at", Micros, nullable=False),
    Column("ended_at", Micros),
    UniqueConstraint("id"),
    listed_by("agent_name", "created_at"),
    listed_by("project_root", "created_at"),
    listed_by("provider", "created_at"),
    listed_by("model", "created_at"),
    listed_by("status", "created_at"),
    listed_by("parent_session_id", "created_at"),
    sqlite_autoincrement=True,
)

# The indexes pay for listing; an append touches only the one on updated_at (and a
# message the one on message_count), the others change seldom. bench/ shows the price.
# On PostgreSQL a new value in any index means a new entry in all of them, so there the
# index has updated_period, which changes four times a second: other updates stay
# within their page, which is given room for them.
session_heads = Table(
    "session_heads",
    metadata,
    Column(
        "session_key",
        KEY,
        ForeignKey("sessions.session_key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("created_at", Micros, nullable=False),
    Column("updated_at", Micros, nullable=False),
    # In steps of 2**18 microseconds, counted by the database itself.
    Column("updated_period", BigInteger, Computed("updated_at >> 18", persisted=True)),
    Column("event_head", BigInteger, nullable=False),
    Column("message_head", BigInteger, nullable=False),
    Column("message_count", BigInteger, nullable=False),
    Column("tool_call_head", BigInteger, nullable=False),
    Column("tool_call_count", BigInteger, nullable=False),
    Column("pending_tool_calls", BigInteger, nullable=False),
    Column("usage_head", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_creation_tokens", BigInteger, nullable=False),
    Column("thinking_tokens", BigInteger, nullable=False),
    Column("api_calls", BigInteger, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("last_model", Text),
    Column("active_message_id", Text),
    Column("user_id", Text),
    listed_by("created_at"),
    Index(None, "updated_at", "created_at", info=_ON_SQLITE).ddl_if("sqlite"),
    Index(None, "updated_period", info=_ON_POSTGRESQL).ddl_if("postgresql"),
    listed_by("message_count", "created_at"),
    listed_by("total_tokens", "created_at"),
    listed_by("last_model", "created_at"),
    # Without the sessions of nobody, whose appends would pay for them.
    listed_by("user_id", "created_at", where=_OF_A_USER),
    Index(
        None,
        "user_id",
        "updated_at",
        "created_at",
        sqlite_where=text(_OF_A_USER),
        info=_ON_SQLITE,
    ).ddl_if("sqlite"),
    Index(
        None,
        "user_id",
        "updated_period",
        postgresql_where=text(_OF_A_USER),
        info=_ON_POSTGRESQL,
    ).ddl_if("postgresql"),
    listed_by(
        "created_at", name="ix_session_heads_pending", where="pending_tool_calls > 0"
    ),
    listed_by(
        "created_at", name="ix_session_heads_settled", where="pending_tool_calls = 0"
    ),
)
_ROOM = DDL("ALTER TABLE %(table)s SET (fillfactor = 70)")  # type: ignore[no-untyped-call]
# SQLAlchemy 2.0 has no such argument of a table.
event.listen(session_heads, "after_create", _ROOM.execute_if(dialect="postgresql"))

HEAD_COLUMNS = tuple(each for each in session_heads.c if each.computed is None)
"""What is written of a head."""

session_metadata = Table(
    "session_metadata",
    metadata,
    session_key(),
    Column("key", Text, nullable=False),
    json_column("value", str, nullable=False),
    # A copy of the session's, for listing by a pair in order of creation.
    Column("created_at", Micros, nullable=False),
    Column("updated_at", Micros, nullable=False),
    PrimaryKeyConstraint("session_key", "key"),
    Index(None, "key", "value", "created_at", "session_key"),
    Index(None, "key", "created_at", "session_key"),
)

messages = Table(
    "messages",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("role_raw", Text),
    json_column("content"),
    json_column("tool_calls"),
    Column("tool_call_id", Text),
    Column("name", Text),
    Column("agent_name", Text),
    Column("model", Text),
    Column("parent_id", Text),
    json_column("usage", Usage),
    Column("created_at", Micros, nullable=False),
    # The compaction that it is a summary of.
    Column("summary_of", BigInteger),
    PrimaryKeyConstraint("session_key", "seq"),
    UniqueConstraint("session_key", "id"),
    Index(
        "ix_messages_user_created_at",
        "created_at",
        sqlite_where=text("role = 'user'"),
        postgresql_where=text("role = 'user'"),
    ),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("call_id", Text),
    Column("message_id", Text),
    Column("name", Text, nullable=False),
    json_column("arguments"),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_raw", Text),
    json_column("output", str),
    json_column("result"),
    json_column("error", str),
    json_column("error_details"),
    Column("execution_time_ms", BigInteger),
    Column("created_at", Micros, nullable=False),
    Column("started_at", Micros),
    Column("completed_at", Micros),
    PrimaryKeyConstraint("session_key", "seq"),
    UniqueConstraint("session_key", "id"),
    Index(
        None,
        "session_key",
        "call_id",
        "seq",
        sqlite_where=text("call_id IS NOT NULL"),
        postgresql_where=text("call_id IS NOT NULL"),
    ),
    Index(
        "ix_tool_calls_open",
        "session_key",
        "seq",
        sqlite_where=text("status IN ('pending', 'approved', 'executing')"),
        postgresql_where=text("status IN ('pending', 'approved', 'executing')"),
    ),
)

IS_OPEN = tool_calls.c.status.in_(
    [literal_column(f"'{status}'") for status in OPEN_STATUSES]
)
"""Written as in the partial index, so that the database sees that it is meant."""

# One unique index and nothing else: a second index halves the append rate.
events = Table(
    "events",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    json_column("data"),
    Column("model", Text),
    Column("turn_id", Text),
    Column("created_at", Micros, nullable=False),
    PrimaryKeyConstraint("session_key", "seq"),
)

# Apart from the rows they name, because a key outlives them.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    session_key(),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_key", "kind", "key"),
)

# No foreign key: accounting outlives the session.
usage_ledger = Table(
    "usage_ledger",
    metadata,
    Column("session_key", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("message_seq", BigInteger),
    Column("agent_name", Text),
    Column("model", Text),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_creation_tokens", BigInteger, nullable=False),
    Column("thinking_tokens", BigInteger, nullable=False),
    Column("api_calls", BigInteger, nullable=False),
    Column("created_at", Micros, nullable=False),
    PrimaryKeyConstraint("session_key", "seq"),
)

# Which messages are archived is said here alone: those before the boundary, and the
# summaries of earlier compactions.
compactions = Table(
    "compactions",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("summary_seq", BigInteger, nullable=False),
    Column("boundary_seq", BigInteger, nullable=False),
    Column("archived", BigInteger, nullable=False),
    # 1 once messages that it archived were purged.
    Column("purged", BigInteger, nullable=False, server_default=text("0")),
    Column("model", Text),
    Column("created_at", Micros, nullable=False),
    PrimaryKeyConstraint("session_key", "seq"),
)

# Rows of another session that a fork shows as its own: those with after < seq <= upto.
fork_sources = Table(
    "fork_sources",
    metadata,
    session_key(),
    Column("position", BigInteger, nullable=False),
    # Restricted: what a fork needs is copied to it before its source goes.
    Column(
        "source_key",
        BigInteger,
        ForeignKey("sessions.session_key", ondelete="RESTRICT"),
        nullable=False,
    ),
    Column("message_after", BigInteger, nullable=False),
    Column("message_upto", BigInteger, nullable=False),
    Column("event_after", BigInteger, nullable=False),
    Column("event_upto", BigInteger, nullable=False),
    PrimaryKeyConstraint("session_key", "position"),
    Index(None, "source_key"),
)

questions = Table(
    "questions",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("tool_call_id", Text),
    Column("question_id", Text, nullable=False),
    json_column("question", str, nullable=False),
    json_column("description", str),
    Column("response_type", Text, nullable=False),
    json_column("default"),
    json_column("options", list),
    json_column("answer"),
    Column("created_at", Micros, nullable=False),
    Column("answered_at", Micros),
    PrimaryKeyConstraint("session_key", "seq"),
)

settings = Table(
    "settings",
    metadata,
    session_key(),
    Column("seq", BigInteger, nullable=False),
    Column("tool_call_id", Text),
    Column("setting_key", Text, nullable=False),
    json_column("setting_name", str, nullable=False),
    json_column("description", str),
    Column("setting_type", Text, nullable=False),
    json_column("value"),
    Column("secret", Integer, nullable=False),
    Column("created_at", Micros, nullable=False),
    Column("answered_at", Micros),
    PrimaryKeyConstraint("session_key", "seq"),
)

# Who may run a session: one row at most, deleted when the lease is released. Tokens
# count up over all sessions, so that no session is given one again, also when it was
# deleted and made anew with the same id.
session_leases = Table(
    "session_leases",
    metadata,
    Column("token", KEY, primary_key=True, autoincrement=True),
    session_key(),
    Column("owner", Text, nullable=False),
    Column("ttl_us", BigInteger, nullable=False),
    Column("expires_at", Micros, nullable=False),
    UniqueConstraint("session_key"),
    sqlite_autoincrement=True,
)

# A file that was imported: what it was, and what of it belongs to no row.
imports = Table(
    "imports",
    metadata,
    Column("batch", Text, nullable=False),
    Column("system", Text, nullable=False),
    json_column("about", nullable=False),
    Column("created_at", Micros, nullable=False),
    PrimaryKeyConstraint("batch"),
)

# What an import could not place: kept, never dropped.
source_rows = Table(
    "source_rows",
    metadata,
    Column("row_key", KEY, primary_key=True, autoincrement=True),
    Column(
        "session_key",
        BigInteger,
        ForeignKey("sessions.session_key", ondelete="CASCADE"),
    ),
    Column("system", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    json_column("row", nullable=False),
    Index(None, "session_key"),
    Index(None, "batch", "table_name", "position"),
    sqlite_autoincrement=True,
)
