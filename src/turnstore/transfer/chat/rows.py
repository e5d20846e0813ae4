"""Turns the messages of a conversation into rows of its session."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from turnstore.records import Json, Role
from turnstore.sql import codec
from turnstore.transfer.chat.messages import Answer, Call, ReadMessage, is_chat_call
from turnstore.transfer.chat.pairing import OpenCall, OpenCalls
from turnstore.transfer.rows import (
    SessionRows,
    StoredEvent,
    StoredMessage,
    StoredToolCall,
)

ROLES: Final = tuple(str(each) for each in Role if each is not Role.UNKNOWN)


class MessageRows:
    """Takes the messages in order, and adds the rows to store."""

    def __init__(self, rows: SessionRows, bytes_max: int, notes: Counter[str]) -> None:
        self._rows = rows
        self._bytes_max = bytes_max
        self._notes = notes
        self._open = OpenCalls()
        self._at = rows.session.created_at

    def add(self, given: ReadMessage) -> None:
        if given.created_at is not None:
            self._at = given.created_at
        is_known = given.role in ROLES
        if not is_known:
            self._notes[f"role {given.role:.40}: reads as unknown"] += 1
        session_model = self._rows.session.model
        if given.usage is not None and given.model is None and session_model:
            given.model = session_model
            given.made.append("model")
        message = StoredMessage(
            id=f"m{len(self._rows.messages) + 1}",
            role=given.role if is_known else "unknown",
            role_raw=None if is_known else given.role,
            tool_call_id=given.tool_call_id,
            name=given.name,
            model=given.model,
            usage=None if given.usage is None else codec.to_json(given.usage).decode(),
            content=self._json(given.content),
            created_at=self._at,
        )
        calls = self._calls(message, given)
        message.tool_calls = self._json(given.tool_calls)
        self._rows.messages.append(message)
        if given.role == "tool" and given.answers:
            self._add_answer(message, given, given.answers.pop())
        else:
            self._add_message(message, given, calls)
        for answer in given.answers:
            call = self._answered_by(answer, has_id=True)
            self._add_event(
                "tool_call.completed",
                {
                    "message_id": message.id,
                    "tool_call_id": call.row.id if call else None,
                    "call_id": answer.call_id,
                },
                message.model,
            )

    def _add_message(
        self, message: StoredMessage, given: ReadMessage, calls: list[OpenCall]
    ) -> None:
        model = message.model
        if model is None and message.role == "assistant":
            model = self._rows.session.model
        about = {"message_id": message.id, "role": given.role, **_unplaced(given)}
        self._add_event("message.complete", about, model)
        for call in calls:
            about = {
                "message_id": message.id,
                "tool_call_id": call.row.id,
                "call_id": call.row.call_id,
                "name": call.row.name,
            }
            self._add_event("tool_call.started", about, model)
        self._open.ask(calls)

    def _add_answer(
        self, message: StoredMessage, given: ReadMessage, answer: Answer
    ) -> None:
        has_id = answer.call_id is not None and "tool_call_id" not in given.made
        call = self._answered_by(answer, has_id=has_id)
        if not has_id and call is None:
            message.tool_call_id = None
        elif call is not None and call.row.call_id != message.tool_call_id:
            # With the id of its call it is found by it.
            if message.tool_call_id is not None and has_id:
                given.extra["tool_call_id"] = message.tool_call_id
            elif "tool_call_id" not in given.made:
                given.made.append("tool_call_id")
            message.tool_call_id = call.row.call_id
        about = {
            "message_id": message.id,
            "tool_call_id": call.row.id if call else None,
            "call_id": message.tool_call_id,
            **_unplaced(given),
        }
        self._add_event("tool_call.completed", about, message.model)

    def _add_event(self, type: str, data: Json, model: str | None) -> None:
        self._rows.events.append(
            StoredEvent(
                type=type, data=self._json(data), model=model, created_at=self._at
            )
        )

    def _json(self, value: Json) -> str | None:
        return codec.encode_or_none(value, self._bytes_max)

    def _answered_by(self, answer: Answer, *, has_id: bool) -> OpenCall | None:
        """Return the call that an answer belongs to, after storing the answer in it."""
        call = self._open.answered_by(answer, has_id=has_id)
        if call is None:
            return None
        row, content = call.row, self._json(answer.content)
        row.status, row.error, row.completed_at = "completed", None, self._at
        if answer.is_error:
            row.status, row.error = "failed", self._json("the tool failed")
        if isinstance(answer.content, str):
            row.output = content
        else:
            row.result = content
        return call

    def _calls(self, message: StoredMessage, given: ReadMessage) -> list[OpenCall]:
        """Make rows of the calls of a message; calls without an id get one."""
        made: list[Json] = []
        calls: list[OpenCall] = []
        for at, each in enumerate(given.calls, 1):
            call_id = each.call_id or f"call_{message.id}_{at}"
            calls.append(self._call(message, each, call_id))
            function = {"name": each.name, "arguments": _as_text(each.arguments)}
            made.append({"id": call_id, "type": "function", "function": function})
        source = given.tool_calls or []
        if not all(map(is_chat_call, source, given.calls)):
            if "tool_calls" not in given.made:
                given.extra["tool_calls"] = given.tool_calls
            given.tool_calls = made
        for each in given.calls_in_content:
            calls.append(self._call(message, each, each.call_id or ""))
        return calls

    def _call(self, message: StoredMessage, given: Call, call_id: str) -> OpenCall:
        row = StoredToolCall(
            id=f"t{len(self._rows.tool_calls) + 1}",
            call_id=call_id,
            message_id=message.id,
            name=given.name,
            arguments=self._arguments(given.arguments),
            status="failed",
            error=self._json("unanswered"),
            created_at=self._at,
            completed_at=self._at,
        )
        self._rows.tool_calls.append(row)
        return OpenCall(row, has_own_id=given.call_id is not None)

    def _arguments(self, given: Json) -> str | None:
        """Return arguments as JSON. A text stays text if it is not JSON, or none that
        can be stored."""
        if isinstance(given, str):
            try:
                return self._json(codec.decode(given))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass
        return self._json(given)


def _unplaced(given: ReadMessage) -> dict[str, Json]:
    """Return what a message's event keeps of it."""
    kept: dict[str, Json] = {}
    if given.extra:
        kept["extra"] = given.extra
    if given.made:
        kept["made"] = given.made
    return kept


def _as_text(arguments: Json) -> str:
    """Return arguments as the chat format has them."""
    if isinstance(arguments, str):
        return arguments
    return codec.to_json({} if arguments is None else arguments).decode()
