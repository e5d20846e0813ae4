"""Exports sessions to a SQLite file of another system."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from anyio import CancelScope, to_thread

from turnstore.engine.sqlite.library import library
from turnstore.errors import InvalidArgument
from turnstore.store import SessionStore
from turnstore.transfer.files.cells import Cell, OutCell, PendingId, unpack
from turnstore.transfer.files.chunks import SessionChunks
from turnstore.transfer.files.ids import FreeIds, OutRows
from turnstore.transfer.files.kept import About, KeptRows, known_files, next_chunk
from turnstore.transfer.files.patches import (
    SessionPatch,
    TablePatch,
    restore,
    unpack_row,
)
from turnstore.transfer.files.system import (
    ROWID,
    Imported,
    RowId,
    SessionWriter,
    System,
    Table,
)
from turnstore.transfer.files.target import Target, entries_of
from turnstore.transfer.report import ExportReport
from turnstore.transfer.rows import SessionRows

OnProgress = Callable[[int, int], None]


class SqliteExport:
    """Runs one export into one file."""

    def __init__(
        self,
        store: SessionStore,
        path: str | os.PathLike[str],
        system: System,
        session_ids: Sequence[str] | None,
    ) -> None:
        self._store = store
        self._system = system
        self._is_whole = session_ids is None
        self._sessions = SessionChunks(store, session_ids)
        self._target = Target(path)
        self._canonical = entries_of(system.schema)
        self._next_key: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    async def run(self, on_progress: OnProgress | None) -> ExportReport:
        total = await self._sessions.count()
        files = await self._store.engine.read(
            partial(known_files, system=self._system.name)
        )
        known = [
            (each.batch, msgspec.json.decode(each.about, type=About)) for each in files
        ]
        try:
            await to_thread.run_sync(self._create, [about for _, about in known])
            while chunk := await self._sessions.next():
                await to_thread.run_sync(self._write, chunk)
                if on_progress is not None:
                    on_progress(min(self._counts["sessions"], total), total)
            for batch, _ in known:
                await self._restore_file(batch)
            await to_thread.run_sync(self._finish, known[0][1] if known else None)
        except BaseException as error:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._target.abandon)
            if isinstance(error, library().module.IntegrityError):
                # Its own constraints, which a damaged file does not keep to.
                raise InvalidArgument(
                    f"the rows don't fit the tables of the file that was imported: "
                    f"{error}"
                ) from error
            raise
        return ExportReport(
            sessions=self._counts["sessions"],
            messages=self._counts["messages"],
            tool_calls=self._counts["tool_calls"],
            events=self._counts["events"],
            rows_restored=self._counts["restored"],
            reasons=dict(sorted((self._reasons + self._sessions.reasons).items())),
        )

    def _create(self, files: Sequence[About]) -> None:
        """Make the file: with the tables of the files that were imported, or, if there
        are none, with those of the system."""
        target = self._target
        target.create(files[0].pragmas if files else self._system.pragmas)
        if not files:
            target.add_schema(self._canonical)
        for about in files:
            target.add_schema(about.schema)
            for name, columns in about.columns.items():
                for each in columns:
                    if target.has_table(name) and each != ROWID:
                        self._require_column(name, each)
        for table in self._system.tables:
            highest = [each.highest.get(table.name, 0) for each in files]
            self._next_key[table.name] = max(highest, default=0) + 1

    def _require_column(self, table: str, column: str) -> None:
        if column not in self._target.columns(table):
            self._target.add_column(table, column)
            self._reasons[f"{table}.{column}: added, from another file's table"] += 1

    def _finish(self, about: About | None) -> None:
        self._target.set_sequences(self._sequences)
        self._target.finish(about.pragmas if about else self._system.pragmas)

    # Sessions

    def _write(self, chunk: Sequence[SessionRows]) -> None:
        for rows in chunk:
            self._write_session(rows, self._patch_of(rows))
            self._counts["sessions"] += 1
            for name in self._system.holds:
                self._counts[name] += len(getattr(rows, name))
        self._target.commit()

    def _patch_of(self, rows: SessionRows) -> SessionPatch | None:
        """Return what an import from the system kept with a session."""
        for kept in rows.source_rows:
            if kept.system == self._system.name:
                return msgspec.json.decode(kept.row, type=SessionPatch)
        return None

    def _write_session(self, rows: SessionRows, patch: SessionPatch | None) -> None:
        writer = SessionWriter(Imported() if patch is None else patch.imported)
        self._system.write(rows, writer)
        self._reasons.update(writer.notes)
        session_id: OutCell = rows.session.id
        if patch is not None:
            session_id = unpack(patch.id)
        elif self._system.has_integer_ids:
            session_id = PendingId(rows.session.id)
        found: OutRows = {}
        for table in self._system.tables:
            written = writer.rows.get(table.name, [])
            kept = None if patch is None else patch.tables.get(table.name)
            if not written and kept is None:
                continue
            self._require_table(table.name)
            each = kept or TablePatch()
            known = self._target.columns(table.name)
            found[table.name] = restore(table, session_id, each, written, known)
            self._counts["restored"] += _restored(table, each)
        resolved = FreeIds(self._target, self._system, self._next_key).resolve(found)
        for name, listed in resolved.items():
            self._target.insert(name, [self._fitted(name, row) for row in listed])

    def _require_table(self, name: str) -> None:
        if not self._target.has_table(name):
            self._target.add_schema(
                [each for each in self._canonical if each.table == name]
            )

    def _fitted(self, name: str, row: dict[str, Cell]) -> dict[str, Cell]:
        """Drop the cells that the file's table has no column for."""
        columns = self._target.columns(name)
        if row.keys() <= set(columns):
            return row
        for each, cell in row.items():
            if each not in columns and each != ROWID and cell is not None:
                self._reasons[
                    f"{name}.{each}: the file's table has no such column"
                ] += 1
        return {
            each: cell
            for each, cell in row.items()
            if each in columns or (each == ROWID and cell is not None)
        }

    # Rows of no session

    async def _restore_file(self, batch: str) -> None:
        after = 0
        while True:
            kept = await self._store.engine.read(
                partial(next_chunk, batch=batch, after=after)
            )
            if kept is None:
                return
            after = kept.row_key
            if self._is_whole or kept.table_name in self._system.history:
                await to_thread.run_sync(self._restore_rows, kept.table_name, kept.row)

    def _restore_rows(self, name: str, encoded: str) -> None:
        kept = msgspec.json.decode(encoded, type=KeptRows)
        rows = [unpack_row(row) for row in kept.rows]
        if name == "sqlite_sequence":
            for row in rows:
                table, seq = row["name"], row["seq"]
                if isinstance(table, str) and isinstance(seq, int):
                    self._sequences[table] = max(seq, self._sequences.get(table, 0))
            return
        if not (self._target.has_table(name) or self._target.has_statistics(name)):
            self._reasons[f"{name}: SQLite's own table was not written"] += len(rows)
            return
        self._counts["restored"] += len(rows)
        left = self._target.insert_where_possible(name, rows)
        if left:
            self._counts["restored"] -= len(left)
            self._reasons[f"{name}: left out, as its key is taken"] += len(left)


def _restored(table: Table, patch: TablePatch) -> int:
    """Count the rows that get something back from a patch."""
    row_ids: set[RowId] = set()
    for column, each in patch.columns.items():
        if column not in (ROWID, table.key, table.session):
            row_ids |= set(each.rows_of(patch.count))
    return len(row_ids) + len(patch.aside)
