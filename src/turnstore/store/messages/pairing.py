"""Which tool result answers which call.

Providers repeat call ids, even within a session, so calls and results are paired by
position: a result belongs to the first unanswered call with its id in the latest
message before it that has one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from turnstore.records import Json, Message, Role

T = TypeVar("T")


class OpenCalls(Generic[T]):
    """Calls that wait for an answer."""

    def __init__(self) -> None:
        # By call id, the unanswered calls of each message, oldest first.
        self._open: dict[str, list[deque[T]]] = {}

    def ask(self, calls: Iterable[tuple[str, T]]) -> None:
        """Add the calls of one message."""
        by_id: dict[str, deque[T]] = {}
        for call_id, call in calls:
            by_id.setdefault(call_id, deque()).append(call)
        for call_id, group in by_id.items():
            self._open.setdefault(call_id, []).append(group)

    def answer(self, call_id: str | None) -> T | None:
        """Take out the call that a result answers."""
        groups = self._open.get(call_id or "")
        if not groups:
            return None
        call = groups[-1].popleft()
        if not groups[-1]:
            groups.pop()
        return call


class Part(Protocol):
    """What of a message is looked at."""

    @property
    def role(self) -> Role: ...
    @property
    def tool_calls(self) -> Json: ...
    @property
    def tool_call_id(self) -> str | None: ...


class Pair(msgspec.Struct, frozen=True):
    """Places of a message, of a call in it, and of the message that answers it."""

    asker: int
    call: int
    result: int


def pairs(parts: Sequence[Part]) -> list[Pair]:
    """Return the calls that are answered, in order of the answers."""
    calls: OpenCalls[tuple[int, int]] = OpenCalls()
    found: list[Pair] = []
    for at, part in enumerate(parts):
        if part.role is Role.ASSISTANT:
            ids = map(_call_id, _calls(part))
            calls.ask((each, (at, place)) for place, each in enumerate(ids) if each)
        elif part.role is Role.TOOL:
            place = calls.answer(part.tool_call_id)
            if place is not None:
                found.append(Pair(*place, at))
    return found


def boundary(parts: Sequence[Part], preserve: int) -> int:
    """Return how many of the first parts can go so that at least ``preserve`` stay
    and no call is split from its result."""
    found = pairs(parts)
    edge = max(0, len(parts) - preserve)
    while True:
        split = [each.asker for each in found if each.asker < edge <= each.result]
        if not split:
            return edge
        # An earlier edge may split other pairs.
        edge = min(split)


def pruned(given: Sequence[Message]) -> list[Message]:
    """Return what a model may be sent of messages.

    Left out: results without their call, calls without their result, messages of an
    unknown role. The text of a message stays; one that has lost all its calls and has
    no text goes. As a call and its result go or stay together, what is left has no
    other ones to leave out.
    """
    found = pairs(given)
    results = {each.result for each in found}
    answered: dict[int, set[int]] = {}
    for each in found:
        answered.setdefault(each.asker, set()).add(each.call)
    kept: list[Message] = []
    for at, message in enumerate(given):
        if message.role is Role.UNKNOWN:
            continue
        if message.role is Role.TOOL and at not in results:
            continue
        if message.tool_calls is not None:
            calls = _calls(message)
            rest = [calls[place] for place in sorted(answered.get(at, ()))]
            if not rest and _is_blank(message.content):
                continue
            if not rest or len(rest) < len(calls):
                message = msgspec.structs.replace(message, tool_calls=rest or None)
        kept.append(message)
    return kept


def _calls(part: Part) -> list[Any]:
    # What an import left may be no list.
    return part.tool_calls if isinstance(part.tool_calls, list) else []


def _call_id(call: Any) -> str | None:
    call_id = call.get("id") if isinstance(call, dict) else None
    return call_id if isinstance(call_id, str) else None


def _is_blank(content: Json) -> bool:
    return not (content.strip() if isinstance(content, str) else content)
