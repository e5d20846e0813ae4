"""What is measured: the workloads by name, in the order they run.

Each takes a ``Setting`` and gives comparisons one by one. README.md says what each
stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.running.measure import Comparisons
from bench.running.setting import Setting
from bench.workloads.appends import (
    append,
    append_many,
    append_under_load,
    full_durability,
)
from bench.workloads.follow import follow
from bench.workloads.history import history
from bench.workloads.large_store import big, indexes
from bench.workloads.listing import listing
from bench.workloads.messages import messages, tool_calls
from bench.workloads.postgres import postgres
from bench.workloads.postgres_listing import postgres_listing
from bench.workloads.reads import list_events
from bench.workloads.turns import turn

_IN_ORDER: Final[tuple[Callable[[Setting], Comparisons], ...]] = (
    *(append, append_under_load, append_many, list_events, listing, history),
    *(indexes, big, messages, tool_calls, turn, follow, full_durability),
    *(postgres, postgres_listing),
)
WORKLOADS: Final = {each.__name__: each for each in _IN_ORDER}
