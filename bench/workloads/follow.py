"""Following: what followers and appends see of each other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

from bench.data import fill
from bench.data.rows import EVENT_DATA, EVENT_KIND
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, drive
from bench.workloads.appends import store_append
from turnstore import Follower, SessionStore

SESSIONS: Final = 256
RATE: Final = 5_000
"""Events a second, over all sessions."""
SETTLED_S: Final = 1
"""After this long every follower has begun, or been given everything."""

OTHER_PROCESS: Final = """
import asyncio, random, sys
from turnstore import SessionStore

async def main(path, count, *session_ids):
    async with SessionStore(f"sqlite:///{path}") as store:
        for at in range(int(count)):
            await asyncio.sleep(random.uniform(0.005, 0.025))
            await store.events.append(random.choice(session_ids), "part", {"at": at})

asyncio.run(main(*sys.argv[1:]))
"""


def follow(setting: Setting) -> Comparisons:
    """256 sessions with a follower each, while 5,000 events a second come in.

    Every run checks that each follower was given each event once, in order.
    """
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", SESSIONS)
        with setting.store(folder / "turnstore.db") as store:
            setting.run(drive(SESSIONS, 2 * SESSIONS, store_append(store, ids)))
            yield _delay(setting, store, ids)
            yield _latency(setting, store, ids)
            yield _flat_out(setting, store, ids)
            yield _from_another_process(setting, store, folder / "turnstore.db", ids)


def _delay(setting: Setting, store: SessionStore, ids: list[str]) -> Comparison:
    async def turnstore() -> float:
        async with _followed(store, ids) as delays_ms:
            await _paced(store, ids, setting.pick(4 * RATE, RATE // 10))
        return median(delays_ms)

    return compare(
        "follow",
        f"delay, {SESSIONS} followers, {RATE:,} events/s",
        "ms",
        lambda: setting.run(turnstore()),
        Reference("the limit", lambda: 10, Goal(at_most=1)),
        rounds=setting.rounds,
    )


def _latency(setting: Setting, store: SessionStore, ids: list[str]) -> Comparison:
    calls = setting.pick(4 * RATE, RATE // 10)

    async def turnstore() -> float:
        async with _followed(store, ids):
            return median(await _paced(store, ids, calls))

    return compare(
        "follow",
        f"latency of an append, {RATE:,} events/s",
        "ms",
        lambda: setting.run(turnstore()),
        Reference(
            "turnstore, without followers",
            lambda: median(setting.run(_paced(store, ids, calls))),
            Goal(at_most=1.5),
        ),
        rounds=setting.rounds,
    )


def _flat_out(setting: Setting, store: SessionStore, ids: list[str]) -> Comparison:
    calls = SESSIONS * setting.pick(200, 8)

    async def turnstore() -> float:
        async with _followed(store, ids):
            return await drive(SESSIONS, calls, store_append(store, ids))

    return compare(
        "follow",
        f"{SESSIONS} tasks appending, a follower each",
        "events/s",
        lambda: setting.run(turnstore()),
        Reference(
            "turnstore, without followers",
            lambda: setting.run(drive(SESSIONS, calls, store_append(store, ids))),
        ),
        rounds=setting.rounds,
        tasks=SESSIONS,
    )


def _from_another_process(
    setting: Setting, store: SessionStore, path: Path, ids: list[str]
) -> Comparison:
    async def turnstore() -> float:
        async with _followed(store, ids) as delays_ms:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", OTHER_PROCESS, str(path)),
                *(str(setting.pick(200, 10)), *ids),
                stdin=subprocess.DEVNULL,
                process_group=0,  # an interrupt is for this process alone
            )
            try:
                assert await child.wait() == 0
            finally:
                if child.returncode is None:
                    child.kill()
        return median(delays_ms)

    return compare(
        "follow",
        "delay, from another process",
        "ms",
        lambda: setting.run(turnstore()),
        Reference("the limit", lambda: 250, Goal(at_most=1)),
        rounds=setting.rounds,
    )


@asynccontextmanager
async def _followed(store: SessionStore, ids: list[str]) -> AsyncIterator[list[float]]:
    """Follow each session; give the delays, and check at the end what was given.

    A delay begins at the time that the event bears, which is that of its transaction,
    so the commit is part of it.
    """
    delays_ms: list[float] = []
    seqs = {name: await store.events.head(name) for name in ids}

    async def watch(name: str, follower: Follower) -> None:
        async for event in follower:
            delay = datetime.now(UTC) - event.created_at
            delays_ms.append(delay / timedelta(milliseconds=1))
            seqs[name] += 1
            assert event.seq == seqs[name], "missed or repeated"

    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        for name in ids:
            follower = store.events.follow(name, after=seqs[name])
            await stack.enter_async_context(follower)
            group.create_task(watch(name, follower))
        await asyncio.sleep(SETTLED_S)
        yield delays_ms
        await asyncio.sleep(SETTLED_S)
        heads = {name: await store.events.head(name) for name in ids}
        assert seqs == heads, "missed"


async def _paced(store: SessionStore, ids: list[str], calls: int) -> list[float]:
    """Append at ``RATE``, a task for each session; return the milliseconds of each."""
    interval_s = len(ids) / RATE
    latencies_ms: list[float] = []
    began_s = perf_counter()
    chance = Random(1)

    async def append(name: str, first_s: float) -> None:
        for at in range(calls // len(ids)):
            due_s = began_s + first_s + at * interval_s
            await asyncio.sleep(max(0, due_s - perf_counter()))
            called_s = perf_counter()
            await store.events.append(name, EVENT_KIND, EVENT_DATA)
            latencies_ms.append((perf_counter() - called_s) * 1_000)

    async with asyncio.TaskGroup() as group:
        for name in ids:
            group.create_task(append(name, chance.uniform(0, interval_s)))
    return latencies_ms
