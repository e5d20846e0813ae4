"""Running work to its end when its caller is cancelled, and cancelling later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def run_to_completion(work: Awaitable[T]) -> T:
    """Run ``work`` to its end whatever cancels the caller, then raise that.

    Some libraries cancel again at every turn of the loop until they are obeyed; the
    first cancellation is the one that is raised.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = cancellation or error
    if cancellation is None:
        return task.result()
    mark_seen(task)
    raise cancellation


def mark_seen(future: asyncio.Future[Any]) -> None:
    """Retrieve the outcome of work whose caller takes no interest in it any more, so
    that asyncio does not report its error."""
    if not future.cancelled():
        future.exception()


def redeliver_cancellation(cancellation: asyncio.CancelledError) -> None:
    """Re-raise a cancellation at the task's next await: it arrived after the commit
    that it was meant to stop."""
    task = asyncio.current_task()
    assert task is not None, "a cancellation reaches only a task"
    # Behind what is ready now, and so not before the caller waits for something: were
    # it set on the running task, a caller that leaves its timeout block without
    # waiting would meet a stray cancellation outside of it.
    task.get_loop().call_soon(_cancel_again, task, cancellation)


def _cancel_again(
    task: asyncio.Task[Any], cancellation: asyncio.CancelledError
) -> None:
    """Cancel a task with the message it was cancelled with.

    The count of requests stays as it was. If it has fallen to zero, whoever asked
    (a timeout block, say) has been left and no longer wants the cancellation.
    """
    if not task.done() and task.cancelling():
        task.uncancel()
        task.cancel(*cancellation.args)
