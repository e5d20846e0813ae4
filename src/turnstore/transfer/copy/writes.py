"""The commands that write what was read from another store, each all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Table, bindparam, delete

from turnstore.engine.commands import Audience, Command, Outcome, Published
from turnstore.errors import SessionExists, SessionNotFound
from turnstore.sql import codec
from turnstore.sql.bulk import InsertValues
from turnstore.sql.compiled import Value
from turnstore.sql.query import CHUNK_ROWS
from turnstore.sql.schema import (
    fork_sources,
    imports,
    sessions,
    source_rows,
    usage_ledger,
)
from turnstore.store.heads import find_keys
from turnstore.transfer.copy.stored_rows import (
    PAGE_BYTES,
    TABLES,
    StoredRows,
    columns_of,
)


class CopySession(Published[None]):
    """Writes a session with all its rows.

    The outcome is ``SessionExists`` where it is there, ``SessionNotFound`` where a
    source of it is not; nothing was written then.
    """

    rows: StoredRows

    @property
    def session_ids(self) -> tuple[str, ...]:
        return (self.session_id, *self.rows.sources)

    def publish(self, outcome: None, audience: Audience) -> None:
        audience.touched(self.session_id)

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopySession]) -> list[Outcome]:
        wanted = {name for each in commands for name in each.session_ids}
        keys = find_keys(connection, wanted)
        outcomes: list[Outcome] = []
        fresh: dict[str, CopySession] = {}
        for each in commands:
            outcome = _refusal(each, keys, fresh)
            outcomes.append(outcome)
            if outcome is None:
                fresh[each.session_id] = each
        first, *rest = TABLES
        _insert(connection, first, ((None, each.rows) for each in fresh.values()), {})
        keys |= find_keys(connection, fresh)
        for table in rest:
            placed = ((keys[name], each.rows) for name, each in fresh.items())
            _insert(connection, table, placed, keys)
        return outcomes


class CopyUsage(Command[int]):
    """Writes the usage of a deleted session; the result is the key that it got."""

    rows: StoredRows

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopyUsage]) -> list[Outcome]:
        # Sessions that were there for a moment: their keys are never given again.
        names = [codec.new_id() for _ in commands]
        now = codec.now_micros()
        _INSERT_NAMES(connection, [(name, "", "idle", now) for name in names])
        keys = find_keys(connection, names)
        placed = [
            (keys[name], each.rows) for name, each in zip(names, commands, strict=True)
        ]
        _insert(connection, usage_ledger, placed, {})
        for name in names:
            connection.execute(_DELETE_NAME, {"name": name})
        return [key for key, _ in placed]


class CopyImport(Command[None]):
    """Writes what is known of an imported file, and its rows of no session."""

    rows: StoredRows

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopyImport]) -> list[Outcome]:
        given = [(None, each.rows) for each in commands]
        for table in (imports, source_rows):
            _insert(connection, table, given, {})
        return [None] * len(commands)


def _refusal(
    command: CopySession, keys: Mapping[str, int], fresh: Mapping[str, CopySession]
) -> Exception | None:
    if command.session_id in keys or command.session_id in fresh:
        return SessionExists(command.session_id)
    for source in command.rows.sources:
        if source not in keys and source not in fresh:
            return SessionNotFound(source)
    return None


def _insert(
    connection: Connection,
    table: Table,
    placed: Iterable[tuple[int | None, StoredRows]],
    keys: Mapping[str, int],
) -> None:
    """Insert rows of a table in few steps, whoever's they are."""
    insert = _INSERTS[table.name]
    has_key = table.name in _WITH_KEY
    waiting: list[Sequence[Value]] = []
    waiting_bytes = 0
    for key, rows in placed:
        for chunk, size_bytes in rows.chunks(table.name):
            if waiting and waiting_bytes + size_bytes > PAGE_BYTES:
                insert(connection, waiting)
                waiting, waiting_bytes = [], 0
            for row in chunk:
                if table is fork_sources:
                    row[_SOURCE_AT] = keys[str(row[_SOURCE_AT])]
                waiting.append([key, *row] if has_key else row)
            waiting_bytes += size_bytes
            if len(waiting) >= CHUNK_ROWS:
                insert(connection, waiting)
                waiting, waiting_bytes = [], 0
    insert(connection, waiting)


_SOURCE_AT: Final = columns_of(fork_sources).index(fork_sources.c.source_key)
_WITH_KEY: Final = frozenset(each.name for each in TABLES if each is not sessions)
_INSERTS: Final = {
    each.name: InsertValues(
        each,
        *([each.c.session_key] if each.name in _WITH_KEY else []),
        *columns_of(each),
    )
    for each in (*TABLES, imports)
}
_INSERT_NAMES: Final = InsertValues(
    sessions,
    sessions.c.id,
    sessions.c.agent_name,
    sessions.c.status,
    sessions.c.created_at,
)
_DELETE_NAME: Final = delete(sessions).where(sessions.c.id == bindparam("name"))
