"""Turns: several rows of a session as one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Final

import msgspec

from bench.data import fill
from bench.data.rows import (
    EVENT_DATA,
    EVENT_JSON,
    EVENT_KIND,
    MESSAGE_JSON,
    MESSAGE_TEXT,
)
from bench.references import RAW_SQLITE
from bench.references.raw_sqlite import RawTurns, connect
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, drive
from bench.workloads.appends import store_append
from turnstore import SessionStore

ARGUMENTS: Final = {"command": "pytest -q tests/parser"}

APPEND_GOAL: Final = Goal(at_least=0.625)


def turn(setting: Setting) -> Comparisons:
    """N tasks, a session each, each committing one turn at a time: a message, two tool
    calls that it asks for and four events. Compared with the same tasks appending one
    event at a time."""
    for tasks in (64, 512):
        yield _turn(setting, tasks)


def _turn(setting: Setting, tasks: int) -> Comparison:
    turns, appends = tasks * setting.pick(20, 4), tasks * setting.pick(80, 8)
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", tasks)
        fill.uniform_sessions(folder / "appends.db", tasks)
        fill.uniform_sessions(folder / "raw.db", tasks)
        with (
            setting.store(folder / "turnstore.db") as store,
            setting.store(folder / "appends.db") as other,
            closing(connect(folder / "raw.db", setting.durability)) as connection,
        ):
            arguments = msgspec.json.encode(ARGUMENTS).decode()
            raw = RawTurns(connection, MESSAGE_JSON, arguments, EVENT_JSON)
            append = store_append(other, ids)
            setting.run(drive(tasks, 2 * tasks, commit(store, ids)))
            setting.run(drive(tasks, 2 * tasks, append))
            return compare(
                "turn",
                f"{tasks} tasks, 7 rows a turn",
                "turns/s",
                lambda: setting.run(drive(tasks, turns, commit(store, ids))),
                Reference(
                    "turnstore, one event per call",
                    lambda: setting.run(drive(tasks, appends, append)),
                    APPEND_GOAL if tasks == 64 else None,
                ),
                Reference(RAW_SQLITE, lambda: raw.write(tasks, turns // tasks)),
                # Short rounds, and more of them: both sides meet the same noise.
                rounds=setting.rounds * setting.pick(3, 1),
            )


def commit(store: SessionStore, ids: list[str]) -> Callable[[int], Awaitable[object]]:
    """Return what commits a turn of a task's session."""

    async def call(task: int) -> None:
        async with store.turn(ids[task]) as turn:
            message_id = turn.message("assistant", MESSAGE_TEXT)
            for _ in range(2):
                turn.tool_call("bash", ARGUMENTS, message_id=message_id)
            for _ in range(4):
                turn.event(EVENT_KIND, EVENT_DATA)

    return call
