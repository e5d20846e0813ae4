"""The commands that store what was read from another system's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Table,
    Text,
    bindparam,
    delete,
    select,
    type_coerce,
)

from turnstore.engine.commands import Audience, Command, Outcome, Published
from turnstore.errors import SessionExists
from turnstore.records import Usage
from turnstore.sql import codec
from turnstore.sql.bulk import InsertValues
from turnstore.sql.compiled import Value
from turnstore.sql.query import Query
from turnstore.sql.schema import (
    HEAD_COLUMNS,
    OPEN_STATUSES,
    compactions,
    events,
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
from turnstore.store.heads import find_keys
from turnstore.transfer.rows import (
    SessionRows,
    Stored,
    StoredCompaction,
    StoredEvent,
    StoredMessage,
    StoredQuestion,
    StoredSession,
    StoredSetting,
    StoredToolCall,
)


class ImportSession(Published[None]):
    """Stores a session with all its rows, which are checked and numbered already.

    The outcome is ``SessionExists`` where it is there; nothing was written then.

    :param source: what of its source has no place in the rows, encoded.
    """

    rows: SessionRows
    system: str
    batch: str
    position: int
    source: str

    def publish(self, outcome: None, audience: Audience) -> None:
        audience.touched(self.session_id)

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[ImportSession]
    ) -> list[Outcome]:
        taken = find_keys(connection, {each.session_id for each in commands})
        fresh: dict[str, ImportSession] = {}
        for command in commands:
            if command.session_id not in taken:
                fresh.setdefault(command.session_id, command)
        _SESSION.insert(connection, [(0, each.rows.session) for each in fresh.values()])
        keys = find_keys(connection, fresh)
        placed = [(keys[name], each) for name, each in fresh.items()]
        for name, table in _TABLES.items():
            table.insert(
                connection,
                [
                    (key, row)
                    for key, each in placed
                    for row in getattr(each.rows, name)
                ],
            )
        now = codec.now_micros()
        ledgers = {key: _ledger(key, each.rows) for key, each in placed}
        _INSERT_METADATA(
            connection,
            [
                (key, row.key, row.value, each.rows.session.created_at, row.updated_at)
                for key, each in placed
                for row in each.rows.metadata
            ],
        )
        _INSERT_LEDGER(connection, [row for each in ledgers.values() for row in each])
        _INSERT_HEADS(
            connection,
            [_head(key, each.rows, ledgers[key], now) for key, each in placed],
        )
        _INSERT_SOURCE(
            connection,
            [
                (key, each.system, each.batch, "", each.position, each.source)
                for key, each in placed
            ],
        )
        return [
            None
            if fresh.get(each.session_id) is each
            else SessionExists(each.session_id)
            for each in commands
        ]


class RecordImport(Command[bool]):
    """Notes an imported file, unless it is known; the result tells if it was new."""

    batch: str
    system: str
    about: str

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[RecordImport]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each in commands:
            is_new = not _IMPORT(connection, batch=each.batch)
            if is_new:
                now = codec.now_micros()
                _INSERT_IMPORT(connection, [(each.batch, each.system, each.about, now)])
            outcomes.append(is_new)
        return outcomes


class KeepRows(Command[bool]):
    """Keeps rows of a file that belong to no session; the result tells if they are new.

    What an earlier import of the file kept in this place is replaced.
    """

    system: str
    batch: str
    table_name: str
    position: int
    row: str

    @staticmethod
    def apply(connection: Connection, commands: Sequence[KeepRows]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each in commands:
            place: dict[str, Value] = {
                "batch": each.batch,
                "table_name": each.table_name,
                "position": each.position,
            }
            there = _KEPT(connection, **place)
            is_new = [kept.row for kept in there] != [each.row]
            if is_new:
                connection.execute(_DELETE_KEPT, place)
                _INSERT_SOURCE(
                    connection,
                    [
                        (
                            None,
                            each.system,
                            each.batch,
                            each.table_name,
                            each.position,
                            each.row,
                        )
                    ],
                )
            outcomes.append(is_new)
        return outcomes


class _Name(msgspec.Struct):
    batch: str


class _Kept(msgspec.Struct):
    row: str


class _Table:
    """Inserts records of one type; a column that a record has not stays empty."""

    def __init__(self, record: type[Stored], table: Table) -> None:
        names = [each.name for each in msgspec.structs.fields(record)]
        columns: list[Column[Any]] = [
            table.c[name] for name in names if name in table.c
        ]
        if table is sessions:
            columns = [each for each in columns if each.name != "session_key"]
        self._names = [each.name for each in columns if each.name != "session_key"]
        self._is_child = table is not sessions
        self._insert = InsertValues(table, *columns)

    def insert(
        self, connection: Connection, rows: Sequence[tuple[int, Stored]]
    ) -> None:
        names = self._names
        self._insert(
            connection,
            [
                [
                    *([key] if self._is_child else []),
                    *(_value(getattr(row, name)) for name in names),
                ]
                for key, row in rows
            ],
        )


def _value(value: Any) -> Value:
    if isinstance(value, Usage):
        return msgspec.json.encode(value).decode()
    return value  # type: ignore[no-any-return]


def _ledger(key: int, rows: SessionRows) -> list[list[Value]]:
    """Return a session's rows of the usage ledger."""
    entries = [
        (each.seq, each.agent_name, each.model, each.usage, each.created_at)
        for each in rows.messages
        if each.usage is not None
    ]
    found: list[tuple[int | None, str | None, str | None, Usage, int]] = [
        *entries,
        *(
            (None, each.agent_name, each.model, each.usage, each.created_at)
            for each in rows.usage
        ),
    ]
    return [
        [
            key,
            seq,
            message_seq,
            agent_name,
            model,
            *msgspec.structs.astuple(_counted(usage)),
            created_at,
        ]
        for seq, (message_seq, agent_name, model, usage, created_at) in enumerate(
            found, 1
        )
    ]


def _counted(usage: Usage) -> Usage:
    return usage if usage.api_calls else msgspec.structs.replace(usage, api_calls=1)


def _head(
    key: int, rows: SessionRows, ledger: Sequence[Sequence[Value]], now: int
) -> list[Value]:
    session = rows.session
    sums = [sum(row[at] for row in ledger) for at in range(5, 11)]  # type: ignore[misc]
    updated_at = now if session.updated_at is None else session.updated_at
    return [
        key,
        session.created_at,
        max(updated_at, session.created_at),
        len(rows.events),
        len(rows.messages),
        len(rows.messages),
        len(rows.tool_calls),
        len(rows.tool_calls),
        sum(each.status in OPEN_STATUSES for each in rows.tool_calls),
        len(ledger),
        *sums,
        sums[0] + sums[1],
        session.last_model,
        session.active_message_id,
    ]


_SESSION: Final = _Table(StoredSession, sessions)
_TABLES: Final = {
    "messages": _Table(StoredMessage, messages),
    "tool_calls": _Table(StoredToolCall, tool_calls),
    "events": _Table(StoredEvent, events),
    "compactions": _Table(StoredCompaction, compactions),
    "questions": _Table(StoredQuestion, questions),
    "settings": _Table(StoredSetting, settings),
}
_INSERT_METADATA: Final = InsertValues(
    session_metadata,
    session_metadata.c.session_key,
    session_metadata.c.key,
    session_metadata.c.value,
    session_metadata.c.created_at,
    session_metadata.c.updated_at,
)
_INSERT_LEDGER: Final = InsertValues(usage_ledger, *usage_ledger.c)
_INSERT_HEADS: Final = InsertValues(session_heads, *HEAD_COLUMNS)
_INSERT_SOURCE: Final = InsertValues(
    source_rows, *(each for each in source_rows.c if each.name != "row_key")
)
_INSERT_IMPORT: Final = InsertValues(imports, *imports.c)
_IMPORT: Final = Query(
    select(imports.c.batch).where(imports.c.batch == bindparam("batch")), _Name
)
_is_kept = (
    source_rows.c.session_key.is_(None),
    source_rows.c.batch == bindparam("batch"),
    source_rows.c.table_name == bindparam("table_name"),
    source_rows.c.position == bindparam("position"),
)
_KEPT: Final = Query(
    select(type_coerce(source_rows.c.row, Text).label("row")).where(*_is_kept), _Kept
)
_DELETE_KEPT: Final = delete(source_rows).where(*_is_kept)
