"""``store.tool_calls``: what the tools of each session were asked and answered."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Unpack

from turnstore.engine.backend import Backend
from turnstore.options import StoreOptions
from turnstore.records import Json, ToolCall, ToolCallStatus
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.compiled import Value
from turnstore.store.signatures import takes
from turnstore.store.tool_calls.arguments import (
    TOOL_CALL_BYTES,
    ToolCallChanges,
    ToolCallFields,
    create_tool_calls,
    tool_call_row,
    tool_call_status,
    update_tool_call,
)
from turnstore.store.tool_calls.reads import (
    FIND,
    LIST,
    LIST_STATUS,
    OPEN,
    get_tool_call,
    has_open_calls,
    list_single_statement,
    list_snapshot,
)
from turnstore.store.tool_calls.writes import InterruptToolCalls

Status = ToolCallStatus | str
Calls = list[ToolCall]


class ToolCalls:
    """The tool calls of every session. Reach it as ``store.tool_calls``.

    Open ones are pending, approved or executing; completed, failed and denied are
    final. *Oldest* is the one that was created first here, whatever its
    ``created_at``.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    @takes(ToolCallFields, tool_call_row.__kwdefaults__)
    async def create(
        self,
        session_id: str,
        name: str,
        arguments: Json,
        **fields: Unpack[ToolCallFields],
    ) -> ToolCall:
        """Create a tool call and return it, once it is committed.

        :param arguments: JSON, at most ``payload_bytes_max`` bytes encoded.
        :param id: 1 to 255 characters, unique in its session; None makes one.
        :param call_id: the model provider's id; may repeat.
        :param message_id: the message of the session that asked for it.
        :param kind: any text without NUL.
        :param status: executing stamps ``started_at`` with ``created_at``, a final one
            ``completed_at``.
        :param created_at: timezone-aware; None takes the time of the commit.
        :raises SessionNotFound, MessageNotFound, ToolCallExists, PayloadInvalid,
            PayloadTooLarge, InvalidArgument: nothing was written.
        """
        row = tool_call_row(name, arguments, self._bytes_max, **fields)
        own_ids = () if fields.get("id") is None else (row.id,)
        [call] = await self._backend.write(
            create_tool_calls(session_id, [row], own_ids)
        )
        return call

    @takes(ToolCallChanges)
    async def update(
        self,
        session_id: str,
        id: str,
        *,
        expected_status: Status | Collection[Status] | None = None,
        **fields: Unpack[ToolCallChanges],
    ) -> ToolCall:
        """Write the given fields and return the tool call as it is then.

        What is not given stays; None clears (not ``status`` and ``kind``). Where
        nothing is given nothing is written. ``output``, ``result``, ``error`` and
        ``error_details`` may have ``payload_bytes_max`` bytes each, encoded.

        :param status: executing stamps ``started_at`` when it is entered, a final one
            ``completed_at``. One that is not final may become any other.
        :param error: text without a status means the status ``failed``.
        :param execution_time_ms: milliseconds, 0 or more.
        :param expected_status: one or several; write only if the status is one of
            them.
        :raises StatusConflict: the status is not the expected one, or it is final
            and another one was asked for. Nothing was written.
        :raises SessionNotFound, ToolCallNotFound, PayloadInvalid, PayloadTooLarge,
            InvalidArgument: nothing was written.
        """
        return await self._backend.write(
            update_tool_call(session_id, id, fields, expected_status, self._bytes_max)
        )

    async def get(self, session_id: str, id: str) -> ToolCall | None:
        """Return a tool call, None when there is no such session or call.

        :raises InvalidArgument: one of these can't be an id.
        """
        work = partial(
            get_tool_call,
            session_id=codec.check_id(session_id, "session_id"),
            id=codec.check_id(id, "id"),
        )
        return await self._backend.read(work)

    async def find(self, session_id: str, call_id: str) -> list[ToolCall]:
        """Return the tool calls with this provider's id, oldest first.

        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.
        """
        return await self._read(
            FIND, session_id, call_id=codec.check_text(call_id, "call_id")
        )

    async def pending(self, session_id: str) -> list[ToolCall]:
        """Return the session's open tool calls, oldest first.

        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.
        """
        return await self._read(OPEN, session_id)

    async def has_pending(self, session_id: str) -> bool:
        """Tell whether the session has open tool calls.

        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.
        """
        name = codec.check_id(session_id, "session_id")
        return await self._backend.read(partial(has_open_calls, session_id=name))

    async def interrupt(self, session_id: str) -> list[ToolCall]:
        """Close what a crashed runtime left open; return what was closed, oldest first.

        Open calls become failed, with the error "interrupted". One transaction.

        :raises SessionNotFound, InvalidArgument: nothing was written.
        """
        return await self._backend.write(
            InterruptToolCalls(
                codec.check_id(session_id, "session_id"), TOOL_CALL_BYTES
            )
        )

    async def list(
        self, session_id: str, *, status: Status | None = None
    ) -> list[ToolCall]:
        """Return the session's tool calls, oldest first.

        :param status: only those with this status; all are passed over for it.
        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.
        """
        if status is None:
            return await self._read(LIST, session_id)
        wanted = tool_call_status(status)
        return await self._read(LIST_STATUS, session_id, status=wanted)

    async def _read(
        self, query: BoundedQuery[ToolCall], session_id: str, **values: Value
    ) -> Calls:
        name = codec.check_id(session_id, "session_id")
        return await self._backend.read_single_statement(
            partial(list_single_statement, query=query, session_id=name, values=values),
            partial(list_snapshot, query=query, session_id=name, values=values),
        )
