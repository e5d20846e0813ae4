"""Reading large events on PostgreSQL: bounded memory, and sessions beyond 1 GB."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.support.programs import ROOT, command
from tests.support.programs.large_reader import (
    EVENTS,
    PEAK_MIB_MAX,
    STOP_MS_MAX,
    missing,
)
from turnstore import SessionStore

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("way", ["stream", "follow"])
async def test_large_events_are_read_in_bounded_memory_off_the_loop(
    database: str, way: str
) -> None:
    child = await asyncio.create_subprocess_exec(
        *command("large_reader", database, way),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    output, _ = await child.communicate()
    count, peak_mib, stop_ms = map(int, output.split())
    assert count == EVENTS
    assert peak_mib <= PEAK_MIB_MAX
    assert stop_ms <= STOP_MS_MAX


async def test_a_session_beyond_1_gb_can_be_read(store: SessionStore) -> None:
    """No answer of the server has more."""
    await store.sessions.create(id="s")
    image = "A" * 15_600_000
    for n in range(70):
        await store.events.append("s", "e", {"n": n, "image": image})
    numbers = [event.data["n"] async for event in store.events.stream("s")]
    assert numbers == list(range(70))
