"""What the size of a store costs an append, and what the indexes of heads do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench.data import fill
from bench.data.rows import EVENT_JSON
from bench.references import RAW_SQLITE
from bench.references.raw_sqlite import RawEvents, connect
from bench.running.measure import Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, drive
from bench.workloads.appends import APPEND_CALLS, store_append
from turnstore import SessionStore


def indexes(setting: Setting) -> Comparisons:
    """What the indexes of ``session_heads`` cost ``append`` at 512 tasks."""
    tasks = 512
    yield compare(
        "indexes",
        f"{tasks} tasks",
        "events/s",
        lambda: _rate_in_new(setting, tasks),
        Reference(
            "turnstore, without the indexes",
            lambda: _rate_in_new(setting, tasks, change=_drop_head_indexes),
        ),
        rounds=setting.rounds,
    )


def _drop_head_indexes(path: Path) -> None:
    with closing(connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master "
            "WHERE type = 'index' AND tbl_name = 'session_heads' AND sql IS NOT NULL"
        ).fetchall()
        for (name,) in names:
            connection.execute(f'DROP INDEX "{name}"')


def big(setting: Setting) -> Comparisons:
    """``append`` at 512 tasks in a store of 2 million events, compared with an empty
    store; and the same of raw SQLite."""
    tasks, sessions = 512, 2_000
    events_each = setting.pick(1_000, 100)
    case = f"{tasks} tasks, {sessions * events_each:,} events there"
    with setting.folder() as folder:
        path = folder / "turnstore.db"
        ids = fill.uniform_sessions(path, sessions, events_each=events_each)
        with setting.store(path) as store:
            yield compare(
                "big",
                case,
                "events/s",
                lambda: _rate(setting, store, ids[:tasks]),
                Reference(
                    "turnstore, an empty store",
                    lambda: _rate_in_new(setting, sessions, tasks),
                    Goal(at_least=0.8),
                ),
                rounds=setting.rounds,
            )
        yield compare(
            "big",
            case,
            "events/s",
            lambda: _raw_rate(setting, path, tasks),
            Reference(
                "raw SQLite, an empty file",
                lambda: _raw_rate_in_new(setting, sessions, tasks),
            ),
            rounds=setting.rounds,
            subject=RAW_SQLITE,
        )


def _raw_rate_in_new(setting: Setting, sessions: int, tasks: int) -> float:
    with setting.folder() as folder:
        fill.uniform_sessions(folder / "raw.db", sessions)
        return _raw_rate(setting, folder / "raw.db", tasks)


def _raw_rate(setting: Setting, path: Path, tasks: int) -> float:
    with closing(connect(path, setting.durability)) as connection:
        events = RawEvents(connection, EVENT_JSON)
        events.append(tasks, tasks, 2)
        batches = setting.pick(APPEND_CALLS[512], 5_000) // tasks
        return events.append(tasks, tasks, batches)


def _rate_in_new(
    setting: Setting,
    sessions: int,
    tasks: int | None = None,
    change: Callable[[Path], None] = lambda path: None,
) -> float:
    """Return ``_rate`` in a new store.

    :param tasks: by default one for each session.
    :param change: is done to the file first.
    """
    with setting.folder() as folder:
        path = folder / "turnstore.db"
        ids = fill.uniform_sessions(path, sessions)
        change(path)
        with setting.store(path) as store:
            return _rate(setting, store, ids[:tasks])


def _rate(setting: Setting, store: SessionStore, ids: list[str]) -> float:
    """Return events per second of as many tasks as sessions are given."""
    tasks, append = len(ids), store_append(store, ids)
    setting.run(drive(tasks, 2 * tasks, append))
    return setting.run(drive(tasks, setting.pick(APPEND_CALLS[512], 5_000), append))
