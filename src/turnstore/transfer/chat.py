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
import sys
from collections import deque
from typing import Any, Final

import msgspec

from turnstore import _codec
from turnstore.errors import InvalidArgument, PayloadInvalid
from turnstore.records import Json, NewEvent, NewMessage

ROLES: Final = ("system", "user", "assistant", "tool")
FIELDS: Final = ("role", "content", "tool_calls", "tool_call_id", "name", "model")
"""The keys of a message that have a place in its record."""

_decode: Final = msgspec.json.Decoder().decode


class Call(msgspec.Struct, kw_only=True):
    """A tool call to store. Answered: ``status`` completed, ``output`` a text answer,
    ``result`` any other."""

    id: str
    call_id: str
    message_id: str
    name: str
    arguments: Json
    status: str = "failed"
    output: str | None = None
    result: Json = None
    error: str | None = "unanswered"


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What one line holds, as it will be stored."""

    session_id: str
    digest: str
    model: str | None
    metadata: dict[str, str]
    config: dict[str, Json]
    messages: list[NewMessage]
    calls: list[Call]
    events: list[NewEvent]


def is_chat(line: bytes) -> bool:
    """Tell whether a line is an object with a list of messages."""
    try:
        _object(line)
    except InvalidArgument:
        return False
    return True


def read(line: bytes) -> Conversation:
    """Return the conversation that a line holds.

    :raises InvalidArgument: not JSON, no list of messages, an unknown role, or a
        field of the wrong type; the text says which.
    """
    given = _object(line)
    digest = hashlib.sha256(msgspec.json.encode(given)).hexdigest()
    session_id = _valid_id(given.get("id"))
    kept_apart = {"messages"} if session_id is None else {"messages", "id"}
    rest = {key: value for key, value in given.items() if key not in kept_apart}
    json_keys = [key for key, value in rest.items() if not isinstance(value, str)]
    model = given.get("model")
    reader = _Reader(model if isinstance(model, str) else None)
    for position, message in enumerate(given["messages"]):
        try:
            reader.add(message)
        except InvalidArgument as error:
            raise InvalidArgument(f"messages[{position}]: {error}") from error
    return Conversation(
        session_id=session_id or f"chat-{digest[:32]}",
        digest=digest,
        model=reader.model,
        metadata={
            key: value if isinstance(value, str) else _codec.encode(value, sys.maxsize)
            for key, value in rest.items()
        },
        config={"import": {"format": "chat", "digest": digest, "json_keys": json_keys}},
        messages=reader.messages,
        calls=reader.calls,
        events=reader.events,
    )


class _Reader:
    """Takes messages in order and collects what to store."""

    def __init__(self, model: str | None) -> None:
        self.model = model
        self.messages: list[NewMessage] = []
        self.calls: list[Call] = []
        self.events: list[NewEvent] = []
        # By call id, the unanswered calls of each assistant message, oldest first.
        self._unanswered: dict[str, list[deque[Call]]] = {}

    def add(self, given: Any) -> None:
        if not isinstance(given, dict):
            raise InvalidArgument("not an object")
        role = given.get("role")
        if role not in ROLES:
            raise InvalidArgument(f"role must be one of {', '.join(ROLES)}: {role!r}")
        message = NewMessage(
            id=f"m{len(self.messages) + 1}",
            role=role,
            content=given.get("content"),
            tool_calls=given.get("tool_calls"),
            tool_call_id=_text(given, "tool_call_id"),
            name=_text(given, "name"),
            model=_text(given, "model"),
        )
        extra = {
            key: value
            for key, value in given.items()
            if value is None or key not in FIELDS
        }
        self.messages.append(message)
        if role == "tool":
            self._add_answer(message, extra)
        else:
            self._add_message(message, extra)

    def _add_message(self, message: NewMessage, extra: dict[str, Json]) -> None:
        is_assistant = message.role == "assistant"
        model = message.model or (self.model if is_assistant else None)
        data = {"message_id": message.id, "role": message.role, **_extra(extra)}
        self.events.append(NewEvent(type="message.complete", data=data, model=model))
        calls = self._read_calls(message)
        if calls and not is_assistant:
            raise InvalidArgument(f"tool_calls in a message of role {message.role}")
        for call in calls:
            data = {
                "message_id": message.id,
                "tool_call_id": call.id,
                "call_id": call.call_id,
                "name": call.name,
            }
            self.events.append(
                NewEvent(type="tool_call.started", data=data, model=model)
            )
        self._expect(calls)

    def _add_answer(self, message: NewMessage, extra: dict[str, Json]) -> None:
        if message.tool_calls:
            raise InvalidArgument("tool_calls in a message of role tool")
        call = self._answered_by(message)
        data = {
            "message_id": message.id,
            "tool_call_id": call.id if call else None,
            "call_id": message.tool_call_id,
            **_extra(extra),
        }
        self.events.append(
            NewEvent(type="tool_call.completed", data=data, model=message.model)
        )

    def _answered_by(self, answer: NewMessage) -> Call | None:
        """Find the call that a message answers, and note the answer there."""
        groups = self._unanswered.get(answer.tool_call_id or "")
        if not groups:
            return None
        call = groups[-1].popleft()
        if not groups[-1]:
            groups.pop()
        call.status = "completed"
        call.error = None
        if isinstance(answer.content, str):
            call.output = answer.content
        else:
            call.result = answer.content
        return call

    def _read_calls(self, message: NewMessage) -> list[Call]:
        given = message.tool_calls
        if given is None:
            return []
        if not isinstance(given, list):
            raise InvalidArgument("tool_calls must be a list")
        calls: list[Call] = []
        for position, each in enumerate(given):
            name, arguments = _function(each, f"tool_calls[{position}]")
            call = Call(
                id=f"t{len(self.calls) + 1}",
                call_id=each["id"],
                message_id=str(message.id),
                name=name,
                arguments=_arguments(arguments),
            )
            calls.append(call)
            self.calls.append(call)
        return calls

    def _expect(self, calls: list[Call]) -> None:
        """Open the calls of one assistant message for answers."""
        by_id: dict[str, deque[Call]] = {}
        for call in calls:
            by_id.setdefault(call.call_id, deque()).append(call)
        for call_id, group in by_id.items():
            self._unanswered.setdefault(call_id, []).append(group)


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
        return _codec.check_id(given, "id")
    except InvalidArgument:
        return None


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidArgument(f"{name} must be text")


def _extra(extra: dict[str, Json]) -> dict[str, Json]:
    return {"extra": extra} if extra else {}


def _function(given: Any, place: str) -> tuple[str, Any]:
    """Return name and arguments of a call, as the type of the call holds them."""
    if not isinstance(given, dict):
        raise InvalidArgument(f"{place} must be an object")
    if _valid_id(given.get("id")) is None:
        raise InvalidArgument(f"{place}.id must be text of 1 to 255 characters")
    kind, key = ("custom", "input") if "custom" in given else ("function", "arguments")
    called = given.get(kind)
    if not isinstance(called, dict) or not isinstance(called.get("name"), str):
        raise InvalidArgument(f"{place}.{kind} must be an object with a name")
    return called["name"], called.get(key)


def _arguments(given: Any) -> Json:
    """Return arguments as JSON; text that is none, or none to store, stays text."""
    if not isinstance(given, str):
        return given
    try:
        decoded = _decode(given)
        _codec.encode(decoded, sys.maxsize)
    except (msgspec.MsgspecError, ValueError, RecursionError, PayloadInvalid):
        return given
    return decoded
