"""Histories of six clients in three processes are linearizable, session by session."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import go, line
from tests.support.linearizability import Operation, is_linearizable
from tests.support.patience import LIMIT_S
from tests.support.programs import ROOT, command
from turnstore import SessionStore

PROCESSES = 3
CALLS = 17
"""Of each client to each session: six make about a hundred calls."""
HISTORIES = 50
"""Of each start of the processes."""

Log = tuple[tuple[Any, ...], tuple[tuple[str, int], ...]]
"""The events of a session, and the first seq of each key."""
EMPTY: Log = ((), ())


def step(state: Log, operation: Operation) -> Log | None:
    """What one session does, in a few lines: the model."""
    events, keys = state
    name, argument, result = operation.name, operation.argument, operation.result
    is_known = operation.ended is not None
    if name == "read":
        return state if list(events) == result else None
    if name == "head":
        return state if len(events) == result else None
    if name == "append_key":
        first = dict(keys).get(argument)
        if first is not None:
            return state if not is_known or result == first else None
        keys = (*keys, (argument, len(events) + 1))
    if name == "append_at":
        argument, expected = argument
        if expected != len(events):
            return (
                state if not is_known or result == ["conflict", len(events)] else None
            )
    fits = not is_known or result == len(events) + 1
    return ((*events, argument), keys) if fits else None


def record(path: Path, sessions: list[str], seed: int) -> dict[str, list[Operation]]:
    """Run the clients; return what they say of each session."""
    children = [
        subprocess.Popen(
            command(
                "recording",
                f"sqlite:///{path}",
                f"p{at}-",
                ",".join(sessions),
                seed,
                CALLS,
            ),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(PROCESSES)
    ]
    try:
        for child in children:
            assert line(child) == "ready"
        for child in children:
            go(child)
        outputs = [child.communicate(timeout=LIMIT_S)[0] for child in children]
        assert [child.returncode for child in children] == [0] * PROCESSES
    finally:
        for child in children:
            child.kill()
            child.wait()
    histories: dict[str, list[Operation]] = defaultdict(list)
    for each in "".join(outputs).splitlines():
        session, *rest = json.loads(each)
        histories[session].append(Operation(*rest))
    return histories


async def make(path: Path, sessions: list[str]) -> None:
    async with SessionStore(path) as store:
        for each in sessions:
            await store.sessions.create(id=each)


def checked(histories: dict[str, list[Operation]]) -> int:
    for session, history in histories.items():
        history.sort(key=lambda each: each.began)
        assert is_linearizable(history, EMPTY, step), f"{session}: {history}"
    return sum(map(len, histories.values()))


@pytest.mark.timeout(3_600)
def test_histories_are_linearizable(
    store_path: Path, rng: random.Random, rounds: int
) -> None:
    calls = histories = 0
    for number in range(max(1, rounds // 5)):
        sessions = [f"{number}-{at}" for at in range(HISTORIES)]
        asyncio.run(make(store_path, sessions))
        found = record(store_path, sessions, rng.randrange(2**32))
        calls += checked(found)
        histories += len(found)
    print(f"{histories} histories of {calls} calls")


def test_the_check_finds_a_stale_read_and_a_lost_append() -> None:
    """What a store that fails would leave."""
    written = Operation("append", "a", 1, 0, 1)
    unknown = Operation("append", "b", None, 2, None)
    fresh = Operation("read", None, ["a"], 3, 4)
    later = Operation("read", None, ["a", "b"], 5, 6)
    assert is_linearizable([written, unknown, fresh, later], EMPTY, step)
    assert is_linearizable([written, unknown, fresh], EMPTY, step)
    stale = Operation("read", None, [], 3, 4)
    assert not is_linearizable([written, stale], EMPTY, step)
    back = Operation("read", None, ["a"], 7, 8)
    assert not is_linearizable([written, unknown, later, back], EMPTY, step)
    twice = Operation("append", "c", 1, 2, 3)
    assert not is_linearizable([written, twice], EMPTY, step)
    # While it was under way both are right.
    during = Operation("read", None, [], 0, 4)
    assert is_linearizable([written, during], EMPTY, step)


def test_a_stale_read_planted_in_a_history_is_found(
    store_path: Path, rng: random.Random
) -> None:
    names = [f"s{at}" for at in range(20)]
    asyncio.run(make(store_path, names))
    # Not every history has a long read.
    for name in names:
        history = record(store_path, [name], rng.randrange(2**32))[name]
        checked({name: history})
        long = [
            at
            for at, each in enumerate(history)
            if each.name == "read" and len(each.result) > 20
        ]
        if long:
            break
    at = max(long)
    read = history[at]
    stale = Operation("read", None, read.result[:5], read.began, read.ended)
    planted = [*history[:at], stale, *history[at + 1 :]]
    assert not is_linearizable(planted, EMPTY, step)
