"""Replays microagents' events into messages and tool calls.

Each prompt, response and tool result becomes a message. Calls that no response names
get a message of their own, which calls share if they follow each other without a result
between them. A call and its result are paired by their common id within the turn. Files
of protocol 0.1 to 0.3 have no id in ``tool.call``: there the oldest open call of the
turn gets the result, and its id. A call without a result is ``failed`` with the error
``unanswered``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from turnstore.records import Json, Usage
from turnstore.transfer.files import cells
from turnstore.transfer.rows import (
    SessionRows,
    StoredMessage,
    StoredSession,
    StoredToolCall,
    StoredUsage,
    used,
)


class Notification(msgspec.Struct, frozen=True):
    """A notification with the id of its row; ``created_at`` is in microseconds."""

    id: str
    method: str
    params: dict[str, Any]
    created_at: int

    def text(self, name: str) -> str | None:
        return cells.name(_cell(self.params.get(name)))


class _Call(msgspec.Struct):
    """A tool call, its entry in a message, and the methods that have reported it."""

    row: StoredToolCall
    turn_id: str | None
    entry: dict[str, Any]
    reported_by: set[str]


class _Calling(msgspec.Struct):
    """A message to which calls can be added."""

    message: StoredMessage
    turn_id: str | None
    entries: list[dict[str, Any]]


class EventReplay:
    """The messages and tool calls of one session after the events so far."""

    def __init__(self, session: StoredSession) -> None:
        self.session = session
        self.messages: list[StoredMessage] = []
        self.calls: list[_Call] = []
        self.usage: list[StoredUsage] = []
        self._open: list[_Call] = []
        self._calling: _Calling | None = None
        self._callings: list[_Calling] = []

    def apply(self, event: Notification) -> None:
        method = _METHODS.get(event.method)
        if method is not None:
            method(self, event)

    def rows(self) -> SessionRows:
        """Return the rows of the session, without its events."""
        for call in self.calls:
            call.entry["id"] = call.row.call_id or call.row.id
        for calling in self._callings:
            if calling.entries:
                calling.message.tool_calls = cells.encoded(calling.entries)
        for call in self._open:
            call.row.status = "failed"
            call.row.error = cells.encoded("unanswered")
        return SessionRows(
            session=self.session,
            messages=self.messages,
            tool_calls=[call.row for call in self.calls],
            usage=self.usage,
        )

    # Sessions

    def _init(self, event: Notification) -> None:
        session = self.session
        session.model = event.text("model") or session.model
        session.provider = event.text("provider") or session.provider
        system = event.params.get("system")
        if isinstance(system, str) and session.system_prompt is None:
            session.system_prompt = cells.encoded(system)

    def _fork(self, event: Notification) -> None:
        parent = cells.identifier(_cell(event.params.get("parent_session_id")))
        self.session.parent_session_id = parent

    def _stop(self, event: Notification) -> None:
        session, params = self.session, event.params
        success = params.get("success")
        if isinstance(success, bool):
            session.status = "completed" if success else "failed"
        ended_at = cells.micros_of_text(_cell(params.get("timestamp")))
        session.ended_at = event.created_at if ended_at is None else ended_at
        result, error = params.get("result"), params.get("error")
        session.result = None if result is None else cells.encoded(result)
        session.error = cells.encoded(error) if isinstance(error, str) else None
        usage = _measured(params.get("usage"))
        if usage is not None:
            self.usage.append(
                used(usage, model=session.model, created_at=event.created_at)
            )

    # Messages

    def _prompt(self, event: Notification) -> None:
        prompt = event.params.get("prompt")
        message = self._message(event, "user", prompt)
        session = self.session
        if session.user_prompt is None and isinstance(prompt, str):
            session.user_prompt = message.content
        # The session goes on, so its earlier end is not its end any more.
        if session.ended_at is not None:
            session.status, session.ended_at = "idle", None
            session.result = session.error = None

    def _response(self, event: Notification) -> None:
        parts = event.params.get("content")
        if isinstance(parts, list):
            content, named = _of_parts(parts)
        else:
            content = event.params.get("full_text")
            named = _of_chat(event.params.get("tool_calls"))
        message = self._message(event, "assistant", content)
        message.model = self.session.model
        if named:
            self._call_by(message, event)
            for at, (call_id, name, arguments) in enumerate(named, 1):
                self._new_call(f"{event.id}.{at}", event, call_id, name, arguments)

    def _message(self, event: Notification, role: str, content: Json) -> StoredMessage:
        message = StoredMessage(
            id=event.id,
            role=role,
            content=None if content is None else cells.encoded(content),
            created_at=event.created_at,
        )
        self.messages.append(message)
        self._calling = None
        return message

    # Tool calls

    def _call(self, event: Notification) -> None:
        """Add a call, unless another method has reported it already."""
        call_id, name = event.text("tool_call_id"), event.text("name") or ""
        turn_id = event.text("turn_id")
        for call in self._open:
            if call.turn_id == turn_id and event.method not in call.reported_by:
                known = call.row.call_id
                if known == call_id if call_id is not None else call.row.name == name:
                    call.reported_by.add(event.method)
                    return
        if self._calling is None or self._calling.turn_id != turn_id:
            message = self._message(event, "assistant", None)
            message.model = self.session.model
            self._call_by(message, event)
        given = event.params.get("input")
        call = self._new_call(event.id, event, call_id, name, given)
        call.reported_by.add(event.method)

    def _call_by(self, message: StoredMessage, event: Notification) -> None:
        self._calling = _Calling(message, event.text("turn_id"), [])
        self._callings.append(self._calling)

    def _new_call(
        self,
        own_id: str,
        event: Notification,
        call_id: str | None,
        name: str,
        given: Json,
    ) -> _Call:
        assert self._calling is not None
        entry = {
            "id": call_id,
            "type": "function",
            "function": {
                "name": name,
                "arguments": given if isinstance(given, str) else cells.encoded(given),
            },
        }
        row = StoredToolCall(
            id=own_id,
            call_id=call_id,
            message_id=self._calling.message.id,
            name=name,
            arguments=_arguments(given),
            status="executing",
            created_at=event.created_at,
            started_at=event.created_at,
        )
        call = _Call(row, event.text("turn_id"), entry, set())
        self._calling.entries.append(entry)
        self.calls.append(call)
        self._open.append(call)
        return call

    def _result(self, event: Notification) -> None:
        call_id = event.text("tool_call_id")
        call = self._answered(call_id, event.text("turn_id"))
        content, failed = _outcome(event.params.get("result"))
        message = self._message(event, "tool", content)
        message.tool_call_id = call_id
        if call is None:
            return
        self._open.remove(call)
        row = call.row
        row.call_id = row.call_id or call_id
        row.status = "failed" if failed else "completed"
        row.completed_at = event.created_at
        if failed:
            row.error = message.content if isinstance(content, str) else None
        if not isinstance(content, str):
            row.result = message.content
        elif not failed:
            row.output = message.content

    def _answered(self, call_id: str | None, turn_id: str | None) -> _Call | None:
        of_turn = [call for call in self._open if call.turn_id == turn_id]
        candidates: Iterable[_Call] = (
            *(call for call in of_turn if call.row.call_id == call_id),
            *(call for call in self._open if call.row.call_id == call_id),
            *(call for call in of_turn if call.row.call_id is None),
        )
        return next(iter(candidates), None)


_METHODS: Final[dict[str, Callable[[EventReplay, Notification], None]]] = {
    "session.init": EventReplay._init,
    "session.fork": EventReplay._fork,
    "session.stop": EventReplay._stop,
    "user.prompt.submit": EventReplay._prompt,
    "assistant.response": EventReplay._response,
    "tool.call": EventReplay._call,
    "tool.any_call": EventReplay._call,
    "tool.result": EventReplay._result,
}


def _cell(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _outcome(result: Json) -> tuple[Json, bool]:
    """Return the content of a tool's result, and whether it is an error."""
    if isinstance(result, dict) and len(result) == 1:
        [(kind, inside)] = result.items()
        if kind in ("Ok", "Err"):
            return inside, kind == "Err"
    return result, False


def _of_parts(parts: list[Json]) -> tuple[Json, list[tuple[str | None, str, Json]]]:
    """Return the content of a list of parts, and the calls in it."""
    said: list[Json] = []
    named: list[tuple[str | None, str, Json]] = []
    for part in parts:
        if isinstance(part, dict) and "name" in part and "arguments" in part:
            name = cells.name(_cell(part["name"])) or ""
            named.append((cells.name(_cell(part.get("id"))), name, part["arguments"]))
        else:
            said.append(part)
    if len(said) == 1 and isinstance(said[0], dict) and said[0].keys() == {"text"}:
        return said[0]["text"], named
    return said or None, named


def _of_chat(given: Json) -> list[tuple[str | None, str, Json]]:
    """Return the calls of a response of protocol 0.1 or 0.2."""
    found: list[tuple[str | None, str, Json]] = []
    for each in given if isinstance(given, list) else ():
        function = each.get("function") if isinstance(each, dict) else None
        if isinstance(function, dict):
            name = cells.name(_cell(function.get("name"))) or ""
            call_id = cells.name(_cell(each.get("id")))
            found.append((call_id, name, function.get("arguments")))
    return found


def _arguments(given: Json) -> str | None:
    """Return arguments encoded. A text that is JSON is taken as the JSON."""
    if given is None:
        return None
    inside = cells.json_text(given, sys.maxsize) if isinstance(given, str) else None
    return cells.encoded(given) if inside is None else inside


def _measured(usage: Json) -> Usage | None:
    """Return usage that the provider measured, None for an estimate."""
    if not isinstance(usage, dict) or not isinstance(usage.get("input_tokens"), int):
        return None
    counts = {
        name: usage.get(given)
        for name, given in (
            ("prompt_tokens", "input_tokens"),
            ("completion_tokens", "output_tokens"),
            ("cache_read_tokens", "cache_read_tokens"),
            ("cache_creation_tokens", "cache_write_tokens"),
        )
    }
    return Usage(
        **{
            name: count
            for name, count in counts.items()
            if isinstance(count, int) and 0 <= count < 2**53
        }
    )
