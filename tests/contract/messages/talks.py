"""Messages of users, models and tools, for what a model is sent of them."""

from __future__ import annotations

from typing import Any

from turnstore import Json, NewMessage, Role, SessionStore


def say(role: str, text: Json = "text") -> NewMessage:
    return NewMessage(role=role, content=text)


def ask(*call_ids: str, text: Json = None) -> NewMessage:
    """A message that calls tools."""
    calls = [
        {"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for each in call_ids
    ]
    return NewMessage(role=Role.ASSISTANT, content=text, tool_calls=calls)


def answer(call_id: str, text: str = "done") -> NewMessage:
    """The result of a call."""
    return NewMessage(role=Role.TOOL, content=text, tool_call_id=call_id)


async def talk(store: SessionStore, count: int) -> None:
    """Append messages m1, m2, and so on."""
    await store.messages.append_many(
        "s", [say("user", f"m{n}") for n in range(1, count + 1)]
    )


async def sent(store: SessionStore) -> list[Any]:
    return [each.content for each in await store.messages.context("s")]


def use(*call_ids: str, text: str | None = None) -> NewMessage:
    """A message that calls tools, in blocks."""
    blocks: list[Json] = [] if text is None else [{"type": "text", "text": text}]
    for each in call_ids:
        blocks.append({"type": "tool_use", "id": each, "name": "f", "input": {}})
    return NewMessage(role=Role.ASSISTANT, content=blocks)


def give(**results: str) -> NewMessage:
    """A user's message: results by call id in blocks, and a ``text``."""
    return NewMessage(role=Role.USER, content=given(**results))


def given(**results: str) -> list[Json]:
    """The blocks of such a message."""
    return [
        {"type": "text", "text": said}
        if call_id == "text"
        else {"type": "tool_result", "tool_use_id": call_id, "content": said}
        for call_id, said in results.items()
    ]
