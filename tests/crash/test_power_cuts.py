"""Power cuts under load, by a file system that loses what was not synchronized.

``durability="full"``: nothing acknowledged is lost. ``"normal"``: the newest writes may
be, with all that began once the first lost one had been acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.ledger import Ledger, verify
from tests.support.scenarios import Scenarios, scenarios
from tests.support.shutdown_disk import ShutdownDisk, shutdown_disk, why_not

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

CUTS_OF_A_FILE = 10


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped, or has ended with it."""
    states = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended since
            states.append(thread.read_text().rpartition(")")[2].split()[0])
    return all(state in "TtZX" for state in states)


def cut(
    disk: ShutdownDisk,
    running: Scenarios,
    ledger: Ledger,
    path: Path,
    durability: str,
    rng: random.Random,
) -> None:
    def strike(pid: int) -> None:
        if rng.random() < 0.5:
            # No synchronization races with the cut: whatever the child has said counts.
            os.kill(pid, signal.SIGSTOP)
            while not is_stopped(pid):
                time.sleep(0.001)
        else:
            ledger.is_cut = True
        disk.cut_power()
        with suppress(ProcessLookupError):  # it may have failed and ended by itself
            os.kill(pid, signal.SIGKILL)

    run = running.run(
        ledger,
        scenario="every_write",
        path=path,
        durability=durability,
        seed=f"{rng.randrange(2**32)}",
        lines=rng.choice([rng.randrange(2, 60), rng.randrange(60, 1_500)]),
        strike=strike,
    )
    assert run.status in (-signal.SIGKILL, 3), run.failures
    ledger.is_cut = False
    disk.unmount()
    disk.mount()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ShutdownDisk]:
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(shutdown_disk(tmp_path))
        except OSError as error:
            pytest.skip(f"no loop device here: {error}")
        yield disk


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_cuts_under_load(
    durability: str, disk: ShutdownDisk, rng: random.Random, rounds: int
) -> None:
    losses: list[int] = []
    with scenarios() as running:
        for number in range(max(2, rounds * 3 // 2)):
            if number % CUTS_OF_A_FILE == 0:
                ledger = Ledger()
                folder = disk.mounted / f"{number}"
                # The one before would fill the disk.
                for before in disk.mounted.glob("*0"):
                    shutil.rmtree(before)
                folder.mkdir()
                os.sync()
            cut(disk, running, ledger, folder / "store.db", durability, rng)
            is_normal = durability == "normal"
            if (folder / "store.db").exists() or not is_normal:
                losses.append(
                    verify(folder / "store.db", ledger, may_lose_last=is_normal)
                )
    print(f"{durability}: {len(losses)} cuts, lost {sorted(losses)}")
    if durability == "full":
        assert sum(losses) == 0
