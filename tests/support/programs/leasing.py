"""A child process that runs sessions under leases until it is killed.

Each event has the token of the lease that it was written under, and the name of the
process. Prints a line once it holds its first session, and one for each lease lost.

Arguments: the URL, this process' name, ``ttl_s``, how many sessions.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from turnstore import LeaseHeld, LeaseLost, SessionStore, StoreOptions

TURNS_MAX = 40
PAUSE_S = 0.01


async def run(store: SessionStore, session_id: str, name: str, ttl_s: float) -> None:
    chance = random.Random(f"{name} {session_id}")
    while True:
        try:
            async with store.sessions.lease(session_id, ttl_s=ttl_s) as lease:
                os.write(1, b"held\n")
                for _ in range(chance.randrange(TURNS_MAX)):
                    async with store.turn(session_id, lease=lease) as turn:
                        turn.event("e", [lease.token, name])
                    await asyncio.sleep(PAUSE_S)
        except LeaseHeld:
            pass
        except LeaseLost:
            os.write(1, b"lost\n")
        await asyncio.sleep(PAUSE_S * chance.randrange(1, 10))


async def main(url: str, name: str, ttl_s: float, sessions: int) -> None:
    # A process that is stopped within a commit holds the lock of a SQLite file.
    options = StoreOptions(busy_timeout_s=60)
    async with SessionStore(url, options) as store, asyncio.TaskGroup() as group:
        for at in range(sessions):
            group.create_task(run(store, f"s{at}", name, ttl_s))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
