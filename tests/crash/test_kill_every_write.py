"""kill -9 over every kind of write, maintenance, opening and closing, at random and
at each call on a file.

Acknowledged means present, exactly once and whole; refused means absent; what was under
way is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.ledger import Ledger, verify
from tests.support.points import CHATS, KILLED, SCENARIOS, points, prepare
from tests.support.scenarios import scenarios
from turnstore import SessionStore, transfer
from turnstore.transfer.report import ImportReport

pytestmark = pytest.mark.crash

KILLS_OF_A_ROUND = 2
KILLS_OF_A_FILE = 20


async def problems(path: Path) -> list[str]:
    async with SessionStore(path) as store:
        return await store.admin.check()


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_killed_at_a_random_moment(
    durability: str, tmp_path: Path, rng: random.Random, rounds: int
) -> None:
    """A file goes through several deaths: each opening recovers from the last."""
    acknowledged = 0
    with scenarios() as running:
        for kill in range(rounds * KILLS_OF_A_ROUND):
            if kill % KILLS_OF_A_FILE == 0:
                folder = tmp_path / str(kill)
                folder.mkdir()
                ledger = Ledger()
            run = running.run(
                ledger,
                scenario="every_write",
                path=folder / "store.db",
                durability=durability,
                seed=f"{rng.randrange(2**32)}",
                lines=rng.choice([1, rng.randrange(2, 30), rng.randrange(30, 600)]),
            )
            assert run.status == -signal.SIGKILL
            assert run.failures == []
            # A kill between two commits left a tool call open.
            assert set(ledger.errors) <= {"PendingToolCalls"}
            acknowledged += ledger.acknowledged
            verify(folder / "store.db", ledger)
            for copy in run.copies[-1:]:
                assert asyncio.run(problems(copy)) == []
    assert acknowledged > rounds


@pytest.mark.timeout(3_600)
@pytest.mark.skipif(faults.WHY_NOT is not None, reason=str(faults.WHY_NOT))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_a_call_on_a_file(
    scenario: str,
    tmp_path: Path,
    rng: random.Random,
    rounds: int,
    sqlite_template: bytes,
) -> None:
    """At one moment for each round, until it has been at all of them."""
    shim = faults.Faults.make(tmp_path)
    with scenarios(shim.environment) as running:
        order = partial(running.run, scenario=scenario, durability="full")
        found = points(order, shim, tmp_path, scenario, sqlite_template)
        for number, point in enumerate(rng.sample(found, min(len(found), rounds))):
            folder = tmp_path / f"kill {number}"
            prepare(folder, scenario, sqlite_template)
            ledger = Ledger()
            fault = {**point, "what": KILLED}
            run = order(ledger, path=folder / "store.db", seed="k", fault=fault)
            assert run.status in (-signal.SIGKILL, 0), point
            if scenario != "migration" or (folder / "store.db").exists():
                verify(folder / "store.db", ledger)
            for copy in folder.glob("copy.db"):
                assert asyncio.run(problems(copy)) == []
            if scenario == "chat_import":
                again, sessions = asyncio.run(imported_again(folder))
                assert sessions == CHATS
                assert again.problems == ()


async def imported_again(folder: Path) -> tuple[ImportReport, int]:
    async with SessionStore(folder / "store.db") as store:
        report = await transfer.import_file(store, folder / "chats.jsonl")
        assert await store.admin.check() == []
        return report, await store.sessions.count()
