"""Exports sessions to a file of conversations in the chat format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from anyio import to_thread
from sqlalchemy import BigInteger, Connection, bindparam, select, tuple_, type_coerce

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.sql.query import Query
from turnstore.sql.schema import session_heads, sessions
from turnstore.store import SessionStore
from turnstore.transfer.chat.rows import ROLES
from turnstore.transfer.files.chunks import SessionChunks
from turnstore.transfer.files.target import partial_name, publish, reserve
from turnstore.transfer.pages import ROWS_OF_SESSION, SessionSize
from turnstore.transfer.report import ExportReport
from turnstore.transfer.rows import SessionRows

OnProgress = Callable[[int, int], None]

_OF_A_MESSAGE: Final = ("message.complete", "tool_call.completed")


class _ListedSession(SessionSize, kw_only=True):
    created_at: int


class _ByCreation(SessionChunks):
    """Reads sessions in the order of ``created_at``, which for imported ones without a
    time of their own is the order of their file. Keys don't follow that order if
    several lanes write."""

    def _following(
        self, connection: Connection, last: SessionSize | None, limit: int
    ) -> Sequence[SessionSize]:
        created_at, key = -codec.INTEGER_MAX, 0
        if isinstance(last, _ListedSession):
            created_at, key = last.created_at, last.session_key
        return _NEXT(connection, created_at=created_at, key=key, limit=limit)


class ChatExport:
    """Runs one export into one file."""

    def __init__(
        self,
        store: SessionStore,
        path: str | os.PathLike[str],
        session_ids: Sequence[str] | None,
    ) -> None:
        self._sessions = _ByCreation(store, session_ids)
        self._path = Path(path).absolute()
        self._partial = partial_name(self._path)
        self._file: BinaryIO | None = None
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    async def run(self, on_progress: OnProgress | None) -> ExportReport:
        total = await self._sessions.count()
        try:
            await to_thread.run_sync(self._open)
            while chunk := await self._sessions.next():
                await to_thread.run_sync(self._write, chunk)
                if on_progress is not None:
                    on_progress(min(self._counts["sessions"], total), total)
            await to_thread.run_sync(self._finish)
        finally:
            if self._file is not None:
                self._file.close()
            self._partial.unlink(missing_ok=True)
        return ExportReport(
            sessions=self._counts["sessions"],
            messages=self._counts["messages"],
            tool_calls=self._counts["tool_calls"],
            events=self._counts["events"],
            reasons=dict(sorted((self._reasons + self._sessions.reasons).items())),
        )

    def _open(self) -> None:
        self._file = os.fdopen(reserve(self._path, self._partial), "wb")

    def _write(self, chunk: Sequence[SessionRows]) -> None:
        assert self._file is not None
        for rows in chunk:
            self._file.write(self._line(rows))
            self._counts["sessions"] += 1
            self._counts["messages"] += len(rows.messages)

    def _finish(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        publish(self._partial, self._path)

    def _line(self, rows: SessionRows) -> bytes:
        """Return a session as one line, with the keys that its import kept."""
        source = _source_of(rows.session.config)
        kept = _kept(rows) if source else {}
        line: dict[str, Any] = {}
        if not source or not (
            "id_key" in source or rows.session.id == f"chat-{source['digest'][:32]}"
        ):
            line["id"] = rows.session.id
        for key, text in (source or {}).get("aside", {}).items():
            line[key] = msgspec.Raw(text.encode())
        for pair in rows.metadata:
            if pair.key == "messages" or pair.key in line:
                self._reasons[f"metadata {pair.key}: the format has its own"] += 1
            elif source and pair.key in source["json_keys"]:
                line[pair.key] = msgspec.Raw(codec.decode(pair.value).encode())
            else:
                line[pair.key] = msgspec.Raw(pair.value.encode())
        if not source:
            self._note_losses(rows)
            if rows.session.model is not None:
                line.setdefault("model", rows.session.model)
        is_as_it_was = bool(source) and "wrapping" not in (source or {})
        line["messages"] = [
            _message(each, kept.get(each.id, {}), is_as_it_was=is_as_it_was)
            for each in rows.messages
        ]
        if source:
            self._counts["tool_calls"] += len(rows.tool_calls)
            self._counts["events"] += len(rows.events)
        return _encoded(line) + b"\n"

    def _note_losses(self, rows: SessionRows) -> None:
        in_messages = {each.id for each in rows.messages if each.tool_calls is not None}
        for call in rows.tool_calls:
            if call.message_id in in_messages:
                self._counts["tool_calls"] += 1
            else:
                self._reasons["tool_calls: not in a message"] += 1
        counts = {
            "events": len(rows.events),
            "compactions": len(rows.compactions),
            "questions": len(rows.questions),
            "settings": len(rows.settings),
            "messages.usage": sum(each.usage is not None for each in rows.messages),
            "messages.role: unknown to the format": sum(
                each.role not in ROLES for each in rows.messages
            ),
        }
        for name, count in counts.items():
            if count:
                self._reasons[name] += count


def _source_of(config: str | None) -> dict[str, Any] | None:
    """Return what an import from the chat format stored in a session's config."""
    value = codec.decode(config)
    source = value.get("import") if isinstance(value, dict) else None
    if isinstance(source, dict) and source.get("format") == "chat":
        return source
    return None


def _kept(rows: SessionRows) -> dict[str, dict[str, Json]]:
    """Return what was kept of messages in their events, by the id of the message."""
    found: dict[str, dict[str, Json]] = {}
    for event in rows.events:
        if event.type in _OF_A_MESSAGE:
            data = codec.decode(event.data)
            if isinstance(data, dict) and ("extra" in data or "made" in data):
                found[data["message_id"]] = data
    return found


def _encoded(line: Json) -> bytes:
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:  # a lone surrogate
        return codec.to_json(_decoded(line))


def _decoded(value: Json) -> Json:
    """Return a value without parts that are encoded."""
    if isinstance(value, msgspec.Raw):
        return codec.decode(bytes(value))
    if isinstance(value, dict):
        return {key: _decoded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return value


def _message(
    message: Any, kept: dict[str, Any], *, is_as_it_was: bool
) -> dict[str, Any]:
    """Return a message in the chat format.

    :param is_as_it_was: it came in this format, and gets what its import changed.
    """
    given: dict[str, Any] = {"role": message.role_raw or message.role}
    for name in ("content", "tool_calls"):
        value = getattr(message, name)
        if value is not None:
            given[name] = msgspec.Raw(value.encode())
    for name in ("tool_call_id", "name", "model"):
        value = getattr(message, name)
        if value is not None:
            given[name] = value
    extra: dict[str, Any] = kept.get("extra", {})
    if not is_as_it_was:
        return extra | given
    for name in kept.get("made", ()):
        given.pop(name, None)
    return given | extra


_by_creation = (session_heads.c.created_at, session_heads.c.session_key)
_NEXT: Final = Query(
    select(
        type_coerce(session_heads.c.created_at, BigInteger).label("created_at"),
        session_heads.c.session_key,
        sessions.c.id,
        ROWS_OF_SESSION.label("rows"),
    )
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(
        tuple_(*_by_creation)
        > tuple_(bindparam("created_at", type_=BigInteger), bindparam("key"))
    )
    .order_by(*_by_creation)
    .limit(bindparam("limit")),
    _ListedSession,
)
