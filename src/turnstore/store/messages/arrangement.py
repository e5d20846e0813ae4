"""Messages of a branch, arranged as a model provider takes them.

Only results move: to directly after the message that has their calls, in the order of
the calls. All else stays in its order. A result takes the form of its call:

- An entry of ``tool_calls`` is answered by a message of role tool.
- The blocks ``tool_use`` of a message are answered by the blocks ``tool_result`` of one
  user's message, which has them first. What else that message said follows in it,
  unless something was said before, and that comes first: then the message is given in
  two parts.
- A call that is written both ways keeps the form of its result.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from turnstore.records import Json, Message, Role, ToolCall, ToolCallStatus
from turnstore.store.messages.pairing import (
    Call,
    blocks_of,
    entries_of,
    is_block,
    is_call,
    is_result,
    paired,
)

THINKING: Final = ("thinking", "redacted_thinking")
FAILED: Final = (ToolCallStatus.FAILED, ToolCallStatus.DENIED)
_Key = tuple[str | None, str]
"""Message id and call id."""
_Block = dict[str, Any]


class Arrangement:
    """The messages of one branch, with their calls and results."""

    def __init__(self, given: Sequence[Message]) -> None:
        self._given = given
        self._pairing = paired(given)

    def unanswered(self) -> list[tuple[str, str]]:
        """Return the calls that no message answers, by message id and call id."""
        return [
            (self._given[at].id, call.id)
            for at, calls in self._pairing.calls.items()
            for place, call in enumerate(calls)
            if place not in self._pairing.results.get(at, ())
        ]

    def messages(self, rows: Sequence[ToolCall] = ()) -> list[Message]:
        """Return what a model may be sent.

        :param rows: tool calls that have ended, oldest first; they answer the calls
            that no message answers.
        """
        ended: dict[_Key, list[ToolCall]] = {}
        for row in rows:
            ended.setdefault((row.message_id, row.call_id or row.id), []).append(row)
        kept: list[Message] = []
        for at, message in enumerate(self._given):
            role = message.role
            if role is Role.UNKNOWN or role is Role.TOOL:
                continue
            if message.tool_calls is None and not isinstance(message.content, list):
                kept.append(message)
            elif role is Role.ASSISTANT:
                kept += self._asked(at, message, ended)
            else:
                _add(kept, without(message, ()))
        return kept

    def _asked(
        self, at: int, message: Message, ended: Mapping[_Key, Sequence[ToolCall]]
    ) -> list[Message]:
        """Return an assistant's message with the results of its calls."""
        calls = self._pairing.calls.get(at, [])
        results = self._pairing.results.get(at, {})
        if calls and len(results) == len(calls) == len(entries_of(message)):
            told = [results[place] for place in range(len(calls))]
            if all(each.block is None for each in told) and not blocks_of(message):
                # The usual case of the chat format: nothing changes.
                return [message, *(self._given[each.at] for each in told)]
        answered: list[Call] = []
        said: list[Message] = []
        sources: list[Message] = []
        blocks: list[Json] = []
        for place, call in enumerate(calls):
            if place in results:
                source, block = self._given[results[place].at], results[place].block
            elif row := _row_of(message, calls[: place + 1], ended):
                source, block = _told_by(row, message, call)
            else:
                continue
            answered.append(call)
            if call.block is None or (call.entry is not None and block is None):
                said.append(_as_message(source, call.id, block))
            else:
                sources.append(source)
                blocks.append(_as_block(source, call.id, block))
        kept = without(message, answered)
        if blocks:
            # The first message that has one of them; a row's has the asker's seq.
            source = min(sources, key=lambda each: (each.seq == message.seq, each.seq))
            said.append(_as_blocks(source, blocks))
        return [] if kept is None else [kept, *said]


def without(message: Message, answered: Collection[Call]) -> Message | None:
    """Return a message with these of its calls, and with no result; None where that
    leaves nothing."""
    changes: dict[str, Any] = {}
    if message.tool_calls is not None:
        given = entries_of(message)
        rest = [given[each.entry] for each in answered if each.entry is not None]
        if not rest or len(rest) < len(given):
            changes["tool_calls"] = rest or None
    if isinstance(message.content, list):
        places = {each.block for each in answered}
        blocks = [
            each
            for at, each in enumerate(message.content)
            if at in places or not (is_call(each) or is_result(each))
        ]
        if len(blocks) < len(message.content):
            # Providers refuse a message that ends with thinking.
            while blocks and is_block(blocks[-1], THINKING):
                blocks.pop()
            changes["content"] = blocks
    if not changes:
        return message
    message = replace(message, **changes)
    return message if answered or not _is_blank(message.content) else None


def answer_text(call: ToolCall) -> str:
    """Return what a model reads of a tool call that has ended."""
    if call.output is not None:
        return call.output
    if call.result is not None:
        return _as_json(call.result)
    return call.error or ""


def _row_of(
    message: Message, calls: Sequence[Call], ended: Mapping[_Key, Sequence[ToolCall]]
) -> ToolCall | None:
    """Return the tool call of the last of a message's calls: of those with its id the
    one in the same place."""
    call_id = calls[-1].id
    rows = ended.get((message.id, call_id))
    if not rows:
        return None
    place = sum(each.id == call_id for each in calls) - 1
    return rows[place] if place < len(rows) else None


def _told_by(row: ToolCall, message: Message, call: Call) -> tuple[Message, int | None]:
    """Return the message that a tool call stands for, and the place of its block."""
    text = answer_text(row)
    made = Message(
        id=row.id,
        session_id=message.session_id,
        seq=message.seq,
        role=Role.TOOL,
        content=text,
        tool_call_id=call.id,
        agent_name=message.agent_name,
        parent_id=message.id,
        created_at=row.completed_at or row.created_at,
    )
    if call.entry is not None:
        return made, None
    block = _block(call.id, text)
    if row.status in FAILED:
        block["is_error"] = True
    return replace(made, role=Role.USER, content=[block], tool_call_id=None), 0


def _block(call_id: str, content: Json) -> _Block:
    block: _Block = {"type": "tool_result", "tool_use_id": call_id}
    if isinstance(content, str | list):
        block["content"] = content
    elif content is not None:
        block["content"] = _as_json(content)
    return block


def _as_message(source: Message, call_id: str, block: int | None) -> Message:
    if block is None:
        return source
    content = blocks_of(source)[block].get("content")
    return replace(source, role=Role.TOOL, content=content, tool_call_id=call_id)


def _as_block(source: Message, call_id: str, block: int | None) -> Json:
    if block is None:
        return _block(call_id, source.content)
    found: Json = blocks_of(source)[block]
    return found


def _as_blocks(source: Message, blocks: list[Json]) -> Message:
    if source.role is Role.TOOL:
        source = replace(source, role=Role.USER, tool_call_id=None, name=None)
    return replace(source, content=blocks)


def _add(kept: list[Message], message: Message | None) -> None:
    """Add what a message says besides its results: to its results, if they are last."""
    if message is None:
        return
    if kept and (kept[-1].seq, kept[-1].role) == (message.seq, message.role):
        results = kept.pop()
        message = replace(message, content=blocks_of(results) + blocks_of(message))
    kept.append(message)


def _is_blank(content: Json) -> bool:
    """Tell whether a content has no text, or anything else that a model would read."""
    if isinstance(content, str):
        return not content.strip()
    if isinstance(content, list):
        return all(map(_is_blank_block, content))
    return not content


def _is_blank_block(block: Json) -> bool:
    if is_block(block, ("text",)):
        return _is_blank(block.get("text"))
    return is_block(block, THINKING)


def _as_json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
