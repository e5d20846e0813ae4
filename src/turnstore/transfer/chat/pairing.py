"""Which answer belongs to which call of a conversation.

Providers repeat call ids, and some files have none. So an answer belongs to the first
unanswered call with its id, in the latest message that has one. An answer without an
id, or to calls without one, belongs to the first unanswered call of the latest message
that has one, of its name where there is such a call.
"""

from __future__ import annotations

from collections import deque

import msgspec

from turnstore.transfer.chat.messages import Answer
from turnstore.transfer.rows import StoredToolCall


class OpenCall(msgspec.Struct):
    """A call to store. ``has_own_id``: the source has an id of it."""

    row: StoredToolCall
    has_own_id: bool
    is_answered: bool = False


class OpenCalls:
    """Calls that wait for an answer."""

    def __init__(self) -> None:
        # Grouped by message, oldest first.
        self._by_id: dict[str, list[deque[OpenCall]]] = {}
        self._groups: list[list[OpenCall]] = []

    def ask(self, calls: list[OpenCall]) -> None:
        """Add the calls of one message."""
        by_id: dict[str, deque[OpenCall]] = {}
        for call in calls:
            by_id.setdefault(call.row.call_id or "", deque()).append(call)
        for call_id, group in by_id.items():
            self._by_id.setdefault(call_id, []).append(group)
        if calls:
            self._groups.append(calls)

    def answered_by(self, answer: Answer, *, has_id: bool) -> OpenCall | None:
        """Take out the call that an answer belongs to.

        :param has_id: whether the answer's id is that of a call for sure.
        """
        call = self._with_id(answer.call_id)
        if call is None:
            call = self._by_position(answer.name, only_without_id=has_id)
        if call is not None:
            call.is_answered = True
        return call

    def _with_id(self, call_id: str | None) -> OpenCall | None:
        groups = self._by_id.get(call_id or "")
        while groups:
            while groups[-1]:
                call = groups[-1].popleft()
                if not call.is_answered:
                    return call
            groups.pop()
        return None

    def _by_position(
        self, name: str | None, *, only_without_id: bool
    ) -> OpenCall | None:
        while self._groups:
            group = [each for each in self._groups[-1] if not each.is_answered]
            if group:
                self._groups[-1] = group
                break
            self._groups.pop()
        else:
            return None
        possible = [each for each in group if not (only_without_id and each.has_own_id)]
        named = [each for each in possible if name and each.row.name == name]
        return next(iter(named or possible), None)
