"""A child process: opens the store at argv[1] and appends argv[3] events to session
argv[2], printing each seq once it is acknowledged. Begins at a line on stdin."""

from __future__ import annotations

import asyncio
import sys

from tests.support.patience import patient
from turnstore import SessionStore


async def main() -> None:
    path, session_id, count = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    async with SessionStore(f"sqlite:///{path}", patient()) as store:
        print("open", flush=True)
        for at in range(int(count)):
            seq = await store.events.append(session_id, "t", {"at": at})
            print(seq, flush=True)


asyncio.run(main())
