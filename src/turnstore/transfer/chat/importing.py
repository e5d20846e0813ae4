"""Imports a file of conversations in the chat format, line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from anyio import create_task_group, to_thread

from turnstore.errors import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    SessionExists,
    StoreError,
)
from turnstore.options import MIB, StoreOptions
from turnstore.records import Session, SessionFilter
from turnstore.sql import codec
from turnstore.store import SessionStore
from turnstore.transfer.chat.conversation import Conversation, is_chat, is_from, read
from turnstore.transfer.report import ImportReport, Problem

LINE_BYTES_MAX: Final = 64 * MIB
BATCH_LINES: Final = 64
"""How many conversations are written concurrently, so that they share commits."""
BATCH_BYTES: Final = 8 * MIB
"""A batch ends with the line that reaches this."""
RECOGNISED_LINES: Final = 10

OnProgress = Callable[[int, int], None]


class _Line(msgspec.Struct, frozen=True):
    """One line of the file: its conversation, or the reason why it has none."""

    number: int
    content: Conversation | str


class ChatFile:
    """Reads a file in batches of lines. Used from one thread at a time.

    :param known: the formats that are known. If given, the first lines have to show
        that the file is of the chat format; else the error names these formats.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: StoreOptions,
        known: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._payload_bytes_max = options.payload_bytes_max
        self._known = known
        self._file: BinaryIO | None = None
        self._number = 0
        self._created_at = 0
        self.done_bytes = 0
        self.total_bytes = 0

    def open(self) -> None:
        """:raises InvalidArgument: none of the first lines is a conversation."""
        self._file = self.path.open("rb")
        self.total_bytes = os.fstat(self._file.fileno()).st_size
        if self._known is not None:
            self._recognise(self._known)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _recognise(self, known: str) -> None:
        lines = (self._next_line() for _ in range(RECOGNISED_LINES))
        if not any(is_chat(line) for line in lines if line):
            raise InvalidArgument(f"{self.path}: no known format: known are {known}")
        assert self._file is not None
        self._file.seek(0)
        self._number = self.done_bytes = 0

    def read_batch(self) -> list[_Line]:
        """Return the next lines that are not blank; nothing at the end of the file."""
        batch: list[_Line] = []
        start_bytes = self.done_bytes
        while len(batch) < BATCH_LINES and self.done_bytes - start_bytes < BATCH_BYTES:
            line = self._next_line()
            if line == b"":
                break
            if line is None:
                reason = f"more than {LINE_BYTES_MAX} bytes"
                batch.append(_Line(self._number, reason))
            elif not line.isspace():
                batch.append(_Line(self._number, self._content(line)))
        return batch

    def _content(self, line: bytes) -> Conversation | str:
        # Later with each line, because lines are written concurrently, in any order.
        self._created_at = max(codec.now_micros(), self._created_at + 1)
        try:
            return read(line, self._payload_bytes_max, self._created_at)
        except (InvalidArgument, PayloadInvalid, PayloadTooLarge) as error:
            return str(error)

    def _next_line(self) -> bytes | None:
        """Return the next line with its newline.

        Empty at the end of the file; None if the line is too long.
        """
        assert self._file is not None
        line = self._file.readline(LINE_BYTES_MAX + 1)
        size_bytes = len(line)
        is_whole = size_bytes <= LINE_BYTES_MAX or line.endswith(b"\n")
        rest = line
        while size_bytes > LINE_BYTES_MAX and rest and not rest.endswith(b"\n"):
            rest = self._file.readline(LINE_BYTES_MAX)
            size_bytes += len(rest)
        self.done_bytes += size_bytes
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line if is_whole else None


class ChatImport:
    """Runs one import of one file: writes batches and counts what was added."""

    def __init__(self, store: SessionStore, source: ChatFile) -> None:
        self._store = store
        self._source = source
        self._file = str(source.path)
        self._sessions = self._messages = self._calls = self._events = 0
        self._skipped = 0
        self._problems: list[Problem] = []
        self._error: StoreError | None = None

    async def run(self, on_progress: OnProgress | None) -> ImportReport:
        source = self._source
        try:
            await to_thread.run_sync(source.open)
            while batch := await to_thread.run_sync(source.read_batch):
                await self._add_batch(batch)
                if on_progress is not None:
                    on_progress(source.done_bytes, source.total_bytes)
        finally:
            source.close()
        return ImportReport(
            sessions=self._sessions,
            messages=self._messages,
            tool_calls=self._calls,
            events=self._events,
            sessions_skipped=self._skipped,
            problems=tuple(sorted(self._problems, key=lambda each: each.line or 0)),
        )

    async def _add_batch(self, batch: Sequence[_Line]) -> None:
        """Write the conversations of a batch concurrently, so that they share commits.

        :raises StoreError: the first error that does not concern a single conversation.
        """
        conversations: list[tuple[int, Conversation]] = []
        for line in batch:
            if isinstance(line.content, str):
                self._report(line.number, line.content)
            else:
                conversations.append((line.number, line.content))
        stored = await self._stored([each for _, each in conversations])
        async with create_task_group() as group:
            for number, conversation in conversations:
                session = stored.get(conversation.session_id)
                if session is not None:
                    self._skip(number, conversation, session)
                else:
                    group.start_soon(self._add, number, conversation)
        if self._error is not None:
            raise self._error

    async def _stored(
        self, conversations: Sequence[Conversation]
    ) -> dict[str, Session]:
        """Return the sessions of conversations that the store has already, by id."""
        wanted = SessionFilter(ids=[each.session_id for each in conversations])
        page = await self._store.sessions.list(wanted, limit=BATCH_LINES)
        return {session.id: session for session in page.items}

    async def _add(self, number: int, conversation: Conversation) -> None:
        try:
            await self._store.engine.write(conversation.turn)
        except SessionExists:
            await self._skip_existing(number, conversation)
        except InvalidArgument as error:
            # The database can't hold it: a text is too long for an index.
            self._report(number, str(error))
        except StoreError as error:
            # Raised once at the end, rather than as a group of equal errors.
            self._error = self._error or error
        else:
            self._sessions += 1
            self._messages += conversation.messages
            self._calls += conversation.tool_calls
            self._events += conversation.events

    async def _skip_existing(self, number: int, conversation: Conversation) -> None:
        """Skip a session that another line, or another process, has just made."""
        stored = await self._stored([conversation])
        session = stored.get(conversation.session_id)
        if session is None:
            self._report(number, "its session was deleted meanwhile")
        else:
            self._skip(number, conversation, session)

    def _skip(self, number: int, conversation: Conversation, session: Session) -> None:
        if is_from(session, conversation):
            self._skipped += 1
        else:
            self._report(
                number, f"session {session.id!r} is there already, with other content"
            )

    def _report(self, number: int, reason: str) -> None:
        self._problems.append(Problem(file=self._file, line=number, reason=reason))
