"""Opens stores, and lets them be collected unclosed; prints threads and descriptors
before and after.

    python -m tests.support.programs.unclosed URL
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading

from tests.support.patience import until
from turnstore import SessionStore, StoreOptions


def held() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


async def leave_open(url: str) -> None:
    store = SessionStore(url, StoreOptions(migrate="auto"))
    await store.open()
    session = await store.sessions.create()
    assert await store.events.append(session.id, "t") == 1
    assert await store.events.head(session.id) == 1
    await store.events.follow(session.id, idle_timeout_s=0).__anext__()


async def main(url: str) -> None:
    async with SessionStore(url, StoreOptions(migrate="auto")):
        pass
    gc.collect()
    before = held()
    for _ in range(3):
        await leave_open(url)
        assert held() != before

        def is_given_back() -> bool:
            gc.collect()
            return held() == before

        await until(is_given_back)
    print("given back")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
