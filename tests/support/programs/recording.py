"""A client of a history: calls one store and says when each call began and ended.

Arguments: URL, name, sessions, seed, calls of each session. Writes one JSON line for
each call, with times of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from typing import Any

from tests.support.patience import patient
from turnstore import OutcomeUnknown, SequenceConflict, SessionStore

CLIENTS = 2
"""Tasks of each process."""


async def call(
    store: SessionStore, session: str, name: str, argument: Any, head: int
) -> Any:
    match name:
        case "append":
            return await store.events.append(session, "t", argument)
        case "append_at":
            try:
                return await store.events.append(
                    session, "t", argument, expected_head=head
                )
            except SequenceConflict as error:
                return ["conflict", error.actual_head]
        case "append_key":
            return await store.events.append(
                session, "t", argument, idempotency_key=argument
            )
        case "head":
            return await store.events.head(session)
        case _:
            return [each.data for each in await store.events.list(session)]


async def client(
    store: SessionStore, name: str, sessions: list[str], seed: str, calls: int
) -> None:
    rng = random.Random(f"{seed} {name}")
    head = 0
    kinds = ["append", "append_at", "append_key", "head", "read", "read"]
    # All clients call the same session, then the next.
    for session, number in itertools.product(sessions, range(calls)):
        kind = rng.choice(kinds)
        argument: Any = f"{name} {number}"
        if kind == "append_key":
            argument = f"key {rng.randrange(4)}"
        began = time.monotonic_ns()
        ended: int | None
        try:
            result = await call(store, session, kind, argument, head)
            ended = time.monotonic_ns()
        except OutcomeUnknown:
            result, ended = None, None
        if kind == "append_at":
            argument = [argument, head]
        if kind == "head":
            head = result
        line = [session, kind, argument, result, began, ended]
        sys.stdout.write(json.dumps(line) + "\n")


async def main(url: str, name: str, sessions: str, seed: str, calls: str) -> None:
    names = sessions.split(",")
    async with SessionStore(url, patient()) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        each = [
            client(store, f"{name}{at}", names, seed, int(calls))
            for at in range(CLIENTS)
        ]
        await asyncio.gather(*each)
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
