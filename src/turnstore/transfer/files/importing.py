"""Imports the sessions of another system's SQLite file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
from anyio import create_task_group, to_thread

from turnstore.errors import InvalidArgument, SessionExists, StoreError
from turnstore.options import MIB
from turnstore.sql import codec
from turnstore.store import SessionStore
from turnstore.transfer.files.cells import Row, pack
from turnstore.transfer.files.completing import complete, size_bytes
from turnstore.transfer.files.import_writes import ImportSession, KeepRows, RecordImport
from turnstore.transfer.files.kept import About, KeptRows, patch_of
from turnstore.transfer.files.patches import SessionPatch, compare, pack_row
from turnstore.transfer.files.source import Source, translate
from turnstore.transfer.files.system import (
    Imported,
    SessionWriter,
    SourceSession,
    System,
)
from turnstore.transfer.report import ImportReport, Problem
from turnstore.transfer.rows import StoredImport, StoredSourceRow

BATCH_SESSIONS: Final = 64
"""How many sessions are written concurrently, so that they share commits."""
BATCH_BYTES: Final = 8 * MIB
"""A batch ends with the session that reaches this."""
CHUNK_ROWS: Final = 256
"""How many rows of no session are kept in one row of the store."""
VERSION: Final = 1
"""The format of ``About`` and of patches."""

OnProgress = Callable[[int, int], None]
_encode: Final = msgspec.json.Encoder().encode


class _ReadSession(msgspec.Struct):
    """A session that was read, and what the report counts once it is written."""

    command: ImportSession
    digest: str
    rows_read: int
    rows_kept: int
    notes: Counter[str]


class _Orphans(msgspec.Struct):
    """Rows of a session that the file does not have."""

    rows: dict[str, list[Row]]


class SqliteImport:
    """Runs one import of one file. ``source`` is open; the caller closes it."""

    def __init__(
        self, store: SessionStore, source: Source, system: System, file: str
    ) -> None:
        self._store = store
        self._source = source
        self._system = system
        self._file = file
        self._bytes_max = store.options.payload_bytes_max
        self._batch = ""
        self._position = 0
        self._rows_done = 0
        self._orphans: dict[str, list[Row]] = {}
        self._chunks: Counter[str] = Counter()
        self._sessions = self._messages = self._calls = self._events = 0
        self._skipped = self._rows_kept = 0
        self._reasons: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._error: StoreError | None = None

    async def run(self, on_progress: OnProgress | None) -> ImportReport:
        self._system.check(self._source.columns(), self._file)
        about, total = await self._in_thread(self._about)
        known = StoredImport(
            batch=self._batch,
            system=self._system.name,
            about=about,
            created_at=codec.now_micros(),
        )
        await self._write(RecordImport("", len(about), known))
        found = self._read_sessions()
        while batch := await self._in_thread(self._next_batch, found):
            await self._add(batch)
            if on_progress is not None:
                on_progress(self._rows_done, total)
        for name in self._tables_of_the_file():
            rows = self._source.rows(name)
            more = True
            while more:
                more = await self._keep_next(name, rows)
                if on_progress is not None:
                    on_progress(self._rows_done, total)
        for name in sorted(self._orphans):
            await self._keep(name, self._orphans[name])
        return self._report()

    def _report(self) -> ImportReport:
        return ImportReport(
            sessions=self._sessions,
            messages=self._messages,
            tool_calls=self._calls,
            events=self._events,
            sessions_skipped=self._skipped,
            rows_kept=self._rows_kept,
            reasons=dict(sorted(self._reasons.items())),
            problems=tuple(self._problems),
        )

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await to_thread.run_sync(work, *arguments)
        except Exception as error:
            translated = translate(self._source.path, error)
            if translated is error:
                raise
            raise translated from error

    async def _write(self, command: Any) -> Any:
        return await self._store.engine.write(command)

    # The file as a whole

    def _about(self) -> tuple[str, int]:
        """Return what is known of the file, encoded, and how many rows it has."""
        source, system = self._source, self._system
        there = next(each.name for each in system.tables if each.name in source.tables)
        first = source.first_row(there) or {}
        about = About(
            version=VERSION,
            file=source.path.name,
            pragmas=source.pragmas,
            schema=source.schema,
            columns={name: list(each.columns) for name, each in source.tables.items()},
            highest={
                each.name: source.highest(each.name, order)
                for each in system.tables
                if each.name in source.tables
                and (order := source.tables[each.name].order) is not None
            },
        )
        known_by = [
            system.name,
            [[entry.name, entry.sql] for entry in source.schema],
            [first.get(column) for column in system.immutable],
        ]
        digest = hashlib.sha256(_encode(known_by)).hexdigest()
        self._batch = f"{system.name}-{digest[:32]}"
        return _encode(about).decode(), source.count(list(source.tables))

    def _tables_of_the_file(self) -> list[str]:
        """Return the tables whose rows belong to no session."""
        of_sessions = {
            each.name
            for each in self._system.tables
            if each.session in self._source.columns().get(each.name, ())
        }
        return [name for name in self._source.tables if name not in of_sessions]

    async def _keep_next(self, name: str, rows: Iterator[Row]) -> bool:
        """Keep the next rows of a table; return whether there may be more."""

        def take() -> list[Row]:
            return [row for _, row in zip(range(CHUNK_ROWS), rows, strict=False)]

        taken: list[Row] = await self._in_thread(take)
        self._rows_done += len(taken)
        if taken:
            await self._keep(name, taken, "no place of its own")
        return len(taken) == CHUNK_ROWS

    async def _keep(
        self, name: str, rows: list[Row], reason: str = "its session is not there"
    ) -> None:
        """Keep rows of no session, after those of the table that were kept before."""
        kept = _encode(KeptRows(rows=[pack_row(row) for row in rows])).decode()
        self._chunks[name] += 1
        row = StoredSourceRow(
            system=self._system.name,
            batch=self._batch,
            table_name=name,
            position=self._chunks[name],
            row=kept,
        )
        if (
            await self._write(KeepRows("", len(kept), row))
            and name != "sqlite_sequence"
        ):
            self._rows_kept += len(rows)
            self._reasons[f"{name}: {reason}"] += len(rows)

    # Sessions

    def _read_sessions(self) -> Iterator[_ReadSession | _Orphans]:
        for source_id, rows in self._source.sessions(self._system):
            session = SourceSession(source_id, rows, self._bytes_max)
            session_id = self._system.session_id(session)
            if session_id is None:
                yield _Orphans(rows)
            else:
                yield self._read_session(session, session_id)

    def _read_session(self, session: SourceSession, session_id: str) -> _ReadSession:
        self._position += 1
        digest = hashlib.sha256(_encode(session.rows)).hexdigest()[:32]
        rows_read = sum(map(len, session.rows.values()))
        rows = complete(self._system.read(session, session_id))
        imported = Imported(
            messages=len(rows.messages),
            tool_calls=len(rows.tool_calls),
            events=len(rows.events),
            next_numbers=session.next_numbers,
        )
        writer = SessionWriter(imported)
        self._system.write(rows, writer)
        patch = SessionPatch(id=pack(session.id), digest=digest, imported=imported)
        kept = self._compare(session, writer, patch)
        rows.source_rows = [
            StoredSourceRow(
                system=self._system.name,
                batch=self._batch,
                position=self._position,
                row=_encode(patch).decode(),
            )
        ]
        command = ImportSession(session_id, size_bytes(rows), rows)
        return _ReadSession(command, digest, rows_read, kept, session.notes)

    def _compare(
        self, session: SourceSession, writer: SessionWriter, patch: SessionPatch
    ) -> int:
        """Fill in a patch from what ``write`` gave; return how many rows it keeps."""
        kept = sum(map(len, session.aside.values()))
        for table in self._system.tables:
            if table.name not in session.rows and table.name not in writer.rows:
                continue
            patch.tables[table.name], differing = compare(
                table,
                session.id,
                session[table.name],
                writer.rows.get(table.name, []),
                session.aside.get(table.name, []),
            )
            kept += len(set().union(*differing.values()))
            for column, row_ids in differing.items():
                name = f"{table.name}.{column}" if column else table.name
                session.notes[f"{name}: kept as it was"] += len(row_ids)
        return kept

    def _next_batch(self, found: Iterator[_ReadSession | _Orphans]) -> list[Any]:
        """Return the next sessions and orphans; nothing at the end of the file."""
        batch: list[Any] = []
        size_bytes = 0
        while len(batch) < BATCH_SESSIONS and size_bytes < BATCH_BYTES:
            each = next(found, None)
            if each is None:
                break
            batch.append(each)
            if isinstance(each, _ReadSession):
                size_bytes += each.command.size_bytes
        return batch

    async def _add(self, batch: list[_ReadSession | _Orphans]) -> None:
        """Write the sessions of a batch concurrently, so that they share commits.

        :raises StoreError: the first error that does not concern a single session.
        """
        ready = [each for each in batch if isinstance(each, _ReadSession)]
        async with create_task_group() as group:
            for each in ready:
                group.start_soon(self._add_session, each)
        if self._error is not None:
            raise self._error
        for orphans in batch:
            if isinstance(orphans, _Orphans):
                await self._add_orphans(orphans)

    async def _add_orphans(self, orphans: _Orphans) -> None:
        for name, rows in orphans.rows.items():
            self._rows_done += len(rows)
            waiting = self._orphans.setdefault(name, [])
            waiting += rows
            while len(waiting) >= CHUNK_ROWS:
                await self._keep(name, waiting[:CHUNK_ROWS])
                del waiting[:CHUNK_ROWS]

    async def _add_session(self, ready: _ReadSession) -> None:
        rows = ready.command.rows
        try:
            await self._write(ready.command)
        except SessionExists:
            await self._skip(ready)
        except InvalidArgument as error:
            # The database can't hold it: a text is too long for an index.
            self._report_session(ready, f"can't be stored: {error}")
        except StoreError as error:
            # Raised once at the end, rather than as a group of equal errors.
            self._error = self._error or error
        else:
            self._sessions += 1
            self._messages += len(rows.messages)
            self._calls += len(rows.tool_calls)
            self._events += len(rows.events)
            self._rows_kept += ready.rows_kept
            self._reasons.update(ready.notes)
        self._rows_done += ready.rows_read

    async def _skip(self, ready: _ReadSession) -> None:
        """Skip a session that exists; report it if it is not the one of this file."""
        read = partial(
            patch_of, session_id=ready.command.session_id, system=self._system.name
        )
        kept = await self._store.engine.read(read)
        there = None
        if kept is not None:
            there = msgspec.json.decode(kept, type=SessionPatch).digest
        if there == ready.digest:
            self._skipped += 1
        else:
            how = (
                "from elsewhere" if there is None else "as it was at an earlier import"
            )
            reason = f"is there already, {how}: it was left as it is"
            self._report_session(ready, reason)

    def _report_session(self, ready: _ReadSession, reason: str) -> None:
        reason = f"session {ready.command.session_id!r} {reason}"
        self._problems.append(Problem(file=self._file, reason=reason))
