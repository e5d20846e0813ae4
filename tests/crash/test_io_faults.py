"""An error at every n-th call on a file, once and from then on.

Each write is acknowledged and present, or refused by a typed error and absent; where
a commit itself failed it says so (``OutcomeUnknown``). The file opens again, whole.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.ledger import Ledger, verify
from tests.support.points import ERRORS, SCENARIOS, Point, points, prepare
from tests.support.scenarios import scenarios
from turnstore import SessionStore

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(faults.WHY_NOT is not None, reason=str(faults.WHY_NOT)),
]


FAILURES_OF_A_ROUND = 30


async def problems(path: Path) -> list[str]:
    async with SessionStore(path) as store:
        return await store.admin.check()


def failures(found: list[Point]) -> list[Point]:
    """Return each point with each error, once and for ever."""
    return [
        {**point, "what": what, "for_ever": for_ever}
        for point in found
        for what in ERRORS[point["operation"]]
        for for_ever in (False, True)
    ]


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_call_that_fails(
    scenario: str,
    tmp_path: Path,
    rng: random.Random,
    rounds: int,
    sqlite_template: bytes,
) -> None:
    """Two failures of each scenario by default, all with ``--crash-rounds=100``."""
    shim = faults.Faults.make(tmp_path)
    with scenarios(shim.environment) as running:
        order = partial(running.run, scenario=scenario, durability="full")
        found = failures(points(order, shim, tmp_path, scenario, sqlite_template))
        count = 2 if rounds <= 5 else FAILURES_OF_A_ROUND * rounds
        drawn = rng.sample(found, min(len(found), count))
        for number, fault in enumerate(drawn):
            folder = tmp_path / f"fault {number}"
            prepare(folder, scenario, sqlite_template)
            path, ledger = folder / "store.db", Ledger()
            # A disk that fails for ever is no lock to wait for.
            made = order(ledger, path=path, seed="f", fault=fault, busy_timeout_s=0.5)
            assert made.status in (0, 3), fault
            if path.exists():
                verify(path, ledger)
            for copy in made.copies:
                assert asyncio.run(problems(copy)) == [], fault
    print(f"{scenario}: {len(drawn)} of {len(found)} failures")
