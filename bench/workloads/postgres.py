"""Appending events on PostgreSQL, by one process and by several."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.data.rows import EVENT_DATA, EVENT_KIND
from bench.references import PLAIN, RAW_POSTGRES
from bench.references.plain import POOL, PlainStore, postgres_engine
from bench.references.raw_postgres import RawAppends
from bench.running.measure import Comparison, Comparisons, Reference, compare
from bench.running.server import new_database, running_server
from bench.running.setting import Setting, drive
from bench.workloads.appends import store_append
from turnstore import SessionStore, StoreOptions

if TYPE_CHECKING:
    from tests.support.postgres.server import PostgresServer

ROOT: Final = Path(__file__).resolve().parents[2]
PROCESSES: Final = 4
CALLS: Final = {1: 500, 512: 40_000}


def postgres(setting: Setting) -> Comparisons:
    """N tasks, a session each, each appending one event at a time and awaiting it,
    with ``durability="full"``; and the same from several processes."""
    with running_server() as server:
        for tasks in CALLS:
            yield _append(setting, server, tasks)
        yield _processes(setting, server)


def _append(setting: Setting, server: PostgresServer, tasks: int) -> Comparison:
    calls = max(setting.pick(CALLS[tasks], CALLS[tasks] // 20), 2 * tasks)
    plain_calls = setting.pick(1_500, 100)
    url = setting.run(new_database(server, f"turnstore_{tasks}"))
    raw_url = setting.run(new_database(server, f"raw_{tasks}"))
    ids = setting.run(_sessions(url, tasks))
    setting.run(_sessions(raw_url, tasks))
    plain_url = setting.run(new_database(server, f"plain_{tasks}"))
    with (
        setting.store(url, "full") as store,
        setting.entered(PlainStore(postgres_engine(plain_url), ids)) as plain_store,
        setting.entered(RawAppends(raw_url, tasks)) as raw,
    ):
        append = store_append(store, ids)

        def plain(task: int) -> Awaitable[object]:
            return plain_store.append_event(ids[task], EVENT_KIND, EVENT_DATA)

        setting.run(drive(tasks, 2 * tasks, append))
        setting.run(drive(tasks, max(POOL, tasks), plain))
        return compare(
            "postgres",
            f"{tasks:,} task{'s' if tasks > 1 else ''}, durability full",
            "events/s",
            lambda: setting.run(drive(tasks, calls, append)),
            Reference(RAW_POSTGRES, lambda: setting.run(raw.append(calls // tasks))),
            Reference(PLAIN, lambda: setting.run(drive(tasks, plain_calls, plain))),
            rounds=setting.rounds,
            tasks=tasks,
        )


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
        Reference("turnstore, one process", lambda: _run_processes(url, ids, 1, calls)),
        rounds=setting.rounds,
    )


def _run_processes(url: str, ids: list[str], count: int, calls: int) -> float:
    """Return events per second of all processes, from the first to the last call."""
    spans = []
    with _started(url, count, calls // count) as children:
        for at, child in enumerate(children):
            _tell(child, json.dumps(ids[at::count]))
            assert _answer(child) == "ready\n"
        for child in children:
            _tell(child, "go")
        for child in children:
            spans.append(json.loads(_answer(child)))
    took_s: float = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return calls / took_s


@contextmanager
def _started(url: str, count: int, calls: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the processes, and wait for their end or bring it about."""
    program = [sys.executable, "-m", "bench.workloads.postgres_process"]
    children = [
        subprocess.Popen(
            [*program, url, str(calls)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            process_group=0,  # an interrupt is for this process alone
        )
        for _ in range(count)
    ]
    try:
        yield children
    except BaseException:
        for child in children:
            child.kill()
        raise
    finally:
        for child in children:
            child.communicate()


def _tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


async def _sessions(url: str, count: int) -> list[str]:
    async with SessionStore(url, StoreOptions(migrate="auto")) as store:
        made = await asyncio.gather(*(store.sessions.create() for _ in range(count)))
    return [each.id for each in made]
