"""Eight processes of eight tasks on one file, with neighbours that get in the way.

One holds the write lock most of the time, one keeps snapshots, one checkpoints and
vacuums; half of the writers are killed and started again.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.children import Child, line
from tests.support.ledger import WORKERS, Ledger, verify
from tests.support.scenarios import scenarios
from turnstore import SessionStore

pytestmark = pytest.mark.crash

PROCESSES = 8


async def make(path: Path) -> None:
    async with SessionStore(path) as store:
        for at in range(WORKERS):
            await store.sessions.create(id=f"s{at}")


def work(path: Path, seed: str, rounds: int) -> Ledger:
    """Run one process after another; return what they said."""
    rng, ledger = random.Random(seed), Ledger()
    with scenarios() as running:
        for number in range(rounds):
            is_killed = rng.random() < 0.5
            run = running.run(
                ledger,
                scenario="some_writes",
                path=path,
                seed=f"{seed} {number}",
                busy_timeout_s=3_600,
                lines=rng.randrange(2, 60) if is_killed else None,
            )
            assert run.status in (0, -signal.SIGKILL)
            assert run.failures == []
    return ledger


@pytest.mark.timeout(3_600)
def test_eight_processes_and_rude_neighbours(
    store_path: Path, start: Callable[..., Child], rng: random.Random, rounds: int
) -> None:
    asyncio.run(make(store_path))
    for how in ("locks", "reads", "maintains"):
        assert line(start("rude", how, store_path)) == "ready"
    seeds = [f"{rng.randrange(2**32)}" for _ in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        worked = list(pool.map(lambda seed: work(store_path, seed, rounds // 5), seeds))
    merged = Ledger()
    for each in worked:
        assert set(each.errors) <= {"PendingToolCalls"}
        merged.entries |= each.entries
    verify(store_path, merged)
    print(f"{merged.acknowledged} acknowledged")
    assert merged.acknowledged
