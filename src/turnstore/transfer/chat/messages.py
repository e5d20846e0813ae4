"""What a message says, whatever its keys are called."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from turnstore.errors import InvalidArgument
from turnstore.records import Json, Usage
from turnstore.sql import codec
from turnstore.transfer.chat import facts

FIELDS: Final = ("role", "content", "tool_calls", "tool_call_id", "name", "model")
"""The keys of a message that are fields of its record."""
_ROLES: Final = {
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "gemini": "assistant",
    "claude": "assistant",
    "agent": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "observation": "tool",
    "ipython": "tool",
    "environment": "tool",
}
_ROLE_KEYS: Final = ("role", "from", "sender", "author", "speaker", "type")
_CONTENT_KEYS: Final = ("content", "value", "text", "parts")


class Call(msgspec.Struct, kw_only=True):
    """A tool call of a message. ``call_id`` None: it has none that can be stored."""

    call_id: str | None
    name: str
    arguments: Json


class Answer(msgspec.Struct, kw_only=True):
    """A tool's answer."""

    call_id: str | None
    name: str | None
    content: Json
    is_error: bool = False


class ReadMessage(msgspec.Struct, kw_only=True):
    """A message as it is stored.

    :param calls: those of ``tool_calls``, and behind them those in the content.
    :param extra: keys of the source that are no field, or not as they were.
    :param made: fields that the source does not have.
    """

    role: str
    content: Json = None
    tool_calls: Json = None
    tool_call_id: str | None = None
    name: str | None = None
    model: str | None = None
    usage: Usage | None = None
    created_at: int | None = None
    calls: list[Call] = []
    calls_in_content: list[Call] = []
    answers: list[Answer] = []
    extra: dict[str, Json] = {}
    made: list[str] = []


def read_message(given: Any, notes: Counter[str]) -> ReadMessage:
    """
    :param notes: counts what is kept but can't be taken over.
    :raises InvalidArgument: it is no message; the text says why.
    """
    if not isinstance(given, dict):
        raise InvalidArgument("not an object")
    flat = _flat(given)
    role_key, raw = _role(flat)
    role = _ROLES.get(raw.lower(), raw)
    extra = {
        key: value for key, value in flat.items() if value is None or key not in FIELDS
    }
    made: list[str] = []
    if role_key != "role":
        made.append("role")
    elif role != raw:
        extra["role"] = raw
    content_key = next((key for key in _CONTENT_KEYS if key in flat), "content")
    content = _plain(flat.get(content_key))
    if content_key != "content":
        made.append("content")
        extra.pop(content_key, None)
    elif content != flat.get("content"):
        extra["content"] = flat["content"]
    message = ReadMessage(role=role, content=content, extra=extra, made=made)
    for field in ("tool_call_id", "name", "model"):
        value = _text(flat, field, notes)
        setattr(message, field, value)
        if value is None and field in flat:
            extra[field] = flat[field]
    _take_facts(message, flat, notes)
    _take_calls(message, flat, raw, notes)
    if role == "tool":
        if message.tool_call_id is None and isinstance(flat.get("id"), str):
            message.tool_call_id = _text(flat, "id", Counter())
            made.append("tool_call_id")
        message.answers.append(
            Answer(
                call_id=message.tool_call_id, name=message.name, content=message.content
            )
        )
    return message


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """Return a message without an object around what it says."""
    if "role" in given:
        return given
    for key in ("message", "info", "data"):
        inner = given.get(key)
        if not isinstance(inner, dict):
            continue
        if any(each in inner for each in (*_ROLE_KEYS, "content")):
            outer = {name: value for name, value in given.items() if name != key}
            return {**outer, **inner}
    return given


def _role(given: dict[str, Any]) -> tuple[str, str]:
    """Return the key of the role, and its text."""
    for key in _ROLE_KEYS:
        value = given.get(key)
        if isinstance(value, dict):
            value = value.get("role")
        if isinstance(value, str) and value:
            if len(value) > codec.ID_CHARS_MAX:
                raise InvalidArgument(f"role is too long: {value[:80]!r}")
            return key, codec.check_text(value, "role")
        if key in given:
            break
    raise InvalidArgument(f"role must be text: {given.get('role')!r:.80}")


def _plain(content: Json) -> Json:
    """Return the parts of a ChatGPT message as its text."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        parts = content["parts"]
        if all(isinstance(each, str) for each in parts):
            return "\n".join(parts)
    return content


def _text(given: dict[str, Any], key: str, notes: Counter[str]) -> str | None:
    """Return a name, None if it can't be stored as one."""
    value = given.get(key)
    if value is None:
        return None
    try:
        return codec.check_text(value, key)
    except InvalidArgument as error:
        notes[f"messages.{key} kept as it is: {error}"] += 1
        return None


def _take_facts(
    message: ReadMessage, given: dict[str, Any], notes: Counter[str]
) -> None:
    message.created_at, bad = facts.first_time(facts.places(given), facts.CREATED)
    if bad is not None:
        notes[f"messages.{bad} kept as it is: no time"] += 1
    message.usage, is_bad = facts.usage(facts.places(given))
    if is_bad:
        notes["messages.usage kept as it is: no counts of tokens"] += 1
    if message.model is None:
        for place in facts.places(given):
            for key in ("model", "model_slug", "model_name", "modelID"):
                value = place.get(key)
                if isinstance(value, str) and value and _is_text(value):
                    message.model = value
                    message.made.append("model")
                    return


def _is_text(value: str) -> bool:
    return _text({"": value}, "", Counter()) is not None


# Tool calls


def _take_calls(
    message: ReadMessage, given: dict[str, Any], raw_role: str, notes: Counter[str]
) -> None:
    calls = given.get("tool_calls")
    if calls is None and "toolCalls" in given:
        calls = given["toolCalls"]
        message.made.append("tool_calls")
    legacy = given.get("function_call")
    if calls is None and isinstance(legacy, dict) and "name" in legacy:
        calls = [{"function": legacy}]
        message.made.append("tool_calls")
    elif calls is None and raw_role.lower() in ("function_call", "tool_call"):
        calls = _told_calls(message.content)
        if calls is not None:
            message.made.append("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise InvalidArgument("tool_calls must be a list")
        message.tool_calls = calls
        message.calls = [
            _call(each, f"tool_calls[{at}]", notes) for at, each in enumerate(calls)
        ]
    if isinstance(message.content, list):
        for block in message.content:
            if isinstance(block, dict):
                _take_block(message, block)


def _told_calls(content: Json) -> Json:
    """Return the calls that a text is the JSON of; None if it is not."""
    if not isinstance(content, str):
        return None
    try:
        told = codec.decode(content)
    except (ValueError, RecursionError):
        return None
    several = told if isinstance(told, list) else [told]
    if all(isinstance(each, dict) and "name" in each for each in several):
        return several
    return None


def _take_block(message: ReadMessage, block: dict[str, Any]) -> None:
    """Take the call or the answer that is a block of content."""
    call_id = block.get("id" if block.get("type") == "tool_use" else "tool_use_id")
    if not isinstance(call_id, str) or not _is_text(call_id):
        return
    if block.get("type") == "tool_use":
        name = block.get("name")
        if isinstance(name, str) and _is_text(name):
            message.calls_in_content.append(
                Call(call_id=call_id, name=name, arguments=block.get("input"))
            )
    elif block.get("type") == "tool_result":
        message.answers.append(
            Answer(
                call_id=call_id,
                name=None,
                content=block.get("content"),
                is_error=block.get("is_error") is True,
            )
        )


def _call(given: Any, path: str, notes: Counter[str]) -> Call:
    if not isinstance(given, dict):
        raise InvalidArgument(f"{path} must be an object")
    kind, key = ("custom", "input") if "custom" in given else ("function", "arguments")
    called = given.get(kind)
    if called is None and isinstance(given.get("name"), str):
        called = given
        keys = ("arguments", "args", "input")
        key = next((each for each in keys if each in given), key)
    elif not isinstance(called, dict):
        raise InvalidArgument(f"{path}.{kind} must be an object")
    else:
        path = f"{path}.{kind}"
    return Call(
        call_id=_text(given, "id", notes),
        name=codec.check_text(called.get("name"), f"{path}.name"),
        arguments=called.get(key),
    )


def is_chat_call(given: Json, call: Call) -> bool:
    """Whether a call is as the chat format has it."""
    return (
        call.call_id is not None
        and isinstance(given, dict)
        and isinstance(given.get("function", given.get("custom")), dict)
    )
