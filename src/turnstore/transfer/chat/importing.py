"""Imports the conversations of chat files, in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from anyio import CancelScope, create_task_group, to_thread

from turnstore.errors import InvalidArgument, SessionExists, StoreError
from turnstore.options import MIB
from turnstore.records import Session, SessionFilter
from turnstore.store import SessionStore
from turnstore.transfer.chat.conversation import Conversation, is_from
from turnstore.transfer.chat.reading import INVALID, ChatReader, Read
from turnstore.transfer.files.completing import size_bytes
from turnstore.transfer.files.import_writes import ImportSession
from turnstore.transfer.report import ImportReport, Problem

BATCH_SESSIONS: Final = 64
"""How many conversations are written concurrently, so that they share commits."""
BATCH_BYTES: Final = 8 * MIB
"""A batch ends with the conversation that reaches this."""
PROBLEMS_MAX: Final = 1_000
"""Problems of a kind that are told one by one; more are only counted."""

OnProgress = Callable[[int, int], None]


class _Ready:
    """A conversation, and the command that stores it."""

    def __init__(self, read: Read, conversation: Conversation) -> None:
        self.read = read
        self.conversation = conversation
        self.size_bytes = size_bytes(conversation.rows)
        self.command = ImportSession(
            conversation.session_id, self.size_bytes, conversation.rows
        )


class ChatImport:
    """Runs one import: writes batches and counts what was added."""

    def __init__(self, store: SessionStore, reader: ChatReader) -> None:
        self._store = store
        self._reader = reader
        self._sessions = self._messages = self._calls = self._events = 0
        self._skipped = 0
        self._formats: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._problems_by_kind: Counter[str] = Counter()
        self._error: StoreError | None = None

    async def run(self, on_progress: OnProgress | None) -> ImportReport:
        reader = self._reader
        try:
            await to_thread.run_sync(reader.open)
            while batch := await to_thread.run_sync(self._read_batch):
                await self._add_batch(batch)
                if on_progress is not None:
                    total = max(reader.total_bytes, reader.done_bytes)
                    on_progress(reader.done_bytes, total)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(reader.close)
        more = {
            kind: count - PROBLEMS_MAX
            for kind, count in self._problems_by_kind.items()
            if count > PROBLEMS_MAX
        }
        return ImportReport(
            sessions=self._sessions,
            messages=self._messages,
            tool_calls=self._calls,
            events=self._events,
            sessions_skipped=self._skipped,
            formats=dict(self._formats),
            reasons=dict(sorted(self._reasons.items())),
            problems=tuple(
                sorted(self._problems, key=lambda each: (each.file, each.line or 0))
            ),
            more_problems=more,
        )

    def _read_batch(self) -> list[Read | _Ready]:
        """Return what comes next in the files; nothing at the end."""
        batch: list[Read | _Ready] = []
        batch_bytes = 0
        while len(batch) < BATCH_SESSIONS and batch_bytes < BATCH_BYTES:
            item = self._reader.next()
            if item is None:
                break
            if item.conversation is None:
                batch.append(item)
            else:
                ready = _Ready(item, item.conversation)
                batch_bytes += ready.size_bytes
                batch.append(ready)
        return batch

    async def _add_batch(self, batch: Sequence[Read | _Ready]) -> None:
        """Write the conversations of a batch concurrently, so that they share commits.

        :raises StoreError: the first error that does not concern a single conversation.
        """
        ready = [each for each in batch if isinstance(each, _Ready)]
        for each in batch:
            if isinstance(each, Read):
                self._report(each, each.reason, each.kind)
        stored = await self._stored(ready)
        async with create_task_group() as group:
            for one in ready:
                self._formats[one.conversation.format] += 1
                session = stored.get(one.conversation.session_id)
                if session is not None:
                    self._skip(one, session)
                else:
                    group.start_soon(self._add, one)
        if self._error is not None:
            raise self._error

    async def _stored(self, ready: Sequence[_Ready]) -> dict[str, Session]:
        """Return the sessions of conversations that the store has already, by id."""
        if not ready:
            return {}
        wanted = SessionFilter(ids=[each.conversation.session_id for each in ready])
        page = await self._store.sessions.list(wanted, limit=BATCH_SESSIONS)
        return {session.id: session for session in page.items}

    async def _add(self, ready: _Ready) -> None:
        try:
            await self._store.engine.write(ready.command)
        except SessionExists:
            await self._skip_existing(ready)
        except InvalidArgument as error:
            # The database can't hold it: a text is too long for an index.
            self._report(ready.read, str(error), INVALID)
        except StoreError as error:
            # Raised once at the end, rather than as a group of equal errors.
            self._error = self._error or error
        else:
            rows = ready.conversation.rows
            self._sessions += 1
            self._messages += len(rows.messages)
            self._calls += len(rows.tool_calls)
            self._events += len(rows.events)
            self._reasons.update(ready.conversation.notes)

    async def _skip_existing(self, ready: _Ready) -> None:
        """Skip a session that another line, or another process, has just made."""
        stored = await self._stored([ready])
        session = stored.get(ready.conversation.session_id)
        if session is None:
            self._report(ready.read, "its session was deleted meanwhile", INVALID)
        else:
            self._skip(ready, session)

    def _skip(self, ready: _Ready, session: Session) -> None:
        if is_from(session, ready.conversation):
            self._skipped += 1
        else:
            reason = f"session {session.id!r} is there already, with other content"
            self._report(ready.read, reason, "is there already")

    def _report(self, read: Read, reason: str, kind: str) -> None:
        self._problems_by_kind[kind] += 1
        if self._problems_by_kind[kind] <= PROBLEMS_MAX:
            reason = " ".join(reason.split())
            self._problems.append(
                Problem(file=read.file, line=read.line, reason=reason, kind=kind)
            )
