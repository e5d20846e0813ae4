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
