"""Queues of callers that wait, in the order they came."""

from __future__ import annotations

import asyncio

import pytest

from turnstore import AcquireTimeout, StoreClosed
from turnstore.engine.waiters import ReadWaiters, Waiters

pytestmark = pytest.mark.anyio

LONG_S = 60.0


def reads(timeout_s: float = LONG_S) -> ReadWaiters[str]:
    return ReadWaiters(timeout_s, asyncio.get_running_loop())


async def test_who_came_first_is_first_whoever_left_between() -> None:
    queue = Waiters(LONG_S, print, asyncio.get_running_loop())
    for name in "abcd":
        queue.add(name)
    queue.remove("a")
    queue.remove("c")
    queue.remove("c")
    assert list(queue) == ["b", "d"]
    assert [queue.pop(), queue.pop()] == ["b", "d"]
    assert not queue


async def test_whose_time_is_up_has_left_and_is_told_once() -> None:
    late: asyncio.Queue[str] = asyncio.Queue()
    queue = Waiters(0, late.put_nowait, asyncio.get_running_loop())
    for name in "abc":
        queue.add(name)
    assert queue.pop() == "a"
    queue.remove("b")
    # Timers of the same time run in the order they were set.
    assert await late.get() == "c"
    assert late.empty() and not queue


async def test_what_is_given_goes_to_the_first_who_still_waits() -> None:
    queue, back = reads(), list[str]()
    tasks = [asyncio.create_task(queue.wait(back.append)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert queue.give("x")
    assert await tasks[1] == "x"
    assert tasks[0].cancelled() and back == []
    assert queue.give("y") and not queue.give("z")
    assert await tasks[2] == "y"
    assert queue.total == 3


async def test_a_cancellation_after_it_was_given_gives_it_back() -> None:
    queue, back = reads(), list[str]()
    task = asyncio.create_task(queue.wait(back.append))
    await asyncio.sleep(0)
    assert queue.give("x")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and back == ["x"]


async def test_those_turned_away_get_an_error_of_their_own() -> None:
    queue, back = reads(), list[str]()
    tasks = [asyncio.create_task(queue.wait(back.append)) for _ in range(2)]
    await asyncio.sleep(0)
    queue.turn_away(lambda: StoreClosed("over"))
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, StoreClosed) and isinstance(second, StoreClosed)
    assert first is not second and not queue


async def test_nothing_in_time() -> None:
    queue = reads(timeout_s=0)
    with pytest.raises(AcquireTimeout, match="raise readers"):
        await queue.wait(lambda _: None)
    assert not queue.give("x")
