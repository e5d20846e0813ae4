"""Every public method, cancelled at each of its awaits and at random turns of the loop.

A call that raises the cancellation wrote nothing; any other has its result, and the
cancellation comes at the caller's next await. No task, thread or connection is left.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.every_method import (
    call_of,
    every_name,
    prepare_for,
    rows,
    settled,
)
from tests.support.patience import LIMIT_S, patient, until
from turnstore import SessionStore

pytestmark = pytest.mark.anyio

When = Literal["suspended", "ready"]
TURNS_MAX = 60
AWAITS_MAX = 30
RANDOM_OF_A_ROUND = 3
READERS = 1


class CancelledAt:
    """Awaits a call, and cancels the task at the ``n``-th of its awaits: as it is
    suspended, or as it is about to go on with a result that is there."""

    def __init__(self, call: Coroutine[Any, Any, Any], n: int, when: When) -> None:
        self._call, self._n, self._when = call, n, when
        self.reached = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        waiting = self._call.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                awaited = waiting.send(value) if error is None else waiting.throw(error)
            except StopIteration as end:
                return end.value
            value, error = None, None
            self.reached += 1
            if self.reached == self._n:
                if self._when == "ready" and awaited is not None:
                    blocking = awaited._asyncio_future_blocking
                    awaited.add_done_callback(lambda _: task.cancel())
                    awaited._asyncio_future_blocking = blocking
                else:
                    task.cancel()
            try:
                value = yield awaited
            except BaseException as raised:
                error = raised


class Trial:
    """One store on which a method is cancelled again and again."""

    def __init__(self, store: SessionStore, name: str, folder: Path) -> None:
        self.store, self.name = store, name
        self.call = call_of(name, folder)
        self.count = 0
        self.cancelled = 0
        self.awaits = 0
        self.writes = False

    async def begin(self) -> None:
        await self.store.sessions.create(id="barrier")
        session = await self._session()
        before = await rows(self.store)
        await self.call(self.store, session)
        self.writes = await rows(self.store) != before

    async def _session(self) -> str:
        self.count += 1
        session = f"s{self.count}"
        await prepare_for(self.store, self.name, session)
        return session

    async def at_await(self, n: int, when: When) -> bool:
        """Cancel at an await; tell whether there was one."""
        session = await self._session()
        before = await rows(self.store)
        cancelled = CancelledAt(self.call(self.store, session), n, when)

        async def run() -> Any:
            return await cancelled

        await self._check(asyncio.create_task(run()), before)
        self.awaits += cancelled.reached
        return cancelled.reached >= n

    async def at_turn(self, turns: int) -> None:
        session = await self._session()
        before = await rows(self.store)
        task = asyncio.create_task(self.call(self.store, session))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await self._check(task, before)

    async def _check(
        self, task: asyncio.Task[Any], before: dict[str, list[str]]
    ) -> None:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait([task])
        after = await rows(self.store)
        if task.cancelled():
            self.cancelled += 1
            assert after == before, f"{self.name} raised the cancellation and wrote"
        else:
            assert task.exception() is None
            assert (after != before) == self.writes, f"{self.name}: no such result"

    async def nothing_is_left(self, tasks: set[asyncio.Task[Any]]) -> None:
        await settled(self.store)
        await until(lambda: asyncio.all_tasks() <= tasks)
        # Each reader is free, and the writer works.
        before = await self.store.statistics()
        await asyncio.gather(
            *(self.store.events.head("barrier") for _ in range(READERS))
        )
        after = await self.store.statistics()
        assert after.reader_waits == before.reader_waits


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", every_name())
async def test_a_cancelled_method(
    name: str,
    made_store: Path,
    tmp_path: Path,
    rng: random.Random,
    rounds: int,
) -> None:
    async with SessionStore(made_store, patient(readers=READERS)) as store:
        await cancel(store, name, tmp_path, rng, rounds)


async def cancel(
    store: SessionStore, name: str, tmp_path: Path, rng: random.Random, rounds: int
) -> None:
    tasks = asyncio.all_tasks()
    trial = Trial(store, name, tmp_path)
    await trial.begin()
    # The threads of connections are made by now.
    threads = set(threading.enumerate())
    whens: tuple[When, ...] = ("suspended", "ready")
    for when in whens:
        n = 1
        while n <= AWAITS_MAX and await trial.at_await(n, when):
            n += 1
    for _ in range(2 if rounds <= 5 else RANDOM_OF_A_ROUND * rounds):
        await trial.at_turn(rng.randrange(TURNS_MAX))
    await trial.nothing_is_left(tasks)
    assert set(threading.enumerate()) <= threads
    assert trial.cancelled or not trial.awaits
    print(f"{name}: {trial.count - 1} cancellations, {trial.cancelled} raised")
