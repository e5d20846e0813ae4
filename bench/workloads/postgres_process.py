"""One of the processes of the workload ``postgres``: appends when it is told to.

Arguments: the URL and the number of calls. It reads session ids from standard input,
says "ready", waits for a line, and prints when it began and ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench.running.setting import drive
from bench.workloads.appends import store_append
from turnstore import SessionStore, StoreOptions


async def main(url: str, calls: int) -> None:
    ids = json.loads(sys.stdin.readline())
    async with SessionStore(url, StoreOptions(durability="full")) as store:
        append = store_append(store, ids)
        await drive(len(ids), 2 * len(ids), append)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_s = time.time()
        await drive(len(ids), calls, append)
        print(json.dumps([began_s, time.time()]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
