"""Appending events: one at a time by many tasks, and many in one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from bench.data import fill
from bench.data.rows import EVENT_DATA, EVENT_JSON, EVENT_KIND, session_id
from bench.references import PLAIN, RAW_SQLITE, RAW_SQLITE_ON_A_THREAD
from bench.references.plain import PlainStore
from bench.references.raw_sqlite import Durability, RawEvents, connect
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, busy_loop, drive, on_a_thread
from turnstore import NewEvent, SessionStore

APPEND_CALLS: Final = {1: 3_000, 8: 20_000, 64: 60_000, 512: 100_000, 2_048: 120_000}
RAW_GOALS: Final = {512: Goal(at_least=0.45)}
PLAIN_GOALS: Final = {1: Goal(at_least=6), 512: Goal(at_least=80)}


def append(setting: Setting) -> Comparisons:
    """N tasks, a session each, each appending one event at a time and awaiting it."""
    for tasks in APPEND_CALLS:
        yield _append(setting, "append", tasks, setting.durability)


def full_durability(setting: Setting) -> Comparisons:
    """``append`` with synchronous=FULL: a returned write survives power loss."""
    for tasks in (64, 512):
        yield _append(setting, "full_durability", tasks, "full", with_plain=False)


def _append(
    setting: Setting,
    workload: str,
    tasks: int,
    durability: Durability,
    *,
    with_plain: bool = True,
) -> Comparison:
    """Each sample is taken in a new store: the more events a session has, the more
    pages of the index a batch touches (``big`` shows by how much)."""
    calls = setting.pick(APPEND_CALLS[tasks], APPEND_CALLS[tasks] // 20)
    calls = max(calls, 2 * tasks)
    plain_calls = setting.pick(1_500, 100)

    def turnstore() -> float:
        with setting.folder() as folder:
            ids = fill.uniform_sessions(folder / "turnstore.db", tasks)
            with setting.store(folder / "turnstore.db", durability) as store:
                append = store_append(store, ids)
                setting.run(drive(tasks, 2 * tasks, append))
                return setting.run(drive(tasks, calls, append))

    def raw() -> float:
        with (
            setting.folder() as folder,
            _raw_events(folder / "raw.db", tasks, durability) as events,
        ):
            events.append(tasks, tasks, 2)
            return events.append(tasks, tasks, calls // tasks)

    def plain() -> float:
        ids = [session_id(key) for key in range(1, tasks + 1)]
        with (
            setting.folder() as folder,
            setting.plain(folder / "plain.db", ids, durability) as store,
        ):
            return setting.run(drive(tasks, plain_calls, _plain_append(store, ids)))

    goal = RAW_GOALS.get(tasks) if durability == "normal" else None
    references = [Reference(RAW_SQLITE, raw, goal)]
    if with_plain:
        references.append(Reference(PLAIN, plain, PLAIN_GOALS.get(tasks)))
    return compare(
        workload,
        f"{tasks:,} tasks" if tasks > 1 else "1 task",
        "events/s",
        turnstore,
        *references,
        rounds=setting.rounds,
        tasks=tasks,
    )


def append_under_load(setting: Setting) -> Comparisons:
    """``append`` at 512 tasks while 200 others keep the event loop busy.

    Raw SQLite runs on a thread of the same process, as an application would do it.
    """
    tasks = 512
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", tasks)
        with (
            setting.store(folder / "turnstore.db") as store,
            _raw_events(folder / "raw.db", tasks, setting.durability) as events,
            setting.plain(folder / "plain.db", ids) as plain_store,
        ):
            calls = tasks * setting.pick(60, 8)

            async def turnstore() -> float:
                async with busy_loop():
                    return await drive(tasks, calls, store_append(store, ids))

            async def raw() -> float:
                batches = setting.pick(4, 1)
                async with busy_loop():
                    return await on_a_thread(events.append, tasks, tasks, batches)

            async def plain() -> float:
                plain_calls = setting.pick(40, 8)
                async with busy_loop():
                    return await drive(
                        tasks, plain_calls, _plain_append(plain_store, ids)
                    )

            yield compare(
                "append_under_load",
                f"{tasks} tasks, busy loop",
                "events/s",
                lambda: setting.run(turnstore()),
                Reference(RAW_SQLITE_ON_A_THREAD, lambda: setting.run(raw())),
                Reference(PLAIN, lambda: setting.run(plain())),
                rounds=setting.rounds,
            )


def append_many(setting: Setting) -> Comparisons:
    """1,000 events to one session in one call."""
    size, calls = 1_000, setting.pick(60, 5)
    new = [NewEvent(type=EVENT_KIND, data=EVENT_DATA) for _ in range(size)]
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", 1)
        with (
            setting.store(folder / "turnstore.db") as store,
            _raw_events(folder / "raw.db", 1, setting.durability) as events,
        ):

            def turnstore() -> float:
                return size * setting.run(
                    drive(1, calls, lambda _: store.events.append_many(ids[0], new))
                )

            turnstore()
            yield compare(
                "append_many",
                f"{size:,} events a call",
                "events/s",
                turnstore,
                Reference(
                    RAW_SQLITE,
                    lambda: events.append(1, size, calls),
                    Goal(at_least=0.6),
                ),
                rounds=setting.rounds,
            )


def store_append(
    store: SessionStore, ids: list[str]
) -> Callable[[int], Awaitable[object]]:
    """Return what appends one event to a task's session."""
    return lambda task: store.events.append(ids[task], EVENT_KIND, EVENT_DATA)


def _plain_append(
    store: PlainStore, ids: list[str]
) -> Callable[[int], Awaitable[object]]:
    return lambda task: store.append_event(ids[task], EVENT_KIND, EVENT_DATA)


@contextmanager
def _raw_events(
    path: Path, sessions: int, durability: Durability
) -> Iterator[RawEvents]:
    fill.uniform_sessions(path, sessions)
    with closing(connect(path, durability)) as connection:
        yield RawEvents(connection, EVENT_JSON)
