"""``store.turn``: collects writes in a block and commits them when it ends."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
)
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import UNSET, UnsetType

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command
from turnstore.errors import StoreError
from turnstore.options import StoreOptions
from turnstore.records import (
    Json,
    NewMessage,
    Role,
    SessionStatus,
    ToolCallStatus,
    ToolPolicy,
    Usage,
)
from turnstore.sql import codec
from turnstore.store.events.arguments import append_events, event_row
from turnstore.store.events.writes import AppendEvents
from turnstore.store.messages.arguments import append_messages, message_row
from turnstore.store.sessions.arguments import create_session, update_session
from turnstore.store.tool_calls.arguments import (
    create_tool_calls,
    tool_call_row,
    update_tool_call,
)
from turnstore.store.turns.command import Turn

Status = SessionStatus | str
CallStatus = ToolCallStatus | str


class OpenTurn:
    """Several writes as one transaction. Make it with ``store.turn``.

    ``async with store.turn(session_id) as turn:`` takes calls until the block ends,
    which commits them all, in the order of the calls, or none. Nothing is read or
    written before, and nothing is held. An exception that leaves the block writes
    nothing; a turn without calls neither.

    Arguments are checked when a method is called: what the rooms' methods raise for
    them is raised there, and that call is not collected. ``session_id=`` of each
    writes to another session than the turn's.

    The end of the block raises what the rooms' methods raise, of the first call that
    can't be done; nothing was written then. If it raises a cancellation, nothing was
    written; once the commit is under way the block ends as if it had not come, and
    it comes at the caller's next await. A turn shares its commit with other writes,
    and holds the calls in memory until then.
    """

    def __init__(
        self, backend: Backend, options: StoreOptions, session_id: str
    ) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max
        self._session_id = codec.check_id(session_id, "session_id")
        self._state = "new"
        self._parts: list[Command[Any] | _Rows] = []
        # Session and id of each that this turn appends.
        self._new_messages: set[tuple[str, str]] = set()
        self._results: list[Any] = []

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise StoreError("a turn is one block: make another one with store.turn")
        self._state = "open"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state = "ended"
        parts, self._parts = self._parts, []
        if kind is not None:
            return
        if parts:
            commands = [
                each.command() if isinstance(each, _Rows) else each for each in parts
            ]
            size_bytes = sum(each.size_bytes for each in commands)
            outcomes = await self._backend.write(
                Turn(self._session_id, size_bytes, commands)
            )
            for command, outcome in zip(commands, outcomes, strict=True):
                self._results += _results(command, outcome)
        self._state = "committed"

    @property
    def results(self) -> list[Any]:
        """What each call gave, in their order: a ``Message``, a ``ToolCall``, an
        event's ``seq``, a ``Session``. Each as it was right after its own call.

        :raises StoreError: the block has not ended, or nothing was committed.
        """
        if self._state != "committed":
            raise StoreError("results are there once the block has committed")
        return self._results

    def message(
        self,
        role: Role | str,
        content: Json = None,
        *,
        id: str | None = None,
        tool_calls: Json = None,
        tool_call_id: str | None = None,
        name: str | None = None,
        usage: Usage | None = None,
        agent_name: str | None = None,
        model: str | None = None,
        parent_id: str | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
        session_id: str | None = None,
    ) -> str:
        """Append a message, as ``store.messages.append``; return the id it will have.

        With an idempotency key that the session has seen, the message keeps the id it
        has: see ``results``. Where it was purged, the block raises InvalidArgument at
        its end.

        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        given = NewMessage(
            role=role,
            content=content,
            id=id,
            tool_calls=tool_calls,
            tool_call_id=tool_call_id,
            name=name,
            usage=usage,
            agent_name=agent_name,
            model=model,
            parent_id=parent_id,
            created_at=created_at,
        )
        name = self._session(session_id)
        row = message_row(given, self._bytes_max)
        own_ids = [] if id is None else [row.id]
        if idempotency_key is None:
            self._new_messages.add((name, row.id))
            self._append(append_messages, name, row, own_ids=own_ids)
        else:
            self._add(append_messages(name, [row], own_ids, idempotency_key))
        return row.id

    def tool_call(
        self,
        name: str,
        arguments: Json,
        *,
        id: str | None = None,
        call_id: str | None = None,
        message_id: str | None = None,
        kind: str = "external",
        status: CallStatus = ToolCallStatus.PENDING,
        created_at: datetime | None = None,
        session_id: str | None = None,
    ) -> str:
        """Create a tool call, as ``store.tool_calls.create``; return the id it will
        have.

        :param message_id: may be a message that the turn appends before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        row = tool_call_row(
            name,
            arguments,
            id,
            call_id,
            message_id,
            kind,
            status,
            created_at,
            self._bytes_max,
        )
        session_id = self._session(session_id)
        is_new = (session_id, row.message_id) in self._new_messages
        self._append(
            create_tool_calls,
            session_id,
            row,
            own_ids=[] if id is None else [row.id],
            new_messages=[row.message_id] if is_new else [],
        )
        return row.id

    def update_tool_call(
        self,
        id: str,
        *,
        status: CallStatus | UnsetType = UNSET,
        output: str | None | UnsetType = UNSET,
        result: Json = UNSET,
        error: str | None | UnsetType = UNSET,
        error_details: Json = UNSET,
        kind: str | UnsetType = UNSET,
        execution_time_ms: int | None | UnsetType = UNSET,
        expected_status: CallStatus | Collection[CallStatus] | None = None,
        session_id: str | None = None,
    ) -> None:
        """Write the given fields of a tool call, as ``store.tool_calls.update``.

        :param id: may be a tool call that the turn creates before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        fields = {
            "status": status,
            "output": output,
            "result": result,
            "error": error,
            "error_details": error_details,
            "kind": kind,
            "execution_time_ms": execution_time_ms,
        }
        self._add(
            update_tool_call(
                self._session(session_id), id, fields, expected_status, self._bytes_max
            )
        )

    def event(
        self,
        type: str,
        data: Json = None,
        *,
        model: str | None = None,
        turn_id: str | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
        expected_head: int | None = None,
        session_id: str | None = None,
    ) -> None:
        """Append an event, as ``store.events.append``.

        :param idempotency_key: of this event alone; the rest of the turn is written
            whether the session has seen it or not.
        :param expected_head: counts the turn's own events before this one.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        row = event_row(type, data, model, turn_id, created_at, self._bytes_max)
        name = self._session(session_id)
        if expected_head is None and idempotency_key is None:
            self._append(append_events, name, row)
        else:
            self._add(append_events(name, [row], expected_head, idempotency_key))

    def create_session(
        self,
        *,
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
        session_id: str | None = None,
    ) -> None:
        """Create the turn's session, as ``store.sessions.create``.

        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        fields = {
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
        self._add(
            create_session(
                self._session(session_id), fields, metadata, created_at, self._bytes_max
            )
        )

    def update_session(
        self,
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
        session_id: str | None = None,
    ) -> None:
        """Write the given fields of the session, as ``store.sessions.update``.

        :param active_message_id: may be a message that the turn appends before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        fields = {
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
        self._add(
            update_session(
                self._session(session_id),
                fields,
                metadata,
                active_message_id,
                expected_status,
                self._bytes_max,
            )
        )

    def _add(self, command: Command[Any]) -> None:
        self._parts.append(command)

    def _append(
        self,
        make: Callable[..., Command[Any]],
        session_id: str,
        row: Any,
        **named: list[Any],
    ) -> None:
        """Add a row to those of the call before, where that appended the same.

        :param make: makes the command of a session's rows.
        :param named: what it takes besides, of each row.
        """
        last = self._parts[-1] if self._parts else None
        if (
            not isinstance(last, _Rows)
            or last.make is not make
            or last.session_id != session_id
        ):
            last = _Rows(make, session_id)
            self._parts.append(last)
        last.rows.append(row)
        for name, values in named.items():
            last.named.setdefault(name, []).extend(values)

    def _session(self, given: str | None) -> str:
        if self._state != "open":
            raise StoreError("a turn takes calls inside its block")
        if given is None:
            return self._session_id
        return codec.check_id(given, "session_id")


class _Rows(msgspec.Struct):
    """Rows that one command will append to a session."""

    make: Callable[..., Command[Any]]
    session_id: str
    rows: list[Any] = []
    named: dict[str, list[Any]] = {}

    def command(self) -> Command[Any]:
        return self.make(self.session_id, self.rows, **self.named)


def _joined(run: list[Any]) -> Command[Any]:
    """Return one command that writes the rows of all."""
    first: Command[Any] = run[0]
    if len(run) == 1:
        return first
    rows = [row for each in run for row in each.rows]
    size_bytes = sum(each.size_bytes for each in run)
    return msgspec.structs.replace(first, rows=rows, size_bytes=size_bytes)


def _results(command: Command[Any], outcome: Any) -> Iterable[Any]:
    """Return what the calls gave that became one command."""
    if isinstance(command, AppendEvents):
        return range(outcome, outcome + len(command.rows))
    return outcome if isinstance(outcome, list) else [outcome]
