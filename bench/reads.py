"""The workload that reads the events of a session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from time import perf_counter
from typing import Any

import msgspec

from bench import fill
from bench.floor import connect
from bench.measure import Bar, Comparison, Other, compare
from bench.setting import Setting, busy_loop, latency_ms

Call = Callable[[int], Awaitable[None]]
Raw = Callable[[int, Callable[[str], Any]], float]


def list_events(setting: Setting) -> list[Comparison]:
    """1,000 events of one session, on an idle event loop and on a busy one.

    Beside it: every row fetched and its data decoded, nothing else; on the busy loop
    that runs on a thread, so that the loop goes on.
    """
    sessions, size = setting.pick(100, 10), 1_000
    with setting.folder() as folder:
        path = folder / "ours.db"
        ids = fill.plain_sessions(path, sessions, events_each=size)
        with setting.store(path) as store, closing(connect(path)) as connection:

            async def call(at: int) -> None:
                await store.events.list(ids[at % sessions])

            def raw(calls: int, decode: Callable[[str], Any]) -> float:
                began_s = perf_counter()
                for at in range(calls):
                    _fetch_events(connection, at % sessions + 1, decode)
                return (perf_counter() - began_s) * 1_000 / calls

            return [
                _list_idle(setting, call, raw, size),
                _list_busy(setting, call, raw, size),
            ]


def _list_idle(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    calls = setting.pick(100, 5)
    bar = Bar(at_most=1.5)
    return compare(
        "list_events",
        f"{size:,} events, idle",
        "ms",
        lambda: setting.run(latency_ms(calls, call)),
        Other("raw, msgspec", lambda: raw(calls, msgspec.json.decode), bar),
        Other("raw, json", lambda: raw(calls, json.loads), bar),
        rounds=setting.rounds,
    )


def _list_busy(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    async def ours() -> float:
        async with busy_loop():
            return await latency_ms(setting.pick(20, 3), call)

    async def on_a_thread() -> float:
        async with busy_loop():
            calls = setting.pick(5, 1)
            return await asyncio.to_thread(raw, calls, msgspec.json.decode)

    return compare(
        "list_events",
        f"{size:,} events, busy loop",
        "ms",
        lambda: setting.run(ours()),
        Other(
            "raw on a thread",
            lambda: setting.run(on_a_thread()),
            Bar(at_least=20),
            inverse=True,
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
