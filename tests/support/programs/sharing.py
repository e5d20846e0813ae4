"""Appends to shared sessions; started as a process of its own, several at a time.

Arguments: the URL, this process' name, how many sessions, how many rounds.
"""

from __future__ import annotations

import asyncio
import random
import sys

from tests.support.patience import patient
from turnstore import NewEvent, SessionExists, SessionStore


async def main(url: str, name: str, sessions: int, rounds: int) -> None:
    chance = random.Random(name)
    async with SessionStore(url, patient()) as store:
        names = [f"s{n}" for n in range(sessions)]
        for each in names:
            try:
                await store.sessions.create(id=each)
            except SessionExists:
                pass

        async def work(n: int) -> None:
            first, second = chance.sample(names, 2)
            match n % 3:
                case 0:
                    await store.events.append(first, "t", [name, n])
                case 1:
                    rows = [NewEvent(type="t", data=[name, n, part]) for part in (1, 2)]
                    await store.events.append_many(first, rows)
                case _:
                    async with store.turn(first) as turn:
                        turn.message("user", f"{name} {n}")
                        turn.event("t", [name, n, 1])
                        turn.event("t", [name, n, 2], session_id=second)

        await asyncio.gather(*(work(n) for n in range(rounds)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
