"""How long tests wait for what is bound to come.

A limit catches a hang and measures nothing: it is hundreds of times what an idle
machine takes, and it grows with the time that a fixed piece of work takes when the run
begins. Processes that a run starts inherit what it has measured.

A store that a test opens has ``PATIENT`` timeouts wherever a busy machine could let one
expire. Where a timeout is the subject, the test puts the ``clock`` forward, or sets one
that only the subject can exceed.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from turnstore import StoreOptions

VARIABLE: Final = "TURNSTORE_TESTS_SLOWNESS"
SLOWNESS_MAX: Final = 10.0
_STEPS: Final = 1_000_000
_STEPS_S: Final = 0.05
"""How long the steps take on an idle machine of average speed."""
_PAUSE_S: Final = 0.001


def _measured() -> float:
    began_s = time.perf_counter()
    for _ in range(_STEPS):
        pass
    took_s = time.perf_counter() - began_s
    return min(max(1.0, took_s / _STEPS_S), SLOWNESS_MAX)


SLOWNESS: Final = float(os.environ.setdefault(VARIABLE, f"{_measured():.1f}"))
"""How many times slower than an idle one this machine is taken to be."""
LIMIT_S: Final = 60 * SLOWNESS
"""Longest wait for anything inside a test."""


async def until(condition: Callable[[], object]) -> None:
    """Let others run until a condition holds that they are bound to bring about.

    :param condition: may return an awaitable, where somebody else is asked.
    """
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            # What is waited for may happen on another thread, which needs the GIL for
            # it, so not sleep(0).
            await asyncio.sleep(_PAUSE_S)


PATIENT: Final[dict[str, float]] = {
    "busy_timeout_s": 3_600,
    "acquire_timeout_s": 3_600,
    "answer_timeout_s": 3_600,
    "close_timeout_s": 3_600,
    "queue_timeout_s": 3_600,
    "replica_wait_s": 60,
}
"""Timeouts of a store, as long as they may be: beyond ``LIMIT_S``, but for the last."""


def patient(**options: Any) -> StoreOptions:
    return StoreOptions(**{**PATIENT, **options})


def without_polls(**options: Any) -> StoreOptions:
    """Options of a store whose followers learn of events by other ways than polling.

    The longest interval that an option may give is within ``LIMIT_S``.
    """
    made = patient(**options)
    msgspec.structs.force_setattr(made, "poll_interval_s", 1e6)
    return made
