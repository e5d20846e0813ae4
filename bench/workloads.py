"""The workloads by name, in the order they run. README.md says what each stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench import appends, reads, turns
from bench.follow import follow
from bench.history import history
from bench.listing import listing
from bench.measure import Comparison
from bench.postgres import postgres
from bench.postgres_listing import postgres_listing
from bench.setting import Setting

WORKLOADS: Final[dict[str, Callable[[Setting], list[Comparison]]]] = {
    "append": appends.append,
    "append_under_load": appends.append_under_load,
    "append_many": appends.append_many,
    "list_events": reads.list_events,
    "listing": listing,
    "history": history,
    "indexes": appends.indexes,
    "big": appends.big,
    "messages": appends.messages,
    "tool_calls": appends.tool_calls,
    "turn": turns.turn,
    "follow": follow,
    "full_durability": appends.full_durability,
    "postgres": postgres,
    "postgres_listing": postgres_listing,
}
