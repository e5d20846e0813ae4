"""Reads conversations in the OpenAI chat format, one JSON object with ``messages`` per
line.

A line becomes one session. Its id is the object's ``id`` if that is a valid id, else
``chat-`` and the digest of its content. Other keys are kept:

- Other keys of the object become the session's ``metadata``: a text unchanged, another
  value as JSON. ``config["import"]`` lists the keys of the latter in ``json_keys``, to
  distinguish the text ``"0"`` from the number 0, and holds the ``format`` and the
  ``digest`` of the content.
- Other keys of a message, and keys with the value null, become ``extra`` in the data of
  its event. So ``{**stored fields that are not None, **extra}`` is the message.

Each call in a message's ``tool_calls`` also becomes a tool call. Providers repeat call
ids, so answers are paired by position: an answer belongs to the first unanswered call
with its id, in the latest assistant message that has one. A call without an answer is
``failed`` with the error ``unanswered``, because the conversation is over. An answer
without a call is kept as a message only.

Each message has one event: ``tool_call.completed`` for an answer, ``message.complete``
for any other message. Each call has one ``tool_call.started``. The events of an
assistant's message have the ``model`` of the message, or else of the object.
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
"""The keys of a message that are fields of its record."""
ROW_BYTES: Final = 300
"""About the bytes of a row without its payloads."""

_decode: Final = msgspec.json.Decoder().decode


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The conversation of one line, as the transaction that stores it."""

    session_id: str
    digest: str
    turn: Turn
    messages: int
    tool_calls: int
    events: int


def is_chat(line: bytes) -> bool:
    """Whether a line is an object with a list of messages."""
    try:
        _object(line)
    except InvalidArgument:
        return False
    return True


def is_from(session: Session, conversation: Conversation) -> bool:
    """Whether a stored session was imported from the same content."""
    config = session.config
    source = config.get("import") if isinstance(config, dict) else None
    return isinstance(source, dict) and source.get("digest") == conversation.digest


def read(line: bytes, payload_bytes_max: int, created_at: int) -> Conversation:
    """Return the conversation that a line holds.

    :param created_at: when the session is said to be created, in microseconds. An
        export orders sessions by it.
    :raises InvalidArgument: the line is not JSON or has no list of messages, a role is
        unknown, or a field has the wrong type; the text says which.
    :raises PayloadInvalid, PayloadTooLarge: a value of another key can't be stored.
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
    """A tool call to store. ``result``: its answer, if that is not a text."""

    row: ToolCallRow
    result: str | None = None


class _Reader:
    """Takes the messages in order, and collects the rows to store."""

    def __init__(self, session_id: str, model: str | None, bytes_max: int) -> None:
        self._session_id = session_id
        self._model = model
        self._bytes_max = bytes_max
        self.messages: list[MessageRow] = []
        self.calls: list[_Call] = []
        self.events: list[EventRow] = []
        # The unanswered calls by call id, grouped by assistant message, oldest first.
        self._unanswered: dict[str, list[deque[_Call]]] = {}

    def commands(self) -> list[Command[Any]]:
        # The size of a turn is its own; those of its commands are not used.
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
        """Return the call that a message answers, after storing the answer in it."""
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
        """Let the calls of one assistant message be answered."""
        by_id: dict[str, deque[_Call]] = {}
        for call in calls:
            by_id.setdefault(call.row.call_id or "", deque()).append(call)
        for call_id, group in by_id.items():
            self._unanswered.setdefault(call_id, []).append(group)

    def _arguments(self, given: Json) -> str | None:
        """Return arguments as JSON. A text stays text if it is not JSON, or none that
        can be stored."""
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


def _function(given: Any, path: str) -> tuple[str, Any]:
    """Return the name and arguments of a call of either type.

    :param path: where the call is in the message, for errors.
    """
    if not isinstance(given, dict):
        raise InvalidArgument(f"{path} must be an object")
    codec.check_text(given.get("id"), f"{path}.id")
    kind, key = ("custom", "input") if "custom" in given else ("function", "arguments")
    called = given.get(kind)
    if not isinstance(called, dict):
        raise InvalidArgument(f"{path}.{kind} must be an object")
    return codec.check_text(called.get("name"), f"{path}.{kind}.name"), called.get(key)
