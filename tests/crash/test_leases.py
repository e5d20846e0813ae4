"""Holders that are killed, or stopped and continued after others took over.

Every turn appends the token of its lease. So the log of a session proves that no two
holders could write: its tokens never go back. No session stays without a holder for
longer than the time to live and what a takeover takes.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child
from tests.support.patience import SLOWNESS, patient
from tests.support.programs import ROOT, command
from turnstore import SessionStore

pytestmark = [pytest.mark.crash, pytest.mark.anyio]

TTL_S = 1
TAKEOVER_S = 10 * SLOWNESS
"""Longest time from the end of a lease until another process writes."""
SESSIONS = 6
PROCESSES = 3


class Runners:
    """Processes that run the same sessions, and what each has lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count(1)
        self.running: list[Child] = []
        self.lost = 0

    def start(self) -> Child:
        name = f"p{next(self._numbers)}"
        child = subprocess.Popen(
            command("leasing", self._url, name, TTL_S, SESSIONS),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(child)
        return child

    def end(self, child: Child) -> None:
        self.running.remove(child)
        child.send_signal(signal.SIGCONT)
        child.kill()
        assert child.stdout is not None
        self.lost += child.stdout.read().count("lost")
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL


def holds(child: Child) -> None:
    """Wait until a process has a lease; from then on it has some at most times."""
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"


@contextmanager
def runners(url: str) -> Iterator[Runners]:
    made = Runners(url)
    try:
        for _ in range(PROCESSES):
            made.start()
        yield made
    finally:
        for child in list(made.running):
            made.end(child)


async def made_sessions(store: SessionStore) -> None:
    for n in range(SESSIONS):
        await store.sessions.create(id=f"s{n}")


async def check(store: SessionStore) -> dict[str, Any]:
    """Check the logs; return what was seen in them."""
    holders: dict[int, str] = {}
    events, gap_s = 0, 0.0
    for n in range(SESSIONS):
        log = [each async for each in store.events.stream(f"s{n}")]
        rows: list[Any] = [each.data for each in log]
        tokens = [token for token, _ in rows]
        assert tokens == sorted(tokens), f"a token went back in s{n}"
        for token, name in rows:
            assert holders.setdefault(token, name) == name, "two holders of one token"
        events += len(log)
        times = [each.created_at.timestamp() for each in log]
        gap_s = max([gap_s, *(after - before for before, after in pairwise(times))])
    assert await store.admin.check() == []
    return {"events": events, "tokens": len(holders), "longest gap s": round(gap_s, 2)}


async def kill_holders(url: Any, store: SessionStore, kills: int, rng: Any) -> Any:
    await made_sessions(store)
    with runners(str(url)) as made:
        for each in made.running:
            holds(each)
        for _ in range(kills):
            await asyncio.sleep(rng.random() * 0.5)
            made.end(rng.choice(made.running))
            holds(made.start())
        # Every session goes on.
        heads = [await store.events.head(f"s{n}") for n in range(SESSIONS)]
        began_s = time.monotonic()
        for n, head in enumerate(heads):
            while await store.events.head(f"s{n}") == head:
                assert time.monotonic() - began_s < TTL_S + TAKEOVER_S
                await asyncio.sleep(0.02)
    seen = await check(store)
    assert seen["longest gap s"] < TTL_S + TAKEOVER_S
    return seen


async def stop_holders(url: Any, store: SessionStore, stops: int, rng: Any) -> Any:
    """Stop processes until others write what they held, then let them go on."""
    await made_sessions(store)
    within = 0
    with runners(str(url)) as made:
        for each in made.running:
            holds(each)
        for _ in range(stops):
            await asyncio.sleep(rng.random() * 0.3)
            child = rng.choice(made.running)
            child.send_signal(signal.SIGSTOP)
            before = [await store.events.head(f"s{n}") for n in range(SESSIONS)]
            until_s = time.monotonic() + 3 * TTL_S
            for n, head in enumerate(before):
                while await store.events.head(f"s{n}") == head:
                    if time.monotonic() > until_s:
                        # Stopped inside a commit: it holds the file, and nobody writes.
                        within += 1
                        break
                    await asyncio.sleep(0.02)
                else:
                    continue
                break
            child.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
    return await check(store) | {"lost turns": made.lost, "inside a commit": within}


def say(request: pytest.FixtureRequest, seen: dict[str, Any]) -> None:
    if request.config.option.lease_kills or request.config.option.lease_stops:
        print(request.node.name, seen, file=sys.__stderr__, flush=True)


async def test_killed_holders_on_sqlite(
    store: SessionStore,
    store_path: Path,
    rng: random.Random,
    request: pytest.FixtureRequest,
) -> None:
    kills = request.config.option.lease_kills or 4
    say(request, await kill_holders(f"sqlite:///{store_path}", store, kills, rng))


async def test_killed_holders_on_postgres(
    database: str, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    kills = request.config.option.lease_kills or 4
    async with SessionStore(database, patient()) as store:
        say(request, await kill_holders(database, store, kills, rng))


async def test_stopped_holders_on_sqlite(
    store: SessionStore,
    store_path: Path,
    rng: random.Random,
    request: pytest.FixtureRequest,
) -> None:
    stops = request.config.option.lease_stops or 3
    say(request, await stop_holders(f"sqlite:///{store_path}", store, stops, rng))


async def test_stopped_holders_on_postgres(
    database: str, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    stops = request.config.option.lease_stops or 3
    async with SessionStore(database, patient()) as store:
        say(request, await stop_holders(database, store, stops, rng))
