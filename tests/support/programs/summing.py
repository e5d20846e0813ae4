"""A child process that appends until it is killed, and prints each acknowledged seq.

Each event holds the sum of all earlier seqs of its session, so what is found later
proves itself: a prefix without gaps has the right sums, nothing else has.

Arguments: the file, the durability, callers at the same time, payload bytes.
"""

from __future__ import annotations

import asyncio
import os
import sys

from turnstore import SessionStore, StoreOptions


async def append_for_ever(
    store: SessionStore, session_id: str, total: int, padding: str
) -> None:
    head = await store.events.head(session_id)
    while True:
        data = {"sum": total, "padding": padding}
        seq = await store.events.append(session_id, "t", data, expected_head=head)
        # One write of a short line is atomic in a pipe.
        os.write(1, f"{session_id} {seq}\n".encode())
        head, total = seq, total + seq


async def main() -> None:
    path, durability, callers, padding_bytes = sys.argv[1:]
    options = StoreOptions(durability="full" if durability == "full" else "normal")
    store = SessionStore(f"sqlite:///{path}", options)
    async with store, asyncio.TaskGroup() as group:
        for at in range(int(callers)):
            session_id = f"s{at}"
            if await store.sessions.get(session_id) is None:
                await store.sessions.create(id=session_id)
            head = await store.events.head(session_id)
            total = head * (head + 1) // 2
            padding = "x" * int(padding_bytes)
            group.create_task(append_for_ever(store, session_id, total, padding))


asyncio.run(main())
