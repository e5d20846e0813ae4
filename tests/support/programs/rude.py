"""A rude neighbour on the file at argv[2], until it is killed.

argv[1]: ``locks`` holds the write lock most of the time, ``reads`` keeps snapshots,
``maintains`` checkpoints and vacuums in a loop. The pauses set how rude, no order.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from tests.support.patience import patient
from turnstore import SessionStore
from turnstore.engine.sqlite.library import library

HELD_S = 0.05
FREE_S = 0.01
SNAPSHOT_S = 0.5


async def maintain(path: str) -> None:
    async with SessionStore(Path(path), patient()) as store:
        print("ready", flush=True)
        while True:
            await store.admin.checkpoint()
            await store.admin.vacuum()
            await asyncio.sleep(FREE_S)


def main(how: str, path: str) -> None:
    if how == "maintains":
        asyncio.run(maintain(path))
    connection = library().module.connect(path, isolation_level=None, timeout=3_600)
    print("ready", flush=True)
    while True:
        connection.execute("BEGIN IMMEDIATE" if how == "locks" else "BEGIN")
        connection.execute("SELECT count(*) FROM events").fetchall()
        time.sleep(HELD_S if how == "locks" else SNAPSHOT_S)
        connection.execute("COMMIT")
        time.sleep(FREE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
