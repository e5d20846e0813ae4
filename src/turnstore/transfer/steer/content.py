"""Converts the content of steer's messages, in both directions.

In steer the message of a user or an assistant is a list of blocks; that of a tool is
the id of the call with a typed result. In the store:

- A single block of text becomes a text.
- The calls of an assistant, if they are the last blocks, become ``tool_calls`` in chat
  format. The blocks before them become the content.
- The result of a tool becomes the content, and the id ``tool_call_id``. If the tool is
  an external one, the content is the result's text, and ``name`` is the tool's.
- Anything else becomes the content unchanged. Calls in it are in ``tool_calls`` too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from turnstore.records import Json, Role
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.rows import StoredEvent, StoredMessage

CALL_KEYS = {"id", "name", "parameters"}


class Content(msgspec.Struct, kw_only=True):
    """The columns of a message that hold its content, encoded."""

    content: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None


def read_content(role: str, text: str) -> Content:
    """Return the content of a message, given as encoded JSON."""
    given = codec.decode(text)
    if role == Role.TOOL:
        return _read_result(given, text)
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        return Content(content=text)
    if role == Role.ASSISTANT:
        calls = [each["tool_call"] for each in given if _is_call(each)]
        if calls:
            return _read_calls(given, calls, text)
    return Content(content=_as_text(given) or text)


def _read_calls(
    blocks: list[dict[str, Any]], calls: list[dict[str, Any]], text: str
) -> Content:
    """Return the content of an assistant's message that has calls."""
    tool_calls = cells.encoded([_chat_call(each) for each in calls])
    before = blocks[: len(blocks) - len(calls)]
    are_last = not any(each.get("type") == "tool_call" for each in before)
    if not are_last or any(each.keys() != CALL_KEYS for each in calls):
        return Content(content=text, tool_calls=tool_calls)
    if not before:
        return Content(tool_calls=tool_calls)
    content = _as_text(before) or cells.encoded(before)
    return Content(content=content, tool_calls=tool_calls)


def apply_content(message: StoredMessage, content: Content) -> None:
    message.content = content.content
    message.tool_calls = content.tool_calls
    message.tool_call_id = content.tool_call_id
    message.name = content.name


def write_content(message: StoredMessage) -> str:
    """Return the content of a message as steer writes it, as encoded JSON."""
    if message.role == Role.TOOL:
        return _write_result(message)
    text = message.content
    content = codec.decode(text)
    if isinstance(content, list):
        blocks = content
        if message.tool_calls is None or any(map(_is_call, content)):
            return text or ""
    else:
        blocks = [] if text is None else [_text(cells.unquoted(text) or "")]
    calls = codec.decode(message.tool_calls)
    if isinstance(calls, list):
        blocks = [*blocks, *(_block(each) for each in calls)]
    return cells.encoded(blocks)


def result_text(result: Json) -> tuple[str, str] | None:
    """Return the name and the text of an external tool's result, None for another."""
    if not isinstance(result, dict) or result.keys() != {"External"}:
        return None
    inside = result["External"]
    if not isinstance(inside, dict) or inside.keys() != {"tool_name", "payload"}:
        return None
    tool, payload = cells.name(inside["tool_name"]), inside["payload"]
    return (tool, payload) if tool is not None and isinstance(payload, str) else None


def _read_result(given: Json, text: str) -> Content:
    if not isinstance(given, dict) or given.keys() != {"tool_use_id", "result"}:
        return Content(content=text)
    call_id, result = cells.name(given["tool_use_id"]), given["result"]
    if call_id is None:
        return Content(content=text)
    external = result_text(result)
    if external is None:
        return Content(content=cells.encoded(result), tool_call_id=call_id)
    tool, payload = external
    return Content(content=cells.encoded(payload), tool_call_id=call_id, name=tool)


def _write_result(message: StoredMessage) -> str:
    text = message.content
    result = codec.decode(text)
    if message.tool_call_id is None and not isinstance(result, str) and text:
        return text
    if not isinstance(result, dict) or len(result) != 1:
        payload = cells.unquoted(text) or ""
        result = {"External": {"tool_name": message.name or "", "payload": payload}}
    return cells.encoded({"tool_use_id": message.tool_call_id or "", "result": result})


def _as_text(blocks: list[dict[str, Any]]) -> str | None:
    """Return the text of a single block of text, encoded; None for other blocks."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text = blocks[0]["text"]
        if blocks[0]["type"] == "text" and isinstance(text, str):
            return cells.encoded(text)
    return None


def _is_call(block: Json) -> bool:
    if not isinstance(block, dict) or block.get("type") != "tool_call":
        return False
    call = block.get("tool_call")
    return (
        isinstance(call, dict)
        and isinstance(call.get("id"), str)
        and isinstance(call.get("name"), str)
    )


def _chat_call(call: dict[str, Any]) -> dict[str, Json]:
    arguments = cells.encoded(call.get("parameters"))
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": function}


def _block(call: Json) -> dict[str, Json]:
    """Return the block of a call in chat format."""
    given = call if isinstance(call, dict) else {}
    function = given.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    encoded = cells.json_text(arguments, codec.INTEGER_MAX)
    inside = {
        "id": given.get("id"),
        "name": function.get("name"),
        "parameters": arguments if encoded is None else codec.decode(encoded),
    }
    return {"type": "tool_call", "tool_call": inside}


def _text(text: str) -> dict[str, Json]:
    return {"type": "text", "text": text}


def message_event(message: StoredMessage) -> StoredEvent | None:
    """Return the event that adds a message; None if its role has no such event."""
    role = str(message.role)
    if message.summary_of is not None:
        role = "assistant"
    if role not in ("user", "assistant", "tool"):
        return None
    data: Json = codec.decode(write_content(message))
    if role != Role.TOOL:
        data = {"content": data}
    inside: dict[str, Json] = {
        "message": {
            "timestamp": cells.count_of(message.created_at, cells.SECOND),
            "id": message.id,
            "parent_message_id": message.parent_id,
            "data": {"role": role, **data},
        }
    }
    if role == Role.ASSISTANT:
        provider, _, model = (message.model or "").rpartition("/")
        inside["model"] = {"provider": provider, "id": model}
    return StoredEvent(
        type=f"{role}_message_added",
        data=cells.encoded({f"{role.title()}MessageAdded": inside}),
        created_at=message.created_at,
    )
