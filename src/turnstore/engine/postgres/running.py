"""Synchronous work whose steps are asynchronous, in a greenlet that is kept.

SQLAlchemy runs the like in a new greenlet each time. For each of these CPython maps a
stack into memory and unmaps it at the end: 12 to 25 µs of the 160 of processor time
that a read by key takes, and of every batch.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator
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


def start_now(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]
) -> asyncio.Future[T]:
    """Run ``work`` to its first wait, and what is left of it as a task.

    A task that is made as usual takes its first step behind all that is ready to run.
    When several lanes are done at a time that is every caller of all of them: the
    server would wait until the last one has had its turn, and then all lanes would be
    done at a time again.

    Until its first wait ``work`` has no task of its own: it must not begin with a
    timeout, which would cancel the caller's.
    """
    ended: asyncio.Future[T] = loop.create_future()
    try:
        awaited = work.send(None)
    except StopIteration as done:
        ended.set_result(done.value)
    except Exception as error:
        ended.set_exception(error)
    else:
        return loop.create_task(_rest(work, awaited))
    return ended


async def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    # A coroutine, as a task takes no other generator since Python 3.12.
    return await _steps(work, awaited)


@types.coroutine
def _steps(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    result: T
    while True:
        try:
            # The future that it waits for goes to the task as it is; an error is thrown
            # into the work, which may wait again.
            yield awaited
        except BaseException as error:
            try:
                awaited = work.throw(error)
            except StopIteration as done:
                result = done.value
                return result
        else:
            result = yield from work
            return result
