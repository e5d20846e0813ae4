"""Reading the events of a session."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from time import perf_counter
from typing import Any

import msgspec

from bench.data import fill
from bench.references import RAW_SQLITE_ON_A_THREAD
from bench.references.raw_sqlite import connect
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, busy_loop, latency_ms, on_a_thread

Call = Callable[[int], Awaitable[None]]
Raw = Callable[[int, Callable[[str], Any]], float]


def list_events(setting: Setting) -> Comparisons:
    """1,000 events of one session, on an idle event loop and on a busy one.

    Raw SQLite fetches every row and decodes its data, nothing else; on the busy loop
    it does so on a thread, so that the loop goes on.
    """
    sessions, size = setting.pick(100, 10), 1_000
    with setting.folder() as folder:
        path = folder / "turnstore.db"
        ids = fill.uniform_sessions(path, sessions, events_each=size)
        with setting.store(path) as store, closing(connect(path)) as connection:

            async def call(at: int) -> None:
                await store.events.list(ids[at % sessions])

            def raw(calls: int, decode: Callable[[str], Any]) -> float:
                began_s = perf_counter()
                for at in range(calls):
                    _fetch_events(connection, at % sessions + 1, decode)
                return (perf_counter() - began_s) * 1_000 / calls

            yield _list_idle(setting, call, raw, size)
            yield _list_busy(setting, call, raw, size)


def _list_idle(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    calls = setting.pick(100, 5)
    goal = Goal(at_most=1.5)
    return compare(
        "list_events",
        f"{size:,} events, idle",
        "ms",
        lambda: setting.run(latency_ms(calls, call)),
        Reference(
            "raw SQLite, data decoded by msgspec",
            lambda: raw(calls, msgspec.json.decode),
            goal,
        ),
        Reference(
            "raw SQLite, data decoded by json", lambda: raw(calls, json.loads), goal
        ),
        rounds=setting.rounds,
    )


def _list_busy(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    async def turnstore() -> float:
        async with busy_loop():
            return await latency_ms(setting.pick(20, 3), call)

    async def fetched() -> float:
        async with busy_loop():
            calls = setting.pick(5, 1)
            return await on_a_thread(raw, calls, msgspec.json.decode)

    return compare(
        "list_events",
        f"{size:,} events, busy loop",
        "ms",
        lambda: setting.run(turnstore()),
        Reference(
            RAW_SQLITE_ON_A_THREAD,
            lambda: setting.run(fetched()),
            Goal(at_most=0.05),
        ),
        rounds=setting.rounds,
    )


def _fetch_events(connection: Any, key: int, decode: Callable[[str], Any]) -> None:
    rows = connection.execute(
        "SELECT seq, type, data, model, turn_id, created_at FROM events "
        "WHERE session_key = ? AND seq > 0 ORDER BY seq",
        (key,),
    ).fetchall()
    [(seq, kind, decode(data), *rest) for seq, kind, data, *rest in rows]
