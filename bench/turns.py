"""The workload of turns: several rows of a session as one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Final

import msgspec

from bench import fill
from bench.floor import TurnFloor, connect
from bench.measure import Bar, Comparison, Other, compare
from bench.setting import Setting, drive
from turnstore import SessionStore

KIND: Final = "message.part"
ARGUMENTS: Final = {"command": "pytest -q tests/parser"}

APPEND_BAR: Final = Bar(at_least=0.625)


def turn(setting: Setting) -> list[Comparison]:
    """N tasks, a session each, each committing one turn at a time: a message, two tool
    calls that it asks for and four events. Beside the same tasks appending one event
    at a time."""
    return [_turn(setting, tasks) for tasks in (64, 512)]


def _turn(setting: Setting, tasks: int) -> Comparison:
    turns, appends = tasks * setting.pick(20, 4), tasks * setting.pick(80, 8)
    with setting.folder() as folder:
        ids = fill.plain_sessions(folder / "ours.db", tasks)
        fill.plain_sessions(folder / "appends.db", tasks)
        fill.plain_sessions(folder / "floor.db", tasks)
        with (
            setting.store(folder / "ours.db") as store,
            setting.store(folder / "appends.db") as other,
            closing(connect(folder / "floor.db", setting.durability)) as raw,
        ):
            floor = TurnFloor(
                raw,
                fill.MESSAGE_JSON,
                msgspec.json.encode(ARGUMENTS).decode(),
                fill.EVENT_JSON,
            )

            def append(task: int) -> Awaitable[object]:
                return other.events.append(ids[task], KIND, fill.EVENT_DATA)

            setting.run(drive(tasks, 2 * tasks, commit(store, ids)))
            setting.run(drive(tasks, 2 * tasks, append))
            return compare(
                "turn",
                f"{tasks} tasks, 7 rows a turn",
                "turns/s",
                lambda: setting.run(drive(tasks, turns, commit(store, ids))),
                Other(
                    "one event, appended",
                    lambda: setting.run(drive(tasks, appends, append)),
                    APPEND_BAR if tasks == 64 else None,
                ),
                Other("floor", lambda: floor.write(tasks, turns // tasks)),
                # Short rounds, and more of them: both sides meet the same noise.
                rounds=setting.rounds * setting.pick(3, 1),
            )


def commit(store: SessionStore, ids: list[str]) -> Callable[[int], Awaitable[object]]:
    """Return what commits a turn of a task's session."""

    async def call(task: int) -> None:
        async with store.turn(ids[task]) as turn:
            message_id = turn.message("assistant", fill.MESSAGE_TEXT)
            for _ in range(2):
                turn.tool_call("bash", ARGUMENTS, message_id=message_id)
            for _ in range(4):
                turn.event(KIND, fill.EVENT_DATA)

    return call
