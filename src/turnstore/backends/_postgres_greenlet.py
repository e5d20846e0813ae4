"""Synchronous work whose steps are asynchronous, in a greenlet that is kept.

SQLAlchemy runs the like in a new greenlet each time. For each of these CPython maps a
stack into memory and unmaps it at the end: 12 to 25 µs of the 160 of processor time
that a read by key takes, and of every batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")

_DONE: Final = object()


class KeptGreenlet(greenlet):  # type: ignore[misc]
    """Runs one piece of work after another, for one connection."""

    # Where SQLAlchemy finds this it may wait: it switches to the parent, with what is
    # to be awaited.
    __sqlalchemy_greenlet_provider__: Final = True

    def __init__(self) -> None:
        super().__init__(_serve)
        # Not given by ``switch``: what it is given first it holds as long as it lives.
        self.work: Callable[[], Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    async def perform(self, work: Callable[[], T]) -> T:
        """Run ``work`` and await its steps. A cancellation is raised in the step."""
        self.parent = getcurrent()
        self.gr_context = self.parent.gr_context
        self.work = work
        step = self.switch()
        while step is not _DONE:
            try:
                value = await step
            except BaseException:
                step = self.throw(*sys.exc_info())
            else:
                step = self.switch(value)
        result, self.result = self.result, None
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
            done: T = result
            return done
        finally:
            del error  # else it would hold this frame, and this frame it


def _serve() -> None:
    # It has no name for the greenlet itself: that would keep both for ever.
    while True:
        work, getcurrent().work = getcurrent().work, None
        try:
            getcurrent().result = work()
        except GreenletExit:  # nobody holds the greenlet any more
            raise
        except BaseException as error:
            getcurrent().error = error
        del work
        getcurrent().parent.switch(_DONE)
