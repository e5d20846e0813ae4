"""Tasks whose first step is taken at once."""

from __future__ import annotations

import asyncio

import pytest

from turnstore.engine.postgres.running import start_now

pytestmark = pytest.mark.anyio


async def test_the_first_step_is_taken_before_what_is_ready() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "ready before")

    async def work() -> str:
        seen.append("first step")
        await asyncio.sleep(0)
        seen.append("second step")
        await asyncio.sleep(0)
        return "done"

    task = start_now(loop, work())
    assert seen == ["first step"]
    assert await task == "done"
    assert seen == ["first step", "ready before", "second step"]


async def test_work_that_waits_for_nothing_is_done() -> None:
    async def work() -> int:
        return 1

    task = start_now(asyncio.get_running_loop(), work())
    assert task.done()
    assert await task == 1


async def test_errors_are_the_task_s() -> None:
    loop = asyncio.get_running_loop()

    async def at_first() -> None:
        raise ValueError("at first")

    async def later() -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    for work, text in ((at_first(), "at first"), (later(), "later")):
        task = start_now(loop, work)
        with pytest.raises(ValueError, match=text):
            await task


async def test_what_is_awaited_first_may_fail_and_be_awaited_again() -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(3)]

    async def work() -> list[str]:
        seen = []
        for each in futures:
            try:
                await each
            except ValueError as error:
                seen.append(str(error))
        return seen

    task = start_now(loop, work())
    for number, each in enumerate(futures):
        each.set_exception(ValueError(str(number)))
    assert await task == ["0", "1", "2"]


async def test_a_cancellation_reaches_each_wait() -> None:
    loop = asyncio.get_running_loop()
    reached = 0

    async def work() -> int:
        nonlocal reached
        for _ in range(2):
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                reached += 1
        return reached

    task = start_now(loop, work())
    for count in (1, 2):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert reached == count
    assert await task == 2


async def test_a_cancellation_ends_work_that_lets_it_pass() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    task = start_now(loop, work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
