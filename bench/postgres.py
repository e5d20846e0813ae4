"""The workload on PostgreSQL: appends beside a plain port and beside the bare driver.

The server is the tests' own, with its disk writes synchronous, on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import fill
from bench.measure import Comparison, Other, compare
from bench.port import POOL, PlainPort, postgres_engine
from bench.setting import Setting, drive
from turnstore import SessionStore, StoreOptions

if TYPE_CHECKING:
    from tests.support.postgres.server import PostgresServer

ROOT: Final = Path(__file__).resolve().parents[1]
KIND: Final = "message.part"
PROCESSES: Final = 4
CALLS: Final = {1: 500, 512: 40_000}


def postgres(setting: Setting) -> list[Comparison]:
    """N tasks, a session each, each appending one event at a time and awaiting it,
    with ``durability="full"``; and the same from several processes."""
    with running_server("postgres") as server:
        if server is None:
            return []
        found = [_append(setting, server, tasks) for tasks in CALLS]
        found.append(_processes(setting, server))
        return found


@contextmanager
def running_server(workload: str) -> Iterator[PostgresServer | None]:
    """Give a running server, None where there can be none, which is printed."""
    from tests.support.postgres.server import PostgresServer, missing

    reason = missing()
    if reason is not None:
        print(f"{workload}: {reason}")
        yield None
        return
    server = PostgresServer({"shared_buffers": "128MB", "max_wal_size": "1GB"})
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _append(setting: Setting, server: PostgresServer, tasks: int) -> Comparison:
    calls = max(setting.pick(CALLS[tasks], CALLS[tasks] // 20), 2 * tasks)
    port_calls = setting.pick(1_500, 100)
    url = setting.run(new_database(server, f"ours_{tasks}"))
    bare_url = setting.run(new_database(server, f"bare_{tasks}"))
    ids = setting.run(_sessions(url, tasks))
    setting.run(_sessions(bare_url, tasks))
    port_url = setting.run(new_database(server, f"port_{tasks}"))
    store = SessionStore(url, StoreOptions(durability="full"))
    port = PlainPort(postgres_engine(port_url), ids)
    bare = BareAppends(bare_url, tasks)
    setting.run(store.open())
    setting.run(port.__aenter__())
    setting.run(bare.open())
    try:

        def ours(task: int) -> Any:
            return store.events.append(ids[task], KIND, fill.EVENT_DATA)

        def its(task: int) -> Any:
            return port.append_event(ids[task], KIND, fill.EVENT_DATA)

        setting.run(drive(tasks, 2 * tasks, ours))
        setting.run(drive(tasks, max(POOL, tasks), its))
        return compare(
            "postgres",
            f"{tasks:,} tasks, durability full",
            "events/s",
            lambda: setting.run(drive(tasks, calls, ours)),
            Other("bare unnest", lambda: setting.run(bare.append(calls // tasks))),
            Other("port", lambda: setting.run(drive(tasks, port_calls, its))),
            rounds=setting.rounds,
            tasks=tasks,
        )
    finally:
        setting.run(bare.close())
        setting.run(port.__aexit__())
        setting.run(store.close())


def _processes(setting: Setting, server: PostgresServer) -> Comparison:
    tasks = 512
    calls = setting.pick(CALLS[tasks], 2 * tasks)
    url = setting.run(new_database(server, "processes"))
    ids = setting.run(_sessions(url, tasks))
    return compare(
        "postgres",
        f"{PROCESSES} processes, {tasks // PROCESSES} tasks each",
        "events/s",
        lambda: _run_processes(url, ids, PROCESSES, calls),
        Other("one process", lambda: _run_processes(url, ids, 1, calls)),
        rounds=setting.rounds,
    )


def _run_processes(url: str, ids: list[str], count: int, calls: int) -> float:
    """Return events per second of all processes, from the first to the last call."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.postgres", url, str(calls // count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(count)
    ]
    spans = []
    try:
        for at, child in enumerate(children):
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(json.dumps(ids[at::count]) + "\n")
            child.stdin.flush()
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            assert child.stdout is not None
            spans.append(json.loads(child.stdout.readline()))
    finally:
        for child in children:
            child.communicate()
    took_s: float = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return calls / took_s


async def _append_alone(url: str, calls: int) -> None:
    """What each of the processes does."""
    ids = json.loads(sys.stdin.readline())
    async with SessionStore(url, StoreOptions(durability="full")) as store:

        def append(task: int) -> Any:
            return store.events.append(ids[task], KIND, fill.EVENT_DATA)

        await drive(len(ids), 2 * len(ids), append)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_s = time.time()
        await drive(len(ids), calls, append)
        print(json.dumps([began_s, time.time()]), flush=True)


async def new_database(server: PostgresServer, name: str) -> str:
    """Return the URL of a database without tables."""
    import asyncpg

    admin = await asyncpg.connect(server.url())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return server.url(name)


async def _sessions(url: str, count: int) -> list[str]:
    async with SessionStore(url, StoreOptions(migrate="auto")) as store:
        made = await asyncio.gather(*(store.sessions.create() for _ in range(count)))
    return [each.id for each in made]


class BareAppends:
    """One connection of the bare driver: a batch of rows and the upkeep of the heads,
    each as one statement over arrays, and a commit."""

    def __init__(self, url: str, sessions: int) -> None:
        self._url = url
        self._batch = sessions
        self._connection: Any = None
        self._heads: dict[int, int] = {}

    async def open(self) -> None:
        import asyncpg

        self._connection = await asyncpg.connect(self._url)
        rows = await self._connection.fetch("SELECT session_key FROM session_heads")
        self._heads = {row["session_key"]: 0 for row in rows}

    async def close(self) -> None:
        await self._connection.close()

    async def append(self, batches: int) -> float:
        """Return events per second, one of each session in a transaction."""
        began_s = time.perf_counter()
        for _ in range(batches):
            now = time.time_ns() // 1_000
            heads = self._heads = {key: seq + 1 for key, seq in self._heads.items()}
            keys, seqs = list(heads), list(heads.values())
            count = len(keys)
            async with self._connection.transaction():
                await self._connection.execute(_LOCK_HEADS, keys)
                await self._connection.execute(
                    _INSERT_EVENTS,
                    keys,
                    seqs,
                    [KIND] * count,
                    [fill.EVENT_JSON] * count,
                    [now] * count,
                )
                await self._connection.execute(_UPDATE_HEADS, keys, seqs, now)
        return self._batch * batches / (time.perf_counter() - began_s)


_LOCK_HEADS: Final = (
    "SELECT event_head FROM session_heads WHERE session_key = ANY($1::bigint[]) "
    "ORDER BY session_key FOR UPDATE"
)
_INSERT_EVENTS: Final = (
    "INSERT INTO events (session_key, seq, type, data, created_at) "
    "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], "
    "$5::bigint[])"
)
_UPDATE_HEADS: Final = (
    "UPDATE session_heads SET updated_at = $3, event_head = new.seq "
    "FROM unnest($1::bigint[], $2::bigint[]) AS new(session_key, seq) "
    "WHERE session_heads.session_key = new.session_key"
)

if __name__ == "__main__":
    asyncio.run(_append_alone(sys.argv[1], int(sys.argv[2])))
