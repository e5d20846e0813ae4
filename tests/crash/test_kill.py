"""A killed process: what it was told is written is there, what is there is whole.

A kill leaves the page cache, so this can't tell ``durability="normal"`` from
``"full"``; ``test_torn_wal.py`` is about what a power cut leaves.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ROOT, command
from turnstore import SessionStore

pytestmark = pytest.mark.crash

CALLERS = 8


def run_and_kill(path: Path, durability: str, lines: int, padding_bytes: int) -> Any:
    """Let a child append, kill it after some acknowledgements; return the last
    acknowledged seq of each session."""
    child = subprocess.Popen(
        command("summing", path, durability, CALLERS, padding_bytes),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    output = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    output += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    assert child.wait() != 0
    acknowledged: dict[str, int] = {}
    for line in output:
        if line.endswith("\n"):
            session_id, seq = line.split()
            assert int(seq) > acknowledged.get(session_id, 0)
            acknowledged[session_id] = int(seq)
    return acknowledged


async def check(path: Path, acknowledged: dict[str, int]) -> None:
    async with SessionStore(path) as store:
        for session_id, seq in acknowledged.items():
            found = await store.events.list(session_id)
            # At most the one append that was under way is there beyond it.
            assert seq <= len(found) <= seq + 1
            check_sums([event.seq for event in found], found)
            head = await store.events.head(session_id)
            assert head == len(found)
        session_id = next(iter(acknowledged))
        head = await store.events.head(session_id)
        total = head * (head + 1) // 2
        data = {"sum": total, "padding": ""}
        assert await store.events.append(session_id, "t", data) == head + 1


def check_sums(seqs: list[int], found: list[Any]) -> None:
    assert seqs == list(range(1, len(seqs) + 1))
    total = 0
    for event in found:
        assert event.data["sum"] == total
        total += event.seq


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_what_was_acknowledged_is_there(
    durability: str,
    store_path: Path,
    rng: random.Random,
    connect: Callable[[Path], Any],
    request: pytest.FixtureRequest,
) -> None:
    """The rounds go on with the same file, so each also recovers from the last."""
    seen: dict[str, int] = {}
    for _ in range(request.config.option.crash_rounds):
        lines = rng.choice([1, rng.randrange(2, 50), rng.randrange(50, 3_000)])
        padding_bytes = rng.choice([0, 100, 5_000])
        acknowledged = run_and_kill(store_path, durability, lines, padding_bytes)
        assert all(acknowledged.get(each, seen[each]) >= seen[each] for each in seen)
        seen |= acknowledged
        connection = connect(store_path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        asyncio.run(check(store_path, acknowledged))
        seen = asyncio.run(heads(store_path, seen))
    assert sum(seen.values()) > 0


async def heads(path: Path, sessions: dict[str, int]) -> dict[str, int]:
    async with SessionStore(path) as store:
        return {each: await store.events.head(each) for each in sessions}
