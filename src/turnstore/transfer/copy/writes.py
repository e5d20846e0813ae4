"""The commands that write rows of another store, each of them all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete

from turnstore.engine.commands import Command, Outcome, Touched
from turnstore.errors import SessionExists, SessionNotFound
from turnstore.sql import codec
from turnstore.sql.bounded import READ_BYTES
from turnstore.sql.query import CHUNK_ROWS
from turnstore.sql.schema import sessions
from turnstore.store.heads import find_keys
from turnstore.transfer.copy.spool import SpooledRows
from turnstore.transfer.rows import (
    FORK_SOURCES,
    IMPORTS,
    PARTS,
    SESSIONS,
    SOURCE_ROWS,
    USAGE,
    StoredSession,
    StoredTable,
)


class CopySession(Command[None], frozen=True):
    """Writes a session with all its rows.

    The outcome is ``SessionExists`` if there is a session of this id, and
    ``SessionNotFound`` if a source of the fork is missing: nothing was written then.
    """

    rows: SpooledRows

    @property
    def session_ids(self) -> tuple[str, ...]:
        return (self.session_id, *self.rows.sources.values())

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopySession]) -> list[Outcome]:
        wanted = {name for each in commands for name in each.session_ids}
        keys = find_keys(connection, wanted)
        outcomes: list[Outcome] = []
        fresh: dict[str, CopySession] = {}
        for each in commands:
            refusal = _refusal(each, keys, fresh)
            outcomes.append(refusal or Touched(None, each.session_id))
            if refusal is None:
                fresh[each.session_id] = each
        first, *rest = PARTS.values()
        _insert(connection, first, ((None, each.rows) for each in fresh.values()), {})
        keys |= find_keys(connection, fresh)
        given = [(keys[name], each.rows) for name, each in fresh.items()]
        for table in rest:
            _insert(connection, table, given, keys)
        return outcomes


class CopyUsage(Command[int], frozen=True):
    """Writes the usage of a deleted session; the result is the key that it got."""

    rows: SpooledRows

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopyUsage]) -> list[Outcome]:
        # Sessions that this transaction deletes again: their keys are not reused.
        now = codec.now_micros()
        made = [StoredSession(id=codec.new_id(), created_at=now) for _ in commands]
        SESSIONS.insert(connection, made)
        found = find_keys(connection, [each.id for each in made])
        keys = [found[each.id] for each in made]
        rows = [each.rows for each in commands]
        _insert(connection, USAGE, zip(keys, rows, strict=True), {})
        for each in made:
            connection.execute(_DELETE, {"name": each.id})
        return keys


class CopyImport(Command[None], frozen=True):
    """Writes the record of an imported file, and its rows of no session."""

    rows: SpooledRows

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CopyImport]) -> list[Outcome]:
        for table in (IMPORTS, SOURCE_ROWS):
            _insert(connection, table, [(None, each.rows) for each in commands], {})
        return [None] * len(commands)


def _refusal(
    command: CopySession, keys: Mapping[str, int], fresh: Mapping[str, CopySession]
) -> Exception | None:
    if command.session_id in keys or command.session_id in fresh:
        return SessionExists(command.session_id)
    for source in command.rows.sources.values():
        if source not in keys and source not in fresh:
            return SessionNotFound(source)
    return None


def _insert(
    connection: Connection,
    table: StoredTable[Any],
    given: Iterable[tuple[int | None, SpooledRows]],
    keys: Mapping[str, int],
) -> None:
    """Insert the rows of a table in few statements, a page of them at a time.

    :param given: rows, each with the key of its session if it belongs to one.
    :param keys: the keys of the sessions that fork sources name, by id.
    """
    waiting: list[Any] = []
    waiting_bytes = 0
    for key, rows in given:
        for chunk, size_bytes in rows.chunks(table):
            if waiting and (
                len(waiting) >= CHUNK_ROWS or waiting_bytes + size_bytes > READ_BYTES
            ):
                table.insert(connection, waiting)
                waiting, waiting_bytes = [], 0
            for row in chunk:
                if key is not None:
                    row.session_key = key
                if table is FORK_SOURCES:
                    row.source_key = keys[rows.sources[row.source_key]]
            waiting += chunk
            waiting_bytes += size_bytes
    table.insert(connection, waiting)


_DELETE: Final = delete(sessions).where(sessions.c.id == bindparam("name"))
