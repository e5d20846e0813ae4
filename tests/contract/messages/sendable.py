"""What model providers accept: a strict check of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turnstore import Message, Role


def check_sendable(messages: Sequence[Message]) -> None:
    """Check messages as the strictest providers of each format do.

    Chat format: a message with ``tool_calls`` is followed by one message of role tool
    for each call, in their order, before anything else. There is no other message of
    role tool.

    Blocks: a message with ``tool_use`` is followed by one user's message that begins
    with a ``tool_result`` for each, in their order. There is no other ``tool_result``.

    In both: only an assistant calls tools, and no message is empty or ends with
    thinking. Messages of one role may follow each other: a chat takes them, and with
    blocks the provider merges them.
    """
    rest = list(messages)
    while rest:
        message = rest.pop(0)
        entries = [each["id"] for each in message.tool_calls or ()]
        uses = [each["id"] for each in blocks_of(message, "tool_use")]
        assert message.role is not Role.TOOL, "no call before this result"
        assert not blocks_of(message, "tool_result"), "no call before these results"
        assert message.tool_calls != []
        assert message.content or entries, "an empty message"
        if isinstance(message.content, list):
            assert blocks_of(message, "thinking")[-1:] != message.content[-1:]
        if entries or uses:
            assert message.role is Role.ASSISTANT
        for call_id in entries:
            answer = rest.pop(0)
            assert (answer.role, answer.tool_call_id) == (Role.TOOL, call_id)
            assert answer.tool_calls is None
        if uses:
            answer = rest.pop(0)
            assert answer.role is Role.USER and isinstance(answer.content, list)
            first = answer.content[: len(uses)]
            assert [each.get("tool_use_id") for each in first] == uses
            assert blocks_of(answer, "tool_result") == first


def blocks_of(message: Message, kind: str) -> list[Any]:
    if not isinstance(message.content, list):
        return []
    return [
        each
        for each in message.content
        if isinstance(each, dict) and each["type"] == kind
    ]


def texts_of(messages: Sequence[Message]) -> list[Any]:
    """Return all that is said, without the results of tools."""
    found: list[Any] = []
    for each in messages:
        if isinstance(each.content, str) and each.role is not Role.TOOL:
            found.append(each.content)
        found += [block["text"] for block in blocks_of(each, "text")]
    return found


def results_of(messages: Sequence[Message]) -> list[Any]:
    found: list[Any] = []
    for each in messages:
        if each.role is Role.TOOL:
            found.append(each.content)
        found += [block.get("content") for block in blocks_of(each, "tool_result")]
    return found
