"""Random cancellations: each call raised and wrote nothing, or returned and wrote."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import until
from turnstore import SessionStore, StoreOptions

pytestmark = pytest.mark.anyio

CANCELLATIONS = 1_000
CALLERS = 64
SESSIONS = 8


class Storm:
    """``CALLERS`` tasks that append and read, each call a task of its own that may be
    cancelled."""

    def __init__(self, store: SessionStore, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.running: set[asyncio.Task[Any]] = set()
        self.calls: list[tuple[str, int, asyncio.Task[int]]] = []
        self.cancelled = 0

    async def run(self) -> None:
        callers = [asyncio.create_task(self._call()) for _ in range(CALLERS)]
        while self.cancelled < CANCELLATIONS:
            for _ in range(self.rng.randrange(4)):
                await asyncio.sleep(0)
            for task in self.rng.sample(
                sorted(self.running, key=lambda each: each.get_name()),
                k=min(len(self.running), self.rng.randrange(8)),
            ):
                self.cancelled += not task.done()
                task.cancel()
            # The commits happen on a thread, which needs the GIL now and then.
            await asyncio.sleep(0.000_2)
        await asyncio.wait(callers)

    async def _call(self) -> None:
        while self.cancelled < CANCELLATIONS:
            session = f"s{self.rng.randrange(SESSIONS)}"
            if self.rng.random() < 0.1:
                await self._settled(
                    asyncio.create_task(self.store.events.list(session, limit=10))
                )
                continue
            mark = len(self.calls)
            append = self.store.events.append(session, "t", {"mark": mark})
            task = asyncio.create_task(append)
            self.calls.append((session, mark, task))
            await self._settled(task)

    async def _settled(self, task: asyncio.Task[Any]) -> None:
        self.running.add(task)
        await asyncio.wait([task])
        self.running.discard(task)


async def test_a_thousand_cancellations(store_path: Path, rng: random.Random) -> None:
    options = StoreOptions(queue_commands_max=32, batch_commands_max=16)
    async with SessionStore(store_path, options) as store:
        for at in range(SESSIONS):
            await store.sessions.create(id=f"s{at}")
        storm = Storm(store, rng)
        await storm.run()
        await check(store, storm)
        await check_nothing_leaked(store, options.readers)


async def check(store: SessionStore, storm: Storm) -> None:
    assert storm.cancelled >= CANCELLATIONS
    kept: dict[tuple[str, int], int] = {}
    for at in range(SESSIONS):
        found = await store.events.list(f"s{at}")
        assert [each.seq for each in found] == list(range(1, len(found) + 1))
        kept |= {(each.session_id, each.data["mark"]): each.seq for each in found}
    raised = 0
    for session, mark, task in storm.calls:
        assert task.done()
        if task.cancelled():
            raised += 1
            assert (session, mark) not in kept
        else:
            assert kept.pop((session, mark)) == task.result()
    assert kept == {}
    assert 0 < raised < len(storm.calls)


async def check_nothing_leaked(store: SessionStore, readers: int) -> None:
    pool: Any = store._backend._readers  # type: ignore[attr-defined]
    # Where a read was cancelled its thread may have to end it yet.
    await until(lambda: len(pool._idle) == readers)
    before = await store.statistics()
    assert before.queue_depth == 0
    head = await store.events.head("s0")
    assert await store.events.append("s0", "t") == head + 1
    heads = await asyncio.gather(*[store.events.head("s0") for _ in range(readers)])
    assert heads == [head + 1] * readers
    after = await store.statistics()
    assert after.reader_waits == before.reader_waits
