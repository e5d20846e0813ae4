"""The workloads that write: events, messages, tool calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from bench import fill
from bench.floor import Durability, EventFloor, MessageFloor, ToolCallFloor, connect
from bench.measure import Bar, Comparison, Other, compare
from bench.port import PlainPort
from bench.setting import Setting, busy_loop, drive
from turnstore import NewEvent, SessionStore

KIND: Final = "message.part"
TOOL_CALL: Final = "call"

APPEND_CALLS: Final = {1: 3_000, 8: 20_000, 64: 60_000, 512: 100_000, 2_048: 120_000}
FLOOR_BARS: Final = {512: Bar(at_least=0.45)}
PORT_BARS: Final = {1: Bar(at_least=6), 512: Bar(at_least=80)}


def append(setting: Setting) -> list[Comparison]:
    """N tasks, a session each, each appending one event at a time and awaiting it."""
    return [
        _append(setting, "append", tasks, setting.durability) for tasks in APPEND_CALLS
    ]


def full_durability(setting: Setting) -> list[Comparison]:
    """``append`` where a returned write survives power loss: synchronous=FULL."""
    return [
        _append(setting, "full_durability", tasks, "full", with_port=False)
        for tasks in (64, 512)
    ]


def _append(
    setting: Setting,
    workload: str,
    tasks: int,
    durability: Durability,
    *,
    with_port: bool = True,
) -> Comparison:
    """Each sample is taken in a new store: the more events a session has, the more
    pages of the index a batch touches (``big`` shows by how much)."""
    calls = setting.pick(APPEND_CALLS[tasks], APPEND_CALLS[tasks] // 20)
    calls = max(calls, 2 * tasks)
    port_calls = setting.pick(1_500, 100)

    def ours() -> float:
        with setting.folder() as folder:
            ids = fill.plain_sessions(folder / "ours.db", tasks)
            with setting.store(folder / "ours.db", durability) as store:
                append = _store_append(store, ids)
                setting.run(drive(tasks, 2 * tasks, append))
                return setting.run(drive(tasks, calls, append))

    def floor() -> float:
        with (
            setting.folder() as folder,
            _event_floor(folder / "floor.db", tasks, durability) as floor,
        ):
            floor.append(tasks, tasks, 2)
            return floor.append(tasks, tasks, calls // tasks)

    def port() -> float:
        ids = [fill.session_id(key) for key in range(1, tasks + 1)]
        with (
            setting.folder() as folder,
            setting.port(folder / "port.db", ids, durability) as port,
        ):
            return setting.run(drive(tasks, port_calls, _port_append(port, ids)))

    bar = FLOOR_BARS.get(tasks) if durability == "normal" else None
    others = [Other("floor", floor, bar)]
    if with_port:
        others.append(Other("port", port, PORT_BARS.get(tasks)))
    return compare(
        workload,
        f"{tasks:,} tasks",
        "events/s",
        ours,
        *others,
        rounds=setting.rounds,
        tasks=tasks,
    )


def append_under_load(setting: Setting) -> list[Comparison]:
    """``append`` at 512 tasks while 200 others keep the event loop busy.

    The floor runs on a thread beside the busy loop, as it would in a process.
    """
    tasks = 512
    with setting.folder() as folder:
        ids = fill.plain_sessions(folder / "ours.db", tasks)
        with (
            setting.store(folder / "ours.db") as store,
            _event_floor(folder / "floor.db", tasks, setting.durability) as floor,
            setting.port(folder / "port.db", ids) as port,
        ):
            calls = tasks * setting.pick(60, 8)

            async def ours() -> float:
                async with busy_loop():
                    return await drive(tasks, calls, _store_append(store, ids))

            async def on_a_thread() -> float:
                batches = setting.pick(4, 1)
                async with busy_loop():
                    return await asyncio.to_thread(floor.append, tasks, tasks, batches)

            async def ported() -> float:
                port_calls = setting.pick(40, 8)
                async with busy_loop():
                    return await drive(tasks, port_calls, _port_append(port, ids))

            return [
                compare(
                    "append_under_load",
                    f"{tasks} tasks, busy loop",
                    "events/s",
                    lambda: setting.run(ours()),
                    Other("floor on a thread", lambda: setting.run(on_a_thread())),
                    Other("port", lambda: setting.run(ported())),
                    rounds=setting.rounds,
                )
            ]


def append_many(setting: Setting) -> list[Comparison]:
    """1,000 events to one session in one call."""
    size, calls = 1_000, setting.pick(60, 5)
    events = [NewEvent(type=KIND, data=fill.EVENT_DATA) for _ in range(size)]
    with setting.folder() as folder:
        ids = fill.plain_sessions(folder / "ours.db", 1)
        with (
            setting.store(folder / "ours.db") as store,
            _event_floor(folder / "floor.db", 1, setting.durability) as floor,
        ):

            def ours() -> float:
                return size * setting.run(
                    drive(1, calls, lambda _: store.events.append_many(ids[0], events))
                )

            ours()
            return [
                compare(
                    "append_many",
                    f"{size:,} events a call",
                    "events/s",
                    ours,
                    Other(
                        "floor",
                        lambda: floor.append(1, size, calls),
                        Bar(at_least=0.6),
                    ),
                    rounds=setting.rounds,
                )
            ]


def indexes(setting: Setting) -> list[Comparison]:
    """What the indexes of ``session_heads`` cost ``append`` at 512 tasks."""
    tasks = 512
    return [
        compare(
            "indexes",
            f"{tasks} tasks",
            "events/s",
            lambda: _rate_in_new(setting, tasks),
            Other(
                "without the indexes",
                lambda: _rate_in_new(setting, tasks, change=_drop_head_indexes),
            ),
            rounds=setting.rounds,
        )
    ]


def _drop_head_indexes(path: Path) -> None:
    with closing(connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master "
            "WHERE type = 'index' AND tbl_name = 'session_heads' AND sql IS NOT NULL"
        ).fetchall()
        for (name,) in names:
            connection.execute(f'DROP INDEX "{name}"')


def big(setting: Setting) -> list[Comparison]:
    """``append`` at 512 tasks in a store of 2 million events, and in an empty one; and
    the same of the floor alone."""
    tasks, sessions = 512, 2_000
    events_each = setting.pick(1_000, 100)
    there = f"{tasks} tasks, {sessions * events_each:,} events there"
    with setting.folder() as folder:
        path = folder / "ours.db"
        ids = fill.plain_sessions(path, sessions, events_each=events_each)
        with setting.store(path) as store:
            ours = compare(
                "big",
                there,
                "events/s",
                lambda: _rate(setting, store, ids[:tasks]),
                Other(
                    "an empty store",
                    lambda: _rate_in_new(setting, sessions, tasks),
                    Bar(at_least=0.8),
                ),
                rounds=setting.rounds,
            )
        floor = compare(
            "big",
            f"the floor, {there}",
            "events/s",
            lambda: _floor_rate(setting, path, tasks),
            Other(
                "an empty file", lambda: _floor_rate_in_new(setting, sessions, tasks)
            ),
            rounds=setting.rounds,
        )
        return [ours, floor]


def _floor_rate_in_new(setting: Setting, sessions: int, tasks: int) -> float:
    with setting.folder() as folder:
        fill.plain_sessions(folder / "floor.db", sessions)
        return _floor_rate(setting, folder / "floor.db", tasks)


def _floor_rate(setting: Setting, path: Path, tasks: int) -> float:
    with closing(connect(path, setting.durability)) as connection:
        floor = EventFloor(connection, fill.EVENT_JSON)
        floor.append(tasks, tasks, 2)
        batches = setting.pick(APPEND_CALLS[512], 5_000) // tasks
        return floor.append(tasks, tasks, batches)


def _rate_in_new(
    setting: Setting,
    sessions: int,
    tasks: int | None = None,
    change: Callable[[Path], None] = lambda path: None,
) -> float:
    """Return ``_rate`` in a new store.

    :param tasks: None: one for each session.
    :param change: is done to the file first.
    """
    with setting.folder() as folder:
        path = folder / "ours.db"
        ids = fill.plain_sessions(path, sessions)
        change(path)
        with setting.store(path) as store:
            return _rate(setting, store, ids[:tasks])


def _rate(setting: Setting, store: SessionStore, ids: list[str]) -> float:
    """Return events per second of as many tasks as sessions are given."""
    tasks, append = len(ids), _store_append(store, ids)
    setting.run(drive(tasks, 2 * tasks, append))
    return setting.run(drive(tasks, setting.pick(APPEND_CALLS[512], 5_000), append))


def messages(setting: Setting) -> list[Comparison]:
    """N tasks, a session each, each appending one message at a time."""
    return [_messages(setting, tasks) for tasks in (64, 512)]


def _messages(setting: Setting, tasks: int) -> Comparison:
    calls = tasks * setting.pick(100, 10)
    with setting.folder() as folder:
        ids = fill.plain_sessions(folder / "ours.db", tasks)
        fill.plain_sessions(folder / "floor.db", tasks)
        with (
            setting.store(folder / "ours.db") as store,
            closing(connect(folder / "floor.db", setting.durability)) as raw,
            setting.port(folder / "port.db", ids) as port,
        ):
            floor = MessageFloor(raw, fill.MESSAGE_JSON)

            def append(task: int) -> Awaitable[object]:
                return store.messages.append(ids[task], "user", fill.MESSAGE_TEXT)

            def ported(task: int) -> Awaitable[object]:
                return port.append_message(ids[task], "user", fill.MESSAGE_TEXT)

            setting.run(drive(tasks, 2 * tasks, append))
            return compare(
                "messages",
                f"append, {tasks} tasks",
                "messages/s",
                lambda: setting.run(drive(tasks, calls, append)),
                Other("floor", lambda: floor.append(tasks, calls // tasks)),
                Other(
                    "port",
                    lambda: setting.run(drive(tasks, setting.pick(500, 50), ported)),
                ),
                rounds=setting.rounds,
            )


def tool_calls(setting: Setting) -> list[Comparison]:
    """N tasks, a session each, each writing the output of its tool call again."""
    return [_tool_calls(setting, tasks) for tasks in (64, 512)]


def _tool_calls(setting: Setting, tasks: int) -> Comparison:
    batches = setting.pick(100, 10)
    with setting.folder() as folder:
        ids = fill.plain_sessions(folder / "ours.db", tasks, tool_call=TOOL_CALL)
        fill.plain_sessions(folder / "floor.db", tasks, tool_call=TOOL_CALL)
        with (
            setting.store(folder / "ours.db") as store,
            closing(connect(folder / "floor.db", setting.durability)) as raw,
            setting.port(folder / "port.db", ids) as port,
        ):
            floor = ToolCallFloor(raw, TOOL_CALL)

            def update(task: int) -> Awaitable[object]:
                return store.tool_calls.update(
                    ids[task], TOOL_CALL, output=fill.MESSAGE_TEXT
                )

            def ported(task: int) -> Awaitable[object]:
                return port.update_tool_call(ids[task], TOOL_CALL, fill.MESSAGE_TEXT)

            setting.run(drive(tasks, 2 * tasks, update))
            return compare(
                "tool_calls",
                f"update, {tasks} tasks",
                "updates/s",
                lambda: setting.run(drive(tasks, tasks * batches, update)),
                Other("floor", lambda: floor.update(fill.MESSAGE_JSON, tasks, batches)),
                Other(
                    "port",
                    lambda: setting.run(drive(tasks, setting.pick(500, 50), ported)),
                ),
                rounds=setting.rounds,
            )


def _store_append(
    store: SessionStore, ids: list[str]
) -> Callable[[int], Awaitable[object]]:
    return lambda task: store.events.append(ids[task], KIND, fill.EVENT_DATA)


def _port_append(port: PlainPort, ids: list[str]) -> Callable[[int], Awaitable[object]]:
    return lambda task: port.append_event(ids[task], KIND, fill.EVENT_DATA)


@contextmanager
def _event_floor(
    path: Path, sessions: int, durability: Durability
) -> Iterator[EventFloor]:
    fill.plain_sessions(path, sessions)
    with closing(connect(path, durability)) as connection:
        yield EventFloor(connection, fill.EVENT_JSON)
