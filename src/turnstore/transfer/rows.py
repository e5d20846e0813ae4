"""The row model: one struct for each table. Imports make such rows, exports and copies
read them.

A struct has a field for each column of its table, except keys that the database gives
and columns that it computes. So a new column needs a new field here and nothing else:
``StoredTable`` derives from the fields what is read, inserted and digested.

Columns of encoded JSON hold their text; times are microseconds since 1970.
``session_key`` is set when a row is inserted; reading leaves it at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Column, Table

from turnstore.records import Usage
from turnstore.sql.bulk import Insert
from turnstore.sql.compiled import Value
from turnstore.sql.schema import (
    compactions,
    events,
    fork_sources,
    idempotency_keys,
    imports,
    messages,
    questions,
    session_heads,
    session_metadata,
    sessions,
    settings,
    source_rows,
    tool_calls,
    usage_ledger,
)


class Stored(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A row of a table."""


class OfSession(Stored, kw_only=True):
    """A row that belongs to a session."""

    session_key: int = 0


class Numbered(OfSession, kw_only=True):
    """A row that is numbered within its session, from 1."""

    seq: int = 0
    created_at: int


class StoredSession(Stored, kw_only=True):
    id: str
    agent_name: str = ""
    project_root: str | None = None
    title: str | None = None
    title_folded: str | None = None
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    user_prompt: str | None = None
    status: str = "idle"
    status_raw: str | None = None
    config: str | None = None
    tool_policy: str | None = None
    parent_session_id: str | None = None
    result: str | None = None
    error: str | None = None
    todo: str | None = None
    created_at: int
    ended_at: int | None = None


class StoredHead(OfSession, kw_only=True):
    """The head of a session. An import may leave ``updated_at`` None at first."""

    created_at: int = 0
    updated_at: int | None = None
    event_head: int = 0
    message_head: int = 0
    message_count: int = 0
    tool_call_head: int = 0
    tool_call_count: int = 0
    pending_tool_calls: int = 0
    usage_head: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    thinking_tokens: int = 0
    api_calls: int = 0
    total_tokens: int = 0
    last_model: str | None = None
    active_message_id: str | None = None
    user_id: str | None = None


class StoredMetadata(OfSession, kw_only=True):
    key: str
    value: str
    created_at: int = 0
    updated_at: int


class StoredMessage(Numbered, kw_only=True):
    id: str
    role: str
    role_raw: str | None = None
    content: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    agent_name: str | None = None
    model: str | None = None
    parent_id: str | None = None
    usage: str | None = None
    summary_of: int | None = None


class StoredToolCall(Numbered, kw_only=True):
    id: str
    call_id: str | None = None
    message_id: str | None = None
    name: str
    arguments: str | None = None
    kind: str = "external"
    status: str
    status_raw: str | None = None
    output: str | None = None
    result: str | None = None
    error: str | None = None
    error_details: str | None = None
    execution_time_ms: int | None = None
    started_at: int | None = None
    completed_at: int | None = None


class StoredEvent(Numbered, kw_only=True):
    type: str
    data: str | None = None
    model: str | None = None
    turn_id: str | None = None


class StoredKey(OfSession, kw_only=True):
    """An idempotency key."""

    kind: str
    key: str
    seq: int


class StoredUsage(Numbered, kw_only=True):
    """A row of the usage ledger, perhaps of the message with ``message_seq``."""

    message_seq: int | None = None
    agent_name: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    thinking_tokens: int = 0
    api_calls: int = 0


class StoredCompaction(Numbered, kw_only=True):
    summary_seq: int
    boundary_seq: int
    archived: int
    purged: int = 0
    model: str | None = None


class StoredForkSource(OfSession, kw_only=True):
    position: int
    source_key: int
    message_after: int
    message_upto: int
    event_after: int
    event_upto: int


class StoredQuestion(Numbered, kw_only=True):
    tool_call_id: str | None = None
    question_id: str
    question: str
    description: str | None = None
    response_type: str = "text"
    default: str | None = None
    options: str | None = None
    answer: str | None = None
    answered_at: int | None = None


class StoredSetting(Numbered, kw_only=True):
    tool_call_id: str | None = None
    setting_key: str
    setting_name: str
    description: str | None = None
    setting_type: str = "text"
    value: str | None = None
    secret: int = 0
    answered_at: int | None = None


class StoredSourceRow(Stored, kw_only=True):
    """What an import kept with a session, or with the file if that is None."""

    session_key: int | None = None
    system: str
    batch: str
    table_name: str = ""
    position: int
    row: str


class StoredImport(Stored, kw_only=True):
    """A file that was imported."""

    batch: str
    system: str
    about: str
    created_at: int


class SessionRows(msgspec.Struct, kw_only=True):
    """All rows of one session, in the order of ``seq``.

    An import makes no idempotency keys and fork sources. An export reads no idempotency
    keys and usage, and reads what a fork shows of other sessions as its own.
    """

    session: StoredSession
    head: StoredHead = msgspec.field(default_factory=StoredHead)
    metadata: list[StoredMetadata] = []
    messages: list[StoredMessage] = []
    tool_calls: list[StoredToolCall] = []
    events: list[StoredEvent] = []
    idempotency_keys: list[StoredKey] = []
    usage: list[StoredUsage] = []
    compactions: list[StoredCompaction] = []
    fork_sources: list[StoredForkSource] = []
    questions: list[StoredQuestion] = []
    settings: list[StoredSetting] = []
    source_rows: list[StoredSourceRow] = []

    def part(self, name: str) -> list[Any]:
        """Return the rows of a field; the session and its head are lists of one."""
        rows = getattr(self, name)
        return rows if isinstance(rows, list) else [rows]


R = TypeVar("R", bound=Stored)


class StoredTable(Generic[R]):
    """A table and the struct of its rows.

    :param order: the columns that identify a row within its session.
    """

    def __init__(self, table: Table, record: type[R], *order: Column[Any]) -> None:
        fields = record.__struct_fields__
        self.table = table
        self.name = str(table.name)
        self.record = record
        self.order = order
        self.columns = [
            each for each in table.c if each.name in {*fields} - {"session_key"}
        ]
        self.values: Callable[[R], tuple[Value, ...]] = attrgetter(
            *(each.name for each in self.columns)
        )
        """The values of a row in the order of ``columns``: all but session keys."""
        self.insert = Insert(table, record)


SESSIONS: Final = StoredTable(sessions, StoredSession)
EVENTS: Final = StoredTable(events, StoredEvent, events.c.seq)
MESSAGES: Final = StoredTable(messages, StoredMessage, messages.c.seq)
USAGE: Final = StoredTable(usage_ledger, StoredUsage, usage_ledger.c.seq)
FORK_SOURCES: Final = StoredTable(
    fork_sources, StoredForkSource, fork_sources.c.position
)
SOURCE_ROWS: Final = StoredTable(source_rows, StoredSourceRow, source_rows.c.row_key)
IMPORTS: Final = StoredTable(imports, StoredImport)

PARTS: Final[dict[str, StoredTable[Any]]] = {
    "session": SESSIONS,
    "head": StoredTable(session_heads, StoredHead),
    "metadata": StoredTable(session_metadata, StoredMetadata, session_metadata.c.key),
    "messages": MESSAGES,
    "tool_calls": StoredTable(tool_calls, StoredToolCall, tool_calls.c.seq),
    "events": EVENTS,
    "idempotency_keys": StoredTable(
        idempotency_keys, StoredKey, idempotency_keys.c.kind, idempotency_keys.c.key
    ),
    "usage": USAGE,
    "compactions": StoredTable(compactions, StoredCompaction, compactions.c.seq),
    "fork_sources": FORK_SOURCES,
    "questions": StoredTable(questions, StoredQuestion, questions.c.seq),
    "settings": StoredTable(settings, StoredSetting, settings.c.seq),
    "source_rows": SOURCE_ROWS,
}
"""The tables with rows of sessions, by the fields of ``SessionRows``.

In the order of inserting: a row comes after the rows that it refers to.
"""


def usage_of(message: StoredMessage) -> Usage | None:
    """Return the usage of a message, decoded."""
    if message.usage is None:
        return None
    return msgspec.json.decode(message.usage, type=Usage)


def used(
    usage: Usage,
    *,
    created_at: int,
    message_seq: int | None = None,
    agent_name: str | None = None,
    model: str | None = None,
) -> StoredUsage:
    """Return usage as a row of the ledger. It counts as one call unless it says how
    many it is."""
    counts = asdict(usage) | {"api_calls": usage.api_calls or 1}
    return StoredUsage(
        created_at=created_at,
        message_seq=message_seq,
        agent_name=agent_name,
        model=model,
        **counts,
    )
