"""The greenlet that a PostgreSQL connection's work runs in, one piece after another."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, TypeVar

import pytest
from sqlalchemy.util import await_only

from turnstore.engine.postgres.running import KeptGreenlet

pytestmark = pytest.mark.anyio
T = TypeVar("T")


async def later(value: T) -> T:
    await asyncio.sleep(0)
    return value


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("told by a step")


async def test_work_follows_work() -> None:
    kept = KeptGreenlet()
    assert await kept.perform(lambda: await_only(later(1)) + await_only(later(2))) == 3
    with pytest.raises(ValueError, match="told by a step"):
        await kept.perform(lambda: await_only(fails()))
    assert await kept.perform(lambda: "without a step") == "without a step"


async def test_a_cancellation_is_raised_in_the_step() -> None:
    kept = KeptGreenlet()
    ended: list[type[BaseException]] = []

    def work() -> None:
        try:
            await_only(asyncio.Event().wait())
        except BaseException as error:
            ended.append(type(error))
            raise

    task = asyncio.ensure_future(kept.perform(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [asyncio.CancelledError]
    assert await kept.perform(lambda: await_only(later(4))) == 4


async def test_nothing_is_kept_but_the_greenlet_itself() -> None:
    """Without help of the garbage collector, which sees no greenlet's frames."""

    class Held:
        pass

    def using(held: Held) -> Any:
        def work() -> None:
            assert held is not None
            await_only(fails())

        return work

    kept, held = KeptGreenlet(), Held()
    of_kept, of_held = weakref.ref(kept), weakref.ref(held)
    try:
        await kept.perform(using(held))
    except ValueError:
        pass  # what pytest.raises gives would hold the frames
    else:
        pytest.fail("the step's error was lost")
    del held
    assert of_held() is None
    del kept
    assert of_kept() is None
