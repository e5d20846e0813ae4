"""Reads a session of large events, and prints how much that took.

    python -m tests.support.programs.large_reader URL stream|follow

The session has 200 MB: half of it one text per event, half many small objects. Prints
the events, the peak memory above that before the reading in MiB, and the longest stop
of the event loop in milliseconds of the process's CPU time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.support.patience import patient
from turnstore import Event, SessionStore

EVENTS = 20
EVENT_BYTES = 10_000_000
TICK_S = 0.002

PEAK_MIB_MAX = 150
STOP_MS_MAX = 1_000
"""Of CPU time, in which the reading thread's own is counted too: 90 on an idle machine.
The whole session at a time takes 4,000."""


def missing() -> str | None:
    """Say why memory can't be measured here."""
    if Path("/proc/self/clear_refs").exists():
        return None
    return "the peak of memory is asked of Linux"


async def fill(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    row = {"name": "a row of a result", "values": [1, 2.5, None]}
    several = {"rows": [row] * (EVENT_BYTES // 56)}
    one = {"image": "A" * EVENT_BYTES}
    for n in range(EVENTS):
        await store.events.append("s", "e", several if n % 2 else one)


async def watch(stops_s: list[float]) -> None:
    while True:
        began_s = time.process_time()
        await asyncio.sleep(TICK_S)
        stops_s.append(time.process_time() - began_s)


async def main(arguments: Sequence[str]) -> None:
    url, way = arguments
    async with SessionStore(url, patient()) as store:
        await fill(store)
    gc.collect()
    async with SessionStore(url, patient()) as store:
        events: AsyncIterator[Event] = store.events.stream("s")
        if way == "follow":
            events = store.events.follow("s", idle_timeout_s=0)
        stops_s: list[float] = []
        before_kib = forget_peak()
        watching = asyncio.create_task(watch(stops_s))
        count = 0
        async for event in events:
            count += event.seq == count + 1
            del event
        watching.cancel()
        peak_mib = (memory_kib("VmHWM") - before_kib) // 1024
        print(count, peak_mib, int(max(stops_s) * 1_000))


def memory_kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(name)


def forget_peak() -> int:
    """Have the peak begin anew; return the memory in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_kib("VmRSS")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
