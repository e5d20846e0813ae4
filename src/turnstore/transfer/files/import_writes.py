"""The commands that store what was read from another system's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, select

from turnstore.engine.commands import Command, Outcome, Touched
from turnstore.errors import SessionExists
from turnstore.sql.schema import imports, source_rows
from turnstore.store.heads import find_keys
from turnstore.transfer.files.kept import IS_AT, kept_in
from turnstore.transfer.rows import (
    IMPORTS,
    PARTS,
    SESSIONS,
    SOURCE_ROWS,
    SessionRows,
    StoredImport,
    StoredSourceRow,
)


class ImportSession(Command[None], frozen=True):
    """Stores a session with all its rows.

    The outcome is ``SessionExists`` if there is a session of this id: nothing was
    written then.
    """

    rows: SessionRows

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[ImportSession]
    ) -> list[Outcome]:
        taken = find_keys(connection, {each.session_id for each in commands})
        fresh: dict[str, ImportSession] = {}
        for command in commands:
            if command.session_id not in taken:
                fresh.setdefault(command.session_id, command)
        SESSIONS.insert(connection, [each.rows.session for each in fresh.values()])
        keys = find_keys(connection, fresh)
        for name, table in PARTS.items():
            if table is SESSIONS:
                continue
            rows = []
            for each in fresh.values():
                for row in each.rows.part(name):
                    row.session_key = keys[each.session_id]
                    rows.append(row)
            table.insert(connection, rows)
        return [
            Touched(None, each.session_id)
            if fresh.get(each.session_id) is each
            else SessionExists(each.session_id)
            for each in commands
        ]


class RecordImport(Command[bool], frozen=True):
    """Records an imported file; the result is whether it was unknown before."""

    row: StoredImport

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[RecordImport]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each in commands:
            known = connection.execute(_COUNT_IMPORTS, {"batch": each.row.batch})
            is_new = not known.scalar_one()
            if is_new:
                IMPORTS.insert(connection, [each.row])
            outcomes.append(is_new)
        return outcomes


class KeepRows(Command[bool], frozen=True):
    """Keeps rows of a file that belong to no session; the result is whether they are
    new.

    They replace what an earlier import of the file kept at the same position.
    """

    row: StoredSourceRow

    @staticmethod
    def apply(connection: Connection, commands: Sequence[KeepRows]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each in commands:
            row = each.row
            there = kept_in(connection, row.batch, row.table_name, row.position)
            is_new = there != [row.row]
            if is_new:
                key = {
                    "batch": row.batch,
                    "table_name": row.table_name,
                    "position": row.position,
                }
                connection.execute(_DELETE_KEPT, key)
                SOURCE_ROWS.insert(connection, [row])
            outcomes.append(is_new)
        return outcomes


_COUNT_IMPORTS: Final = (
    select(func.count())
    .select_from(imports)
    .where(imports.c.batch == bindparam("batch"))
)
_DELETE_KEPT: Final = delete(source_rows).where(*IS_AT)
