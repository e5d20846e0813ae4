"""``store.turn``: collects writes in a block and commits them when it ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import TracebackType
from typing import Any, Self, Unpack

import msgspec

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command
from turnstore.errors import InvalidArgument, StoreError
from turnstore.options import StoreOptions
from turnstore.records import Json, NewMessage, Role, SessionStatus, ToolCallStatus
from turnstore.sql import codec
from turnstore.store.events.arguments import EventFields, append_events, event_row
from turnstore.store.events.writes import AppendEvents
from turnstore.store.messages.arguments import (
    MessageFields,
    append_messages,
    message_row,
)
from turnstore.store.sessions.arguments import DEFAULTS as SESSION_DEFAULTS
from turnstore.store.sessions.arguments import (
    NewSessionFields,
    SessionChanges,
    create_session,
    update_session,
)
from turnstore.store.sessions.leases.lease import Lease
from turnstore.store.signatures import takes
from turnstore.store.tool_calls.arguments import (
    ToolCallChanges,
    ToolCallFields,
    create_tool_calls,
    tool_call_row,
    update_tool_call,
)
from turnstore.store.turns.command import Turn
from turnstore.values import is_a, type_name

Status = SessionStatus | str
CallStatus = ToolCallStatus | str


class OpenTurn:
    """Several writes as one transaction. Make it with ``store.turn``.

    ``async with store.turn(session_id) as turn:`` takes calls until the block ends,
    which commits them all, in the order of the calls, or none. Nothing is read or
    written before, and nothing is held. An exception that leaves the block writes
    nothing; a turn without calls neither. A lease covers the whole turn.

    Arguments are checked when a method is called: what the rooms' methods raise for
    them is raised there, and that call is not collected. ``session_id=`` of each
    writes to another session than the turn's.

    The end of the block raises what the rooms' methods raise, of the first call that
    can't be done; before them ``LeaseLost`` where the turn was given a lease that is
    not held any more, also if it has no calls. Nothing was written then. If it raises
    a cancellation, nothing was written; once the commit is under way the block ends as
    if it had not come, and it comes at the caller's next await. A turn shares its
    commit with other writes, and holds the calls in memory until then.
    """

    def __init__(
        self,
        backend: Backend,
        options: StoreOptions,
        session_id: str,
        lease: Lease | None = None,
    ) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max
        self._session_id = codec.check_id(session_id, "session_id")
        self._token = None if lease is None else _token(lease, self._session_id)
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
        if parts or self._token is not None:
            commands = [
                each.command() if isinstance(each, _Rows) else each for each in parts
            ]
            size_bytes = sum(each.size_bytes for each in commands)
            outcomes = await self._backend.write(
                Turn(self._session_id, size_bytes, commands, self._token)
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

    @takes(MessageFields, {})
    def message(
        self,
        role: Role | str,
        content: Json = None,
        *,
        idempotency_key: str | None = None,
        session_id: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> str:
        """Append a message, as ``store.messages.append``; return the id it will have.

        With an idempotency key that the session has seen, the message keeps the id it
        has: see ``results``. Where it was purged, the block raises InvalidArgument at
        its end.

        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        name = self._session(session_id)
        given = NewMessage(role=role, content=content, **fields)
        row = message_row(given, self._bytes_max)
        if idempotency_key is not None:
            own_ids = () if given.id is None else (row.id,)
            self._add(append_messages(name, [row], own_ids, idempotency_key))
            return row.id
        self._new_messages.add((name, row.id))
        rows = self._append(append_messages, name, row)
        if given.id is not None:
            rows.note("own_ids", row.id)
        return row.id

    @takes(ToolCallFields, tool_call_row.__kwdefaults__)
    def tool_call(
        self,
        name: str,
        arguments: Json,
        *,
        session_id: str | None = None,
        **fields: Unpack[ToolCallFields],
    ) -> str:
        """Create a tool call, as ``store.tool_calls.create``; return the id it will
        have.

        :param message_id: may be a message that the turn appends before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        session_id = self._session(session_id)
        row = tool_call_row(name, arguments, self._bytes_max, **fields)
        rows = self._append(create_tool_calls, session_id, row)
        if fields.get("id") is not None:
            rows.note("own_ids", row.id)
        if (session_id, row.message_id) in self._new_messages:
            rows.note("new_messages", row.message_id)
        return row.id

    @takes(ToolCallChanges)
    def update_tool_call(
        self,
        id: str,
        *,
        expected_status: CallStatus | Collection[CallStatus] | None = None,
        session_id: str | None = None,
        **fields: Unpack[ToolCallChanges],
    ) -> None:
        """Write the given fields of a tool call, as ``store.tool_calls.update``.

        :param id: may be a tool call that the turn creates before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        self._add(
            update_tool_call(
                self._session(session_id), id, fields, expected_status, self._bytes_max
            )
        )

    @takes(EventFields, event_row.__kwdefaults__)
    def event(
        self,
        type: str,
        data: Json = None,
        *,
        idempotency_key: str | None = None,
        expected_head: int | None = None,
        session_id: str | None = None,
        **fields: Unpack[EventFields],
    ) -> None:
        """Append an event, as ``store.events.append``.

        :param idempotency_key: of this event alone; the rest of the turn is written
            whether the session has seen it or not.
        :param expected_head: counts the turn's own events before this one.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        name = self._session(session_id)
        row = event_row(type, data, self._bytes_max, **fields)
        if expected_head is None and idempotency_key is None:
            self._append(append_events, name, row)
        else:
            self._add(append_events(name, [row], expected_head, idempotency_key))

    @takes(NewSessionFields, SESSION_DEFAULTS)
    def create_session(
        self, *, session_id: str | None = None, **fields: Unpack[NewSessionFields]
    ) -> None:
        """Create the turn's session, as ``store.sessions.create``.

        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        self._add(create_session(self._session(session_id), fields, self._bytes_max))

    @takes(SessionChanges)
    def update_session(
        self,
        *,
        expected_status: Status | Collection[Status] | None = None,
        session_id: str | None = None,
        **fields: Unpack[SessionChanges],
    ) -> None:
        """Write the given fields of the session, as ``store.sessions.update``.

        :param active_message_id: may be a message that the turn appends before.
        :raises PayloadInvalid, PayloadTooLarge, InvalidArgument, StoreError: the call
            is not collected.
        """
        self._add(
            update_session(
                self._session(session_id), fields, expected_status, self._bytes_max
            )
        )

    def _add(self, command: Command[Any]) -> None:
        self._parts.append(command)

    def _append(
        self, make: Callable[..., Command[Any]], session_id: str, row: Any
    ) -> _Rows:
        """Add a row to those of the call before, where that appended the same.

        :param make: makes the command of a session's rows.
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
        return last

    def _session(self, given: str | None) -> str:
        if self._state != "open":
            raise StoreError("a turn takes calls inside its block")
        if given is None:
            return self._session_id
        return codec.check_id(given, "session_id")


def _token(lease: Lease, session_id: str) -> int:
    if not is_a(lease, Lease):
        raise InvalidArgument(f"lease must be a Lease, got {type_name(lease)}")
    if lease.session_id != session_id:
        raise InvalidArgument(
            f"the lease is of session {lease.session_id!r}, the turn of {session_id!r}"
        )
    return lease.token


class _Rows(msgspec.Struct):
    """Rows that one command will append to a session."""

    make: Callable[..., Command[Any]]
    session_id: str
    rows: list[Any] = []
    notes: dict[str, list[Any]] = {}

    def note(self, name: str, value: Any) -> None:
        """Add to an argument that ``make`` takes besides."""
        self.notes.setdefault(name, []).append(value)

    def command(self) -> Command[Any]:
        return self.make(self.session_id, self.rows, **self.notes)


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
