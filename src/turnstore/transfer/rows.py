"""A session with all its rows, as they are stored: what a transfer writes and reads.

Columns of encoded JSON hold their text here, times are microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    select,
    type_coerce,
    union_all,
)

from turnstore.records import Usage
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.query import CHUNK_ROWS, Query
from turnstore.sql.schema import (
    JsonText,
    Micros,
    compactions,
    events,
    fork_sources,
    imports,
    messages,
    questions,
    session_heads,
    session_metadata,
    sessions,
    settings,
    source_rows,
    tool_calls,
)


class Stored(msgspec.Struct, kw_only=True):
    """A row; the fields are columns of its table. ``session_key`` is the reader's."""

    session_key: int = 0


class Numbered(Stored, kw_only=True):
    """A row of a series that is counted within its session."""

    seq: int = 0
    created_at: int


class StoredSession(Stored, kw_only=True):
    """A row of ``sessions``, and what its head says that is not counted."""

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
    updated_at: int | None = None
    active_message_id: str | None = None
    last_model: str | None = None


class StoredMetadata(Stored, kw_only=True):
    key: str
    value: str
    updated_at: int


class StoredMessage(Numbered, kw_only=True, gc=False):
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
    usage: Usage | None = None
    summary_of: int | None = None


class StoredToolCall(Numbered, kw_only=True, gc=False):
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


class StoredEvent(Numbered, kw_only=True, gc=False):
    type: str
    data: str | None = None
    model: str | None = None
    turn_id: str | None = None


class StoredCompaction(Numbered, kw_only=True):
    summary_seq: int
    boundary_seq: int
    archived: int
    purged: int = 0
    model: str | None = None


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


class SessionUsage(msgspec.Struct, kw_only=True):
    """Usage of a session that belongs to none of its messages."""

    usage: Usage
    created_at: int
    agent_name: str | None = None
    model: str | None = None


class SessionRows(msgspec.Struct, kw_only=True):
    """All rows of one session, each table by ``seq``, which starts at 1.

    ``usage`` is written only: reading leaves it empty.
    """

    session: StoredSession
    metadata: list[StoredMetadata] = []
    messages: list[StoredMessage] = []
    tool_calls: list[StoredToolCall] = []
    events: list[StoredEvent] = []
    compactions: list[StoredCompaction] = []
    questions: list[StoredQuestion] = []
    settings: list[StoredSetting] = []
    usage: list[SessionUsage] = []


class SourceRow(msgspec.Struct, kw_only=True):
    """A row of ``source_rows`` that belongs to a session."""

    session_key: int
    batch: str
    row: str


class SessionSize(msgspec.Struct, kw_only=True):
    """A session and about how many rows it has."""

    session_key: int
    id: str
    rows: int


S = TypeVar("S", bound=Stored)


def _columns(record: type[Any], *tables: Table) -> list[ColumnElement[Any]]:
    """Return the columns that a record names, to be read as they are stored."""
    found: list[ColumnElement[Any]] = []
    for field in msgspec.structs.fields(record):
        table = next(each for each in tables if field.name in each.c)
        column: ColumnElement[Any] = table.c[field.name]
        kind = column.type
        if isinstance(kind, Micros):
            column = type_coerce(column, BigInteger).label(field.name)
        elif isinstance(kind, JsonText) and field.name != "usage":
            column = type_coerce(column, Text).label(field.name)
        found.append(column)
    return found


class _Reader(Generic[S]):
    """Reads the rows of many sessions, or those of one with many rows in steps."""

    def __init__(
        self, record: type[S], table: Table, *, shown: tuple[Any, Any] | None = None
    ) -> None:
        columns = _columns(record, table)
        together = select(*columns).where(is_in(table.c.session_key, bindparam("keys")))
        both: Select[Any] = together
        if shown is not None:
            # What a fork shows of other sessions, as its own.
            after, upto = shown
            others = [
                fork_sources.c.session_key if each.name == "session_key" else each
                for each in columns
            ]
            of_sources = (
                select(*others)
                .join(fork_sources, fork_sources.c.source_key == table.c.session_key)
                .where(
                    is_in(fork_sources.c.session_key, bindparam("keys")),
                    table.c.seq > after,
                    table.c.seq <= upto,
                )
            )
            joined = union_all(together, of_sources).subquery("shown")
            both = select(joined).order_by(joined.c.session_key, joined.c.seq)
        else:
            order = () if table is session_metadata else (table.c.seq,)
            both = together.order_by(table.c.session_key, *order)
        rows = both.subquery("all_rows")
        self._all = Query(both, record)
        self._steps: Query[S] | None = None
        if "seq" in rows.c:
            step = select(rows).where(rows.c.seq > bindparam("after"))
            self._steps = Query(
                step.order_by(rows.c.seq).limit(bindparam("limit")), record
            )

    def of_many(self, connection: Connection, keys: str) -> dict[int, list[S]]:
        found: dict[int, list[S]] = {}
        for row in self._all(connection, keys=keys):
            found.setdefault(row.session_key, []).append(row)
        return found

    def of_one(self, connection: Connection, keys: str) -> list[S]:
        if self._steps is None:
            return self._all(connection, keys=keys)
        records: list[S] = []
        after = 0
        while True:
            step = self._steps(connection, keys=keys, after=after, limit=CHUNK_ROWS)
            records += step
            if len(step) < CHUNK_ROWS:
                return records
            after = step[-1].seq  # type: ignore[attr-defined]


def read_sessions(connection: Connection, keys: Sequence[int]) -> list[SessionRows]:
    """Return sessions with all rows, in the order of ``keys``; for a snapshot."""
    array = codec.array(keys)
    found = {
        each.session_key: SessionRows(session=each)
        for each in _SESSIONS(connection, keys=array)
    }
    for name, reader in _READERS.items():
        if len(keys) == 1:
            for rows in found.values():
                setattr(rows, name, reader.of_one(connection, array))
            continue
        for key, listed in reader.of_many(connection, array).items():
            setattr(found[key], name, listed)
    for rows in found.values():
        # Here, as databases sort text differently.
        rows.metadata.sort(key=lambda each: each.key)
    return [found[key] for key in keys if key in found]


def read_source_rows(
    connection: Connection, keys: Sequence[int], system: str
) -> dict[int, SourceRow]:
    """Return what an import from ``system`` kept with sessions, by session key."""
    found = _SOURCE_ROWS(connection, keys=codec.array(keys), system=system)
    return {each.session_key: each for each in found}


def next_places(connection: Connection, after: int, limit: int) -> list[SessionSize]:
    """Return the next sessions by session key."""
    return _PLACES(connection, after=after, limit=limit)


def places_of(connection: Connection, ids: Sequence[str]) -> list[SessionSize]:
    """Return those of the sessions that exist, in the order of ``ids``."""
    found = {each.id: each for each in _PLACES_OF(connection, ids=codec.array(ids))}
    return [found[each] for each in ids if each in found]


_READERS: Final[dict[str, _Reader[Any]]] = {
    "metadata": _Reader(StoredMetadata, session_metadata),
    "messages": _Reader(
        StoredMessage,
        messages,
        shown=(fork_sources.c.message_after, fork_sources.c.message_upto),
    ),
    "tool_calls": _Reader(StoredToolCall, tool_calls),
    "events": _Reader(
        StoredEvent,
        events,
        shown=(fork_sources.c.event_after, fork_sources.c.event_upto),
    ),
    "compactions": _Reader(StoredCompaction, compactions),
    "questions": _Reader(StoredQuestion, questions),
    "settings": _Reader(StoredSetting, settings),
}
_SESSIONS: Final = Query(
    select(*_columns(StoredSession, sessions, session_heads))
    .join(session_heads, session_heads.c.session_key == sessions.c.session_key)
    .where(is_in(sessions.c.session_key, bindparam("keys"))),
    StoredSession,
)
_SOURCE_ROWS: Final = Query(
    select(*_columns(SourceRow, source_rows)).where(
        is_in(source_rows.c.session_key, bindparam("keys")),
        source_rows.c.system == bindparam("system"),
    ),
    SourceRow,
)
_rows = (
    session_heads.c.message_head
    + session_heads.c.event_head
    + session_heads.c.tool_call_count
).label("rows")
_place = select(sessions.c.session_key, sessions.c.id, _rows).join(
    session_heads, session_heads.c.session_key == sessions.c.session_key
)
_PLACES: Final = Query(
    _place.where(sessions.c.session_key > bindparam("after"))
    .order_by(sessions.c.session_key)
    .limit(bindparam("limit")),
    SessionSize,
)
_PLACES_OF: Final = Query(
    _place.where(is_in(sessions.c.id, bindparam("ids"))), SessionSize
)


class ImportedFile(msgspec.Struct, kw_only=True):
    """A row of ``imports``."""

    batch: str
    about: str


class KeptRow(msgspec.Struct, kw_only=True):
    """A row of ``source_rows`` that belongs to no session."""

    row_key: int
    table_name: str
    row: str


def read_imports(connection: Connection, system: str) -> list[ImportedFile]:
    """Return the files of a system that were imported, newest first."""
    return _IMPORTS(connection, system=system)


def next_kept_row(connection: Connection, batch: str, after: int) -> KeptRow | None:
    """Return what an import kept that belongs to no session, by row key."""
    return _KEPT.one(connection, batch=batch, after=after)


_IMPORTS: Final = Query(
    select(imports.c.batch, type_coerce(imports.c.about, Text).label("about"))
    .where(imports.c.system == bindparam("system"))
    .order_by(imports.c.created_at.desc(), imports.c.batch),
    ImportedFile,
)
_KEPT: Final = Query(
    select(*_columns(KeptRow, source_rows))
    .where(
        source_rows.c.session_key.is_(None),
        source_rows.c.batch == bindparam("batch"),
        source_rows.c.row_key > bindparam("after"),
    )
    .order_by(source_rows.c.row_key)
    .limit(1),
    KeptRow,
)
