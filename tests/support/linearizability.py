"""Wing and Gong's check of a history: is there one order of the calls that explains it?

A call takes effect once between its begin and its end; one whose outcome is unknown may
take effect at any time after its begin, or never. States that were met before are
remembered, so that a history of a hundred calls of six clients takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Operation:
    """One call. ``ended`` is None where its outcome is unknown."""

    name: str
    argument: Any
    result: Any
    began: int
    ended: int | None


Step = Callable[[S, Operation], S | None]
"""Return the state after an operation, or None where its result does not fit."""


def is_linearizable(history: Sequence[Operation], state: S, step: Step[S]) -> bool:
    everything = frozenset(range(len(history)))
    seen: set[tuple[frozenset[int], S]] = set()
    stack: list[tuple[frozenset[int], S]] = [(everything, state)]
    while stack:
        left, state = stack.pop()
        ends = [end for at in left if (end := history[at].ended) is not None]
        if not ends:
            return True
        first_end = min(ends)
        for at in left:
            if history[at].began > first_end:
                continue  # something has ended before it began
            after = step(state, history[at])
            if after is None:
                continue
            found = (left - {at}, after)
            if found not in seen:
                seen.add(found)
                stack.append(found)
    return False
