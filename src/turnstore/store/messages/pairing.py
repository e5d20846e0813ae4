"""Which tool result answers which call.

A call is an entry of an assistant's ``tool_calls``, or a block ``tool_use`` in its
content; one that is written both ways is one call. A result is a message of role tool
with a ``tool_call_id``, or a block ``tool_result`` in the content of a user's message.
Either kind of result answers either kind of call.

Providers repeat call ids, even within a session, so calls and results are paired by
position: a result belongs to the first unanswered call with its id in the latest
message before it that has one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from turnstore.records import Json, Role

T = TypeVar("T")
P = TypeVar("P", bound="Linked")


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
            if not groups:
                del self._open[call_id or ""]
        return call

    def copy(self) -> OpenCalls[T]:
        other: OpenCalls[T] = OpenCalls()
        for call_id, groups in self._open.items():
            other._open[call_id] = [group.copy() for group in groups]
        return other


class Part(Protocol):
    """What of a message is looked at."""

    @property
    def role(self) -> Role: ...
    @property
    def content(self) -> Json: ...
    @property
    def tool_calls(self) -> Json: ...
    @property
    def tool_call_id(self) -> str | None: ...


class Linked(Protocol):
    """What makes branches of messages."""

    @property
    def id(self) -> str: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def is_summary(self) -> bool: ...


class Node(Part, Linked, Protocol):
    """A message with its place in the tree."""


class Call(NamedTuple):
    """A call, and its places among the ``tool_calls`` and the blocks of a message."""

    id: str
    entry: int | None
    block: int | None


class Result(NamedTuple):
    """The place of a message, and of the block in it: None for a message of a tool."""

    at: int
    block: int | None


class Pairing(msgspec.Struct):
    """Calls by the place of their message, and the results of those by the place among
    these calls."""

    calls: dict[int, list[Call]] = {}
    results: dict[int, dict[int, Result]] = {}

    def take(self, waiting: OpenCalls[tuple[int, int]], at: int, part: Part) -> None:
        """Take in the next message of a branch."""
        if part.role is Role.TOOL:
            self._answer(waiting, part.tool_call_id, Result(at, None))
        elif part.role is Role.ASSISTANT:
            if part.tool_calls is None and not isinstance(part.content, list):
                return
            calls = calls_of(part)
            if calls:
                self.calls[at] = calls
                waiting.ask((each.id, (at, n)) for n, each in enumerate(calls))
        elif part.role is Role.USER and isinstance(part.content, list):
            for block, each in enumerate(part.content):
                if is_result(each):
                    call_id = _text_in(each, "tool_use_id")
                    self._answer(waiting, call_id, Result(at, block))

    def _answer(
        self,
        waiting: OpenCalls[tuple[int, int]],
        call_id: str | None,
        result: Result,
    ) -> None:
        asked = waiting.answer(call_id)
        if asked is not None:
            at, call = asked
            self.results.setdefault(at, {})[call] = result


def paired(parts: Sequence[Part]) -> Pairing:
    """Return which calls of one branch are answered."""
    waiting: OpenCalls[tuple[int, int]] = OpenCalls()
    pairing = Pairing()
    for at, part in enumerate(parts):
        pairing.take(waiting, at, part)
    return pairing


def _splits(parts: Sequence[Node]) -> list[tuple[int, int]]:
    """Return the places of each call's message and its result, on all branches.

    :param parts: parents before their children.
    """
    children = Counter(each.parent_id for each in parts)
    waiting: dict[str, OpenCalls[tuple[int, int]]] = {}
    found: list[tuple[int, int]] = []
    for at, part in enumerate(parts):
        parent = part.parent_id
        calls: OpenCalls[tuple[int, int]] | None = None
        if parent is not None and parent in waiting:
            children[parent] -= 1
            # The last child takes its parent's, so that only branching copies.
            calls = waiting[parent].copy() if children[parent] else waiting.pop(parent)
        if calls is None:
            calls = OpenCalls()
        pairing = Pairing()
        pairing.take(calls, at, part)
        for asker, results in pairing.results.items():
            found += [(asker, each.at) for each in results.values()]
        if children[part.id]:
            waiting[part.id] = calls
    return found


def branch(parts: Sequence[P], tip: str | None) -> list[P]:
    """Return the summaries among messages, then those from the root to the tip.

    :param parts: by seq. A parent is always older, so that a chain ends whatever an
        import may have left.
    """
    summaries = [each for each in parts if each.is_summary]
    chain: list[P] = []
    for each in reversed(parts):
        if each.id == tip:
            tip = each.parent_id
            if not each.is_summary:
                chain.append(each)
    return summaries + chain[::-1]


def boundary(parts: Sequence[Node], edge: int) -> int:
    """Return how many of the first parts can go, at most ``edge``, so that no call is
    split from its result on any branch."""
    found = _splits(parts)
    while True:
        split = [asker for asker, result in found if asker < edge <= result]
        if not split:
            return edge
        # An earlier edge may split other pairs.
        edge = min(split)


def calls_of(part: Part) -> list[Call]:
    """Return the calls of an assistant's message: those of ``tool_calls`` first."""
    calls = [
        Call(call_id, entry, None)
        for entry, given in enumerate(entries_of(part))
        if (call_id := _text_in(given, "id"))
    ]
    if not isinstance(part.content, list):
        return calls
    unpaired: dict[str, deque[int]] = {}
    for at, call in enumerate(calls):
        unpaired.setdefault(call.id, deque()).append(at)
    for block, given in enumerate(part.content):
        call_id = _text_in(given, "id") if is_call(given) else None
        if not call_id:
            continue
        if unpaired.get(call_id):
            at = unpaired[call_id].popleft()
            calls[at] = calls[at]._replace(block=block)
        else:
            calls.append(Call(call_id, None, block))
    return calls


def entries_of(part: Part) -> list[Any]:
    # What an import left may be no list.
    return part.tool_calls if isinstance(part.tool_calls, list) else []


def blocks_of(part: Part) -> list[Any]:
    return part.content if isinstance(part.content, list) else []


def is_call(block: Json) -> bool:
    return is_block(block, ("tool_use",))


def is_result(block: Json) -> bool:
    return is_block(block, ("tool_result",))


def is_block(block: Json, types: Collection[str]) -> bool:
    return isinstance(block, dict) and block.get("type") in types


def _text_in(given: Any, name: str) -> str | None:
    found = given.get(name) if isinstance(given, dict) else None
    return found if isinstance(found, str) else None
