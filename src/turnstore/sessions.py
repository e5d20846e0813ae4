"""``store.sessions``: create, read, change, list and delete sessions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection, bindparam

from turnstore import _codec
from turnstore._filters import conditions, fold
from turnstore._listing import (
    count_matches,
    cursor_of,
    order_of,
    page_places,
    place_of,
    sessions_at,
)
from turnstore._rows import Query, Value
from turnstore._selects import MESSAGE, SESSION, SESSION_IS, TOOL_CALL
from turnstore._session_writes import CreateSession, DeleteSession, UpdateSession
from turnstore.backends.base import Backend
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.records import (
    Json,
    Message,
    Page,
    Session,
    SessionFilter,
    SessionState,
    SessionStatus,
    ToolCall,
    ToolPolicy,
)
from turnstore.schema import messages, tool_calls

LIMIT_MAX: Final = 1_000
ROW_BYTES: Final = 1_000
"""About what a session takes beside its payloads, for the bound on a batch."""

OrderBy = Literal["created_at", "updated_at", "message_count", "total_tokens"]
Status = SessionStatus | str


class Sessions:
    """All sessions. Reach it as ``store.sessions``."""

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def create(
        self,
        *,
        id: str | None = None,
        agent_name: str = "",
        project_root: str | None = None,
        title: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        user_prompt: str | None = None,
        config: Json = None,
        tool_policy: ToolPolicy | None = None,
        metadata: Mapping[str, str] | None = None,
        parent_session_id: str | None = None,
        status: Status = SessionStatus.IDLE,
        created_at: datetime | None = None,
    ) -> Session:
        """Create a session and return it, once it is committed.

        :param id: 1 to 255 characters; None makes a time-ordered one (UUID 7).
        :param config: JSON, at most ``payload_bytes_max`` bytes encoded.
        :param parent_session_id: the session it came from; need not be in the store.
        :param created_at: timezone-aware; None takes the time of the commit.
        :raises SessionExists, PayloadInvalid, PayloadTooLarge, InvalidArgument,
            QueueFull, BackendError: nothing was written.

        If it raises a cancellation, nothing was written; once the commit is under
        way the call returns its result, and the cancellation comes at the caller's
        next await.
        """
        columns = self._columns(
            {
                "agent_name": agent_name,
                "project_root": project_root,
                "title": title,
                "provider": provider,
                "model": model,
                "system_prompt": system_prompt,
                "user_prompt": user_prompt,
                "config": config,
                "tool_policy": tool_policy,
                "parent_session_id": parent_session_id,
                "status": status,
            }
        )
        pairs = self._pairs(metadata)
        return await self._backend.write(
            CreateSession(
                _codec.new_id() if id is None else _codec.check_id(id, "id"),
                _size_bytes(columns, pairs),
                columns,
                pairs,
                _codec.micros_or_none(created_at, "created_at"),
            )
        )

    async def get(self, id: str) -> Session | None:
        """Return a session, None when there is none with this id.

        :raises InvalidArgument: the id can't be one.
        """
        work = partial(_get, session_id=_codec.check_id(id, "id"))
        return await self._backend.read(work)

    async def load(self, id: str) -> SessionState | None:
        """Return a session with its messages by seq and its tool calls, oldest first.

        All from one snapshot. None when there is none with this id. Cost: the whole
        conversation, compacted messages too.

        :raises InvalidArgument: the id can't be one.
        """
        work = partial(_load, session_id=_codec.check_id(id, "id"))
        return await self._backend.read(work, snapshot=True)

    async def update(
        self,
        id: str,
        *,
        agent_name: str | None | UnsetType = UNSET,
        project_root: str | None | UnsetType = UNSET,
        title: str | None | UnsetType = UNSET,
        provider: str | None | UnsetType = UNSET,
        model: str | None | UnsetType = UNSET,
        system_prompt: str | None | UnsetType = UNSET,
        user_prompt: str | None | UnsetType = UNSET,
        status: Status | UnsetType = UNSET,
        config: Json = UNSET,
        tool_policy: ToolPolicy | None | UnsetType = UNSET,
        metadata: Mapping[str, str] | None | UnsetType = UNSET,
        parent_session_id: str | None | UnsetType = UNSET,
        active_message_id: str | None | UnsetType = UNSET,
        result: Json = UNSET,
        error: str | None | UnsetType = UNSET,
        ended_at: datetime | None | UnsetType = UNSET,
        expected_status: Status | Collection[Status] | None = None,
    ) -> Session:
        """Write the given fields and return the session as it is then.

        What is not given stays; None clears.

        :param metadata: replaces the whole mapping.
        :param status: completed, failed and interrupted set ``ended_at`` to now,
            unless it is given.
        :param expected_status: one or several; write only if the status is one of
            them.
        :raises SessionNotFound, StatusConflict, MessageNotFound, PayloadInvalid,
            PayloadTooLarge, InvalidArgument, QueueFull, BackendError: nothing was
            written.

        Cancellation: as ``create``.
        """
        given = {
            "agent_name": agent_name,
            "project_root": project_root,
            "title": title,
            "provider": provider,
            "model": model,
            "system_prompt": system_prompt,
            "user_prompt": user_prompt,
            "status": status,
            "config": config,
            "tool_policy": tool_policy,
            "parent_session_id": parent_session_id,
            "result": result,
            "error": error,
            "ended_at": ended_at,
        }
        columns = self._columns(
            {name: value for name, value in given.items() if value is not UNSET}
        )
        pairs = UNSET if metadata is UNSET else self._pairs(metadata)
        if active_message_id is not UNSET and active_message_id is not None:
            _codec.check_id(active_message_id, "active_message_id")
        return await self._backend.write(
            UpdateSession(
                _codec.check_id(id, "id"),
                _size_bytes(columns, pairs or {}),
                columns,
                pairs,
                active_message_id,
                _expected(expected_status),
            )
        )

    async def list(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
        *,
        order_by: OrderBy = "created_at",
        descending: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Page[Session]:
        """Return a page of the sessions that match, in order.

        Ties go by created_at, then by age in the store, in the same direction.
        Sessions that are created, deleted or moved between two pages neither repeat
        nor hide those that stay in place.

        :param limit: 1 to 1,000.
        :param cursor: ``next_cursor`` of the page before, with the same filter, order
            and direction.
        :param offset: sessions to pass over; not together with a cursor. Costs what
            it passes over.
        :raises InvalidArgument: a value is out of bounds, or the cursor is not one of
            this order.

        Cost: the page, for each order without a filter and for created_at with one
        equality filter, whatever the number of sessions. Otherwise the smaller of the
        matches and the rows passed over to fill the page. Messages and events never
        count.
        """
        order = order_of(order_by, descending)
        _codec.check_integer(limit, "limit", 1, LIMIT_MAX)
        _codec.check_integer(offset, "offset", 0)
        if cursor is not None and offset:
            raise InvalidArgument("give either a cursor or an offset")
        after = None if cursor is None else place_of(cursor, order_by, descending)
        wanted = conditions(filter)

        def work(connection: Connection) -> Page[Session]:
            # One more than asked for tells whether there is a next page.
            places = page_places(
                connection, wanted, order, limit=limit + 1, offset=offset, after=after
            )
            has_more = len(places) > limit
            places = places[:limit]
            return Page(
                items=sessions_at(connection, places),
                next_cursor=cursor_of(order_by, descending, places[-1])
                if has_more
                else None,
            )

        return await self._backend.read(work, snapshot=True)

    async def count(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
    ) -> int:
        """Return how many sessions match. Cost: the matches of the filter.

        :raises InvalidArgument: a value is out of bounds.
        """
        wanted = conditions(filter)
        order = order_of("created_at", descending=True)

        def work(connection: Connection) -> int:
            return count_matches(connection, wanted, order)

        return await self._backend.read(work, snapshot=True)

    async def delete(self, id: str) -> bool:
        """Delete a session with its messages, tool calls and events.

        Returns whether there was one. Its usage stays in ``usage.by_day``. Cost: its
        rows, during which no other write is committed. Cancellation: as ``create``.

        :raises InvalidArgument, QueueFull, BackendError: nothing was deleted.
        """
        return await self._backend.write(
            DeleteSession(_codec.check_id(id, "id"), ROW_BYTES)
        )

    def _columns(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Return fields as columns, checked and encoded."""
        columns: dict[str, Value] = {}
        for name, value in given.items():
            if name in ("title", "system_prompt", "user_prompt", "error"):
                text = None if value is None else _codec.check_free_text(value, name)
                columns[name] = _codec.encode_or_none(text, self._bytes_max)
                if name == "title":
                    columns["title_folded"] = None if text is None else fold(text)
            elif name in ("config", "result"):
                columns[name] = _codec.encode_or_none(value, self._bytes_max)
            elif name == "tool_policy":
                columns[name] = None if value is None else _policy(value)
            elif name == "status":
                columns[name] = _status(value, name)
            elif name == "ended_at":
                columns[name] = _codec.micros_or_none(value, name)
            elif name == "parent_session_id":
                columns[name] = None if value is None else _codec.check_id(value, name)
            elif name == "agent_name":
                columns[name] = "" if value is None else _codec.check_text(value, name)
            else:
                columns[name] = _codec.check_text_or_none(value, name)
        return columns

    def _pairs(self, metadata: Mapping[str, str] | None) -> dict[str, str]:
        if metadata is None:
            return {}
        if not isinstance(metadata, Mapping):
            raise InvalidArgument("metadata must be a mapping of text to text")
        return {
            _codec.check_id(key, "metadata key"): _codec.encode(
                _codec.check_free_text(value, f"metadata {key!r}"), self._bytes_max
            )
            for key, value in metadata.items()
        }


def _get(connection: Connection, session_id: str) -> Session | None:
    return _SESSION.one(connection, session=session_id)


def _load(connection: Connection, session_id: str) -> SessionState | None:
    session = _SESSION.one(connection, session=session_id)
    if session is None:
        return None
    return SessionState(
        session=session,
        messages=_MESSAGES.in_chunks(connection, None, session=session_id, after=0)
        or [],
        tool_calls=_TOOL_CALLS(connection, session=session_id),
    )


def _policy(value: object) -> str:
    if not isinstance(value, ToolPolicy):
        raise InvalidArgument(
            f"tool_policy must be a ToolPolicy, got {type(value).__name__}"
        )
    if value.mode not in ("always_ask", "pre_approved", "mixed"):
        raise InvalidArgument(
            f"tool_policy.mode must be always_ask, pre_approved or mixed, "
            f"got {value.mode!r}"
        )
    if not isinstance(value.ask_for_others, bool):
        raise InvalidArgument("tool_policy.ask_for_others must be True or False")
    policy = {
        "mode": value.mode,
        "tools": sorted(_codec.check_texts(value.tools, "tool_policy.tools")),
        "ask_for_others": value.ask_for_others,
    }
    return msgspec.json.encode(policy).decode()


def _status(value: object, name: str, *, readable: bool = False) -> str:
    known = [
        str(each)
        for each in SessionStatus
        if readable or each is not SessionStatus.UNKNOWN
    ]
    if value not in known:
        raise InvalidArgument(
            f"{name} must be one of {', '.join(known)}, got {value!r}"
        )
    return str(value)


def _expected(
    given: Status | Collection[Status] | None,
) -> frozenset[str] | None:
    if given is None:
        return None
    name = "expected_status"
    several = [given] if isinstance(given, str) else _codec.check_texts(given, name)
    return frozenset(_status(each, name, readable=True) for each in several)


def _size_bytes(columns: Mapping[str, Value], pairs: Mapping[str, str]) -> int:
    texts = [each for each in columns.values() if isinstance(each, str)]
    return ROW_BYTES + sum(map(len, texts)) + sum(map(len, pairs.values()))


_SESSION: Final = Query(SESSION.where(SESSION_IS), Session)
_MESSAGES: Final = Query(
    MESSAGE.where(SESSION_IS, messages.c.seq > bindparam("after"))
    .order_by(messages.c.seq)
    .limit(bindparam("limit")),
    Message,
)
_TOOL_CALLS: Final = Query(
    TOOL_CALL.where(SESSION_IS).order_by(tool_calls.c.seq), ToolCall
)
