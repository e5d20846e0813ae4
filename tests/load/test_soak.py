"""Steady work for ``--soak-s`` seconds: memory, descriptors, threads, log stay flat."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.patience import patient
from turnstore import NewEvent, SessionStore

pytestmark = pytest.mark.anyio

TASKS = 8
MIB = 1024 * 1024
WAL_BYTES_MAX = 16 * MIB
SAMPLES = 40
KEPT = 500
"""Events that each session keeps."""


@dataclass
class Sample:
    memory_bytes: int
    descriptors: int
    threads: int
    wal_bytes: int
    file_bytes: int


async def work(store: SessionStore, session: str, stop: asyncio.Event) -> int:
    """Write, read and follow, and delete what is old, so that the store keeps its
    size."""
    calls = 0
    while not stop.is_set():
        rows = [NewEvent(type="t", data="x" * 500)] * 20
        head = (await store.events.append_many(session, rows))[-1]
        await store.events.list(session, after=head - 5)
        following = store.events.follow(session, after=head - 1)
        async with following:
            await anext(following)
        child = await store.sessions.create(parent_session_id=session)
        await store.messages.append(child.id, "user", "x" * 500)
        async with store.turn(child.id) as turn:
            turn.message("assistant", "y" * 500)
            turn.event("t")
        await store.sessions.delete(child.id)
        await store.events.delete_before(session, max(1, head - KEPT))
        calls += 8
    return calls


async def sample(store: SessionStore, path: Path) -> Sample:
    process = psutil.Process()
    return Sample(
        process.memory_info().rss,
        process.num_fds() if hasattr(process, "num_fds") else 0,
        threading.active_count(),
        (await store.statistics()).wal_bytes,
        os.stat(path).st_size,
    )


@pytest.mark.timeout(36_000)
async def test_nothing_grows(store_path: Path, request: pytest.FixtureRequest) -> None:
    soak_s: float = request.config.option.soak_s
    options = patient(wal_bytes_max=WAL_BYTES_MAX)
    async with SessionStore(store_path, options) as store:
        stop = asyncio.Event()
        for at in range(TASKS):
            await store.sessions.create(id=f"s{at}")
        tasks = [
            asyncio.create_task(work(store, f"s{at}", stop)) for at in range(TASKS)
        ]
        samples: list[Sample] = []
        began_s = time.monotonic()
        for _ in range(SAMPLES):
            await asyncio.sleep(soak_s / SAMPLES)
            samples.append(await sample(store, store_path))
        stop.set()
        calls = sum(await asyncio.gather(*tasks))
        took_s = time.monotonic() - began_s
        assert await store.admin.check() == []
    print(f"{calls} calls in {took_s:.0f} s; {samples[SAMPLES // 2]} to {samples[-1]}")
    early, late = samples[SAMPLES // 4 : SAMPLES // 2], samples[SAMPLES // 2 :]
    assert max(each.threads for each in late) <= max(each.threads for each in early)
    # A follower or a checkpoint may have a file open as the sample is taken.
    descriptors = max(each.descriptors for each in early)
    assert max(each.descriptors for each in late) <= descriptors + 2
    assert max(each.wal_bytes for each in late) <= 2 * WAL_BYTES_MAX
    memory_bytes = max(each.memory_bytes for each in early)
    assert max(each.memory_bytes for each in late) <= memory_bytes * 1.1 + 8 * MIB
