"""Reads the sessions of an export in chunks, each session with all its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, bindparam

from turnstore.errors import DatabaseCorrupt, SessionNotFound
from turnstore.records import SessionFilter
from turnstore.sql.schema import events, messages
from turnstore.store import SessionStore
from turnstore.transfer.pages import (
    Pages,
    SessionSize,
    find_sessions,
    is_of_a_row,
    next_key,
    next_sessions,
)
from turnstore.transfer.rows import EVENTS, MESSAGES, PARTS, SessionRows

CHUNK_SESSIONS: Final = 64
CHUNK_ROWS: Final = 4_096
"""About the most rows of a chunk; a session with more is a chunk of its own."""


class SessionChunks:
    """Reads the sessions of an export, each chunk from one snapshot.

    :param session_ids: the sessions to read, in this order. None reads all, by key.
    """

    def __init__(self, store: SessionStore, session_ids: Sequence[str] | None) -> None:
        self._store = store
        self._ids = None if session_ids is None else list(dict.fromkeys(session_ids))
        self._last: SessionSize | None = None
        self._done = 0
        self.reasons: Counter[str] = Counter()
        """Why sessions were left out, and how many for each."""

    async def count(self) -> int:
        """:raises SessionNotFound: one of the sessions does not exist."""
        if self._ids is None:
            return await self._store.sessions.count(SessionFilter())
        for at in range(0, len(self._ids), CHUNK_SESSIONS):
            wanted = self._ids[at : at + CHUNK_SESSIONS]
            found = await self._store.engine.read(partial(find_sessions, ids=wanted))
            missing = set(wanted) - {each.id for each in found}
            if missing:
                raise SessionNotFound(min(missing))
        return len(self._ids)

    async def next(self) -> list[SessionRows]:
        """Return the next sessions; nothing at the end."""
        return await self._store.engine.read(self._read, snapshot=True)

    def _read(self, connection: Connection) -> list[SessionRows]:
        while True:
            taken = self._fitting(self._next(connection))
            found = self._read_all(connection, taken)
            if found or not taken:
                return found

    def _read_all(
        self, connection: Connection, taken: Sequence[SessionSize]
    ) -> list[SessionRows]:
        """Read sessions; damaged ones are left out, with the reason."""
        try:
            return read_sessions(connection, [each.session_key for each in taken])
        except DatabaseCorrupt as error:
            if not is_of_a_row(error):
                raise
            if len(taken) == 1:
                self.reasons[f"left out: session {taken[0].id!r}: {error}"] += 1
                return []
        return [rows for each in taken for rows in self._read_all(connection, [each])]

    def _next(self, connection: Connection) -> Sequence[SessionSize]:
        if self._ids is None:
            return self._following(connection, self._last, CHUNK_SESSIONS)
        while self._done < len(self._ids):
            wanted = self._ids[self._done : self._done + CHUNK_SESSIONS]
            found = find_sessions(connection, wanted)
            if found:
                return found
            self._done += len(wanted)  # deleted since they were counted
        return []

    def _following(
        self, connection: Connection, last: SessionSize | None, limit: int
    ) -> Sequence[SessionSize]:
        """Return the sessions after the last one, when all are read."""
        after = -1 if last is None else last.session_key
        try:
            return next_sessions(connection, after, limit)
        except DatabaseCorrupt as error:
            if not is_of_a_row(error):
                raise
        while (key := next_key(connection, after)) is not None:
            try:
                return next_sessions(connection, key - 1, 1)
            except DatabaseCorrupt as error:
                self.reasons[f"left out: {error}"] += 1
                after = key
        return []

    def _fitting(self, found: Sequence[SessionSize]) -> list[SessionSize]:
        """Return the first of the sessions, as many as fit into a chunk."""
        taken: list[SessionSize] = []
        rows = 0
        for each in found:
            if taken and rows + each.rows > CHUNK_ROWS:
                break
            taken.append(each)
            rows += each.rows
        if taken:
            self._last = taken[-1]
            if self._ids is not None:
                self._done = self._ids.index(taken[-1].id, self._done) + 1
        return taken


def read_sessions(connection: Connection, keys: Sequence[int]) -> list[SessionRows]:
    """Return the sessions that exist, in the order of ``keys``, with all rows."""
    parts: dict[int, dict[str, list[Any]]] = {key: {} for key in keys}
    for name, pages in _PAGES.items():
        for key, listed in pages.of_many(connection, keys):
            parts[key].setdefault(name, []).extend(listed)
    found: list[SessionRows] = []
    for each in parts.values():
        if "session" in each and "head" in each:
            [session], [head] = each.pop("session"), each.pop("head")
            found.append(SessionRows(session=session, head=head, **each))
    for rows in found:
        # Sorted here, because databases sort text differently.
        rows.metadata.sort(key=lambda each: each.key)
        if rows.fork_sources:
            rows.messages[:0] = _shown(connection, rows, "message")
            rows.events[:0] = _shown(connection, rows, "event")
    return found


def _shown(connection: Connection, rows: SessionRows, kind: str) -> Iterator[Any]:
    """Yield the rows of other sessions that a fork shows before its own."""
    for source in rows.fork_sources:
        after: int = getattr(source, f"{kind}_after")
        upto: int = getattr(source, f"{kind}_upto")
        yield from chain.from_iterable(
            _SHOWN[kind].of_one(connection, source.source_key, after, upto=upto)
        )


_PAGES: Final = {
    name: Pages(table)
    for name, table in PARTS.items()
    if name not in ("idempotency_keys", "usage")
}
_SHOWN: Final[dict[str, Pages[Any]]] = {
    "message": Pages(MESSAGES, messages.c.seq <= bindparam("upto")),
    "event": Pages(EVENTS, events.c.seq <= bindparam("upto")),
}
