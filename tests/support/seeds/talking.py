"""Conversations in a few words."""

from __future__ import annotations

from typing import Any

from turnstore import Json, Message, NewMessage


def ask(*call_ids: str, text: Json = None) -> NewMessage:
    calls = [
        {"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for each in call_ids
    ]
    return NewMessage(role="assistant", content=text, tool_calls=calls)


def answer(call_id: str, text: str = "done") -> NewMessage:
    return NewMessage(role="tool", content=text, tool_call_id=call_id)


def say(role: str, text: Json) -> NewMessage:
    return NewMessage(role=role, content=text)


def shape(messages: list[Message]) -> list[tuple[Any, ...]]:
    """Role, content and call ids, or the id of the call answered."""
    return [
        (
            str(each.role),
            each.content,
            each.tool_call_id
            or (
                None
                if each.tool_calls is None
                else [call["id"] for call in each.tool_calls]
            ),
        )
        for each in messages
    ]
