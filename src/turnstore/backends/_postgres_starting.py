"""Tasks that take their first step at once."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


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
