"""Conversations in the OpenAI chat format: one JSON object a line, with ``messages``.

A line becomes one session, under the object's ``id`` where that is a valid id, else
under ``chat-`` and the digest of its content. What has no place of its own is kept:

- The object's other keys are the session's ``metadata``: text as it is, anything else
  as JSON. ``config["import"]`` names the latter in ``json_keys``, so that the text
  ``"0"`` and the number 0 are told apart, and holds the ``format`` and the ``digest``
  of the content.
- A message's other keys, and those whose value is null, are ``extra`` in the data of
  its event, so ``{**stored fields that are not None, **extra}`` is the message.

Each call in a message's ``tool_calls`` is a tool call too. Providers repeat call ids,
so answers are paired by position: an answer belongs to the first unanswered call with
its id in the latest assistant message that has one. A call that was never answered is
``failed`` with the error ``unanswered``: the conversation is over, and nobody waits
for it. An answer without a call is kept as a message.

One event a message: ``tool_call.completed`` for an answer, ``message.complete`` for
any other; and one ``tool_call.started`` a call. Events of an assistant's message bear
the message's ``model``, else the object's.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any, Final

import msgspec

from turnstore.engine.commands import Command
from turnstore.errors import InvalidArgument, PayloadInvalid, PayloadTooLarge
from turnstore.records import Json, Session
from turnstore.sql import codec
from turnstore.store.events.writes import AppendEvents, EventRow
from turnstore.store.messages.writes import AppendMessages, MessageRow
from turnstore.store.sessions.writes import CreateSession
from turnstore.store.tool_calls.writes import (
    CreateToolCalls,
    ToolCallRow,
    UpdateToolCall,
)
from turnstore.store.turns.command import Turn

ROLES: Final = ("system", "user", "assistant", "tool")
FIELDS: Final = ("role", "content", "tool_calls", "tool_call_id", "name", "model")
"""The keys of a message that have a place in its record."""
ROW_BYTES: Final = 300
"""About what a row takes beside its payloads, for the bound on a batch."""

_decode: Final = msgspec.json.Decoder().decode


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What one line holds, as the transaction that stores it."""

    session_id: str
    digest: str
    turn: Turn
    messages: int
    tool_calls: int
    events: int


def is_chat(line: bytes) -> bool:
    """Tell whether a line is an object with a list of messages."""
    try:
        _object(line)
    except InvalidArgument:
        return False
    return True


def is_from(session: Session, conversation: Conversation) -> bool:
    """Tell whether a stored session was imported from this content."""
    config = session.config
    source = config.get("import") if isinstance(config, dict) else None
    return isinstance(source, dict) and source.get("digest") == conversation.digest


def read(line: bytes, payload_bytes_max: int, created_at: int) -> Conversation:
    """Return the conversation that a line holds.

    :param created_at: the session's, in microseconds; an export has sessions in the
        order of it.
    :raises InvalidArgument: not JSON, no list of messages, an unknown role, or a
        field of the wrong type; the text says which.
    :raises PayloadInvalid, PayloadTooLarge: one of the object's other values.
    """
    given = _object(line)
    digest = hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest()
    own_id = _valid_id(given.get("id"))
    session_id = own_id or f"chat-{digest[:32]}"
    kept_apart = {"messages"} if own_id is None else {"messages", "id"}
    rest = {key: value for key, value in given.items() if key not in kept_apart}
    model = given.get("model")
    model = codec.check_text(model, "model") if isinstance(model, str) else None
    reader = _Reader(session_id, model, payload_bytes_max)
    for position, message in enumerate(given["messages"]):
        try:
            reader.add(message)
        except (InvalidArgument, PayloadInvalid, PayloadTooLarge) as error:
            raise InvalidArgument(f"messages[{position}]: {error}") from error
    columns, pairs = _session(model, digest, rest, payload_bytes_max)
    create = CreateSession(session_id, 0, columns, pairs, created_at)
    commands = [create, *reader.commands()]
    rows = 1 + len(reader.messages) + len(reader.calls) + len(reader.events)
    return Conversation(
        session_id=session_id,
        digest=digest,
        turn=Turn(session_id, len(line) + rows * ROW_BYTES, commands),
        messages=len(reader.messages),
        tool_calls=len(reader.calls),
        events=len(reader.events),
    )


def _session(
    model: str | None, digest: str, rest: dict[str, Json], bytes_max: int
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the columns and the metadata of a session."""
    json_keys = [key for key, value in rest.items() if not isinstance(value, str)]
    source = {"format": "chat", "digest": digest, "json_keys": json_keys}
    pairs = {
        codec.check_id(key, "key"): codec.encode(
            value if isinstance(value, str) else codec.encode(value, bytes_max),
            bytes_max,
        )
        for key, value in rest.items()
    }
    columns: dict[str, str | None] = {
        "agent_name": "",
        "model": model,
        "status": "idle",
        "config": codec.encode({"import": source}, bytes_max),
    }
    return columns, pairs


class _Call(msgspec.Struct):
    """A tool call to store, and the answer where that is no text."""

    row: ToolCallRow
    result: str | None = None


class _Reader:
    """Takes messages in order and collects what to store."""

    def __init__(self, session_id: str, model: str | None, bytes_max: int) -> None:
        self._session_id = session_id
        self._model = model
        self._bytes_max = bytes_max
        self.messages: list[MessageRow] = []
        self.calls: list[_Call] = []
        self.events: list[EventRow] = []
        # By call id, the unanswered calls of each assistant message, oldest first.
        self._unanswered: dict[str, list[deque[_Call]]] = {}

    def commands(self) -> list[Command[Any]]:
        # A turn counts by its own size, so its commands need none.
        name = self._session_id
        found: list[Command[Any]] = []
        if self.messages:
            ids = frozenset(each.id for each in self.messages)
            found.append(AppendMessages(name, 0, self.messages, ids))
        if self.calls:
            rows = [each.row for each in self.calls]
            ids = frozenset(each.id for each in rows)
            found.append(CreateToolCalls(name, 0, rows, ids))
        found += [
            UpdateToolCall(name, 0, each.row.id, {"result": each.result})
            for each in self.calls
            if each.result is not None
        ]
        if self.events:
            found.append(AppendEvents(name, 0, self.events))
        return found

    def add(self, given: Any) -> None:
        if not isinstance(given, dict):
            raise InvalidArgument("not an object")
        role = given.get("role")
        if role not in ROLES:
            known = ", ".join(ROLES)
            raise InvalidArgument(f"role must be one of {known}: {role!r:.80}")
        text = codec.check_text_or_none
        message = MessageRow(
            id=f"m{len(self.messages) + 1}",
            role=role,
            content=self._json(given.get("content")),
            tool_calls=self._json(given.get("tool_calls")),
            tool_call_id=text(given.get("tool_call_id"), "tool_call_id"),
            name=text(given.get("name"), "name"),
            model=text(given.get("model"), "model"),
        )
        rest = {
            key: value
            for key, value in given.items()
            if value is None or key not in FIELDS
        }
        extra = {"extra": rest} if rest else {}
        calls = self._read_calls(message, given.get("tool_calls"))
        self.messages.append(message)
        if role == "tool":
            self._add_answer(message, given.get("content"), extra)
        else:
            self._add_message(message, calls, extra)

    def _add_message(
        self, message: MessageRow, calls: list[_Call], extra: dict[str, Json]
    ) -> None:
        model = message.model
        if model is None and message.role == "assistant":
            model = self._model
        about = {"message_id": message.id, "role": message.role, **extra}
        self._add_event("message.complete", about, model)
        for call in calls:
            about = {
                "message_id": message.id,
                "tool_call_id": call.row.id,
                "call_id": call.row.call_id,
                "name": call.row.name,
            }
            self._add_event("tool_call.started", about, model)
        self._expect(calls)

    def _add_answer(
        self, message: MessageRow, content: Json, extra: dict[str, Json]
    ) -> None:
        call = self._answered_by(message, content)
        about = {
            "message_id": message.id,
            "tool_call_id": call.row.id if call else None,
            "call_id": message.tool_call_id,
            **extra,
        }
        self._add_event("tool_call.completed", about, message.model)

    def _add_event(self, type: str, data: Json, model: str | None) -> None:
        self.events.append((type, self._json(data), model, None, None))

    def _json(self, value: Json) -> str | None:
        return codec.encode_or_none(value, self._bytes_max)

    def _answered_by(self, answer: MessageRow, content: Json) -> _Call | None:
        """Find the call that a message answers, and note the answer there."""
        groups = self._unanswered.get(answer.tool_call_id or "")
        if not groups:
            return None
        call = groups[-1].popleft()
        if not groups[-1]:
            groups.pop()
        call.row.status = "completed"
        call.row.error = None
        if isinstance(content, str):
            call.row.output = answer.content
        else:
            call.result = answer.content
        return call

    def _read_calls(self, message: MessageRow, given: Json) -> list[_Call]:
        if given is None:
            return []
        if not isinstance(given, list):
            raise InvalidArgument("tool_calls must be a list")
        if given and message.role != "assistant":
            raise InvalidArgument(f"tool_calls in a message of role {message.role}")
        calls: list[_Call] = []
        for position, each in enumerate(given):
            name, arguments = _function(each, f"tool_calls[{position}]")
            row = ToolCallRow(
                id=f"t{len(self.calls) + 1}",
                call_id=each["id"],
                message_id=message.id,
                name=name,
                arguments=self._arguments(arguments),
                status="failed",
                error=self._json("unanswered"),
            )
            calls.append(_Call(row))
            self.calls.append(calls[-1])
        return calls

    def _expect(self, calls: list[_Call]) -> None:
        """Open the calls of one assistant message for answers."""
        by_id: dict[str, deque[_Call]] = {}
        for call in calls:
            by_id.setdefault(call.row.call_id or "", deque()).append(call)
        for call_id, group in by_id.items():
            self._unanswered.setdefault(call_id, []).append(group)

    def _arguments(self, given: Json) -> str | None:
        """Return arguments as JSON; text that is none, or none to store, stays text."""
        if not isinstance(given, str):
            return self._json(given)
        try:
            return self._json(_decode(given))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._json(given)


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = _decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidArgument("not a JSON object")
    if not isinstance(given.get("messages"), list):
        raise InvalidArgument("no list of messages")
    return given


def _valid_id(given: Any) -> str | None:
    try:
        return codec.check_id(given, "id")
    except InvalidArgument:
        return None


def _function(given: Any, place: str) -> tuple[str, Any]:
    """Return name and arguments of a call, as the type of the call holds them."""
    if not isinstance(given, dict):
        raise InvalidArgument(f"{place} must be an object")
    codec.check_text(given.get("id"), f"{place}.id")
    kind, key = ("custom", "input") if "custom" in given else ("function", "arguments")
    called = given.get(kind)
    if not isinstance(called, dict):
        raise InvalidArgument(f"{place}.{kind} must be an object")
    return codec.check_text(called.get("name"), f"{place}.{kind}.name"), called.get(key)
