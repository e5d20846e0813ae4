"""The hot paths that write. A round is ``calls_per_round`` calls, see extra_info."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data import fill
from bench.data.rows import EVENT_DATA, MESSAGE_TEXT, session_id
from bench.running.setting import Setting, drive
from bench.workloads.turns import commit
from turnstore import NewEvent, SessionStore

TASKS = (1, 8, 64, 512, 2_048)
CALLS_MIN = 256
TOOL_CALL = "call"
IDS = [session_id(key) for key in range(1, max(TASKS) + 1)]


@pytest.fixture(scope="module")
def store(setting: Setting, folder: Path) -> Iterator[SessionStore]:
    path = folder / "store.db"
    fill.uniform_sessions(path, len(IDS), tool_call=TOOL_CALL)
    with setting.store(path) as store:
        yield store


def measure(
    benchmark: BenchmarkFixture,
    setting: Setting,
    tasks: int,
    call: Callable[[int], Awaitable[object]],
) -> None:
    calls = max(tasks, CALLS_MIN)
    benchmark.extra_info["calls_per_round"] = calls
    benchmark(lambda: setting.run(drive(tasks, calls, call)))


@pytest.mark.benchmark(group="event append")
@pytest.mark.parametrize("sessions", [None, 50], ids=["session each", "50 sessions"])
@pytest.mark.parametrize("tasks", TASKS)
def test_append_event(
    benchmark: BenchmarkFixture,
    setting: Setting,
    store: SessionStore,
    tasks: int,
    sessions: int | None,
) -> None:
    spread = sessions or tasks
    before = setting.run(store.events.head(IDS[0]))

    def append(task: int) -> Awaitable[object]:
        return store.events.append(IDS[task % spread], "part", EVENT_DATA)

    measure(benchmark, setting, tasks, append)
    assert setting.run(store.events.head(IDS[0])) > before


@pytest.mark.benchmark(group="event append")
def test_append_1000_events_at_once(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore
) -> None:
    events = [NewEvent(type="part", data=EVENT_DATA) for _ in range(1_000)]
    benchmark.extra_info["calls_per_round"] = 1
    seqs = benchmark(lambda: setting.run(store.events.append_many(IDS[0], events)))
    assert len(seqs) == 1_000


@pytest.mark.benchmark(group="message append")
@pytest.mark.parametrize("tasks", [1, 64, 512])
def test_append_message(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore, tasks: int
) -> None:
    before = setting.run(store.sessions.get(IDS[0]))

    def append(task: int) -> Awaitable[object]:
        return store.messages.append(IDS[task], "user", MESSAGE_TEXT)

    measure(benchmark, setting, tasks, append)
    after = setting.run(store.sessions.get(IDS[0]))
    assert before is not None
    assert after is not None
    assert after.message_head > before.message_head


@pytest.mark.benchmark(group="turn")
@pytest.mark.parametrize("tasks", [1, 64, 512])
def test_commit_turn(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore, tasks: int
) -> None:
    before = setting.run(store.events.head(IDS[0]))
    measure(benchmark, setting, tasks, commit(store, IDS))
    assert setting.run(store.events.head(IDS[0])) >= before + 4


@pytest.mark.benchmark(group="tool call update")
@pytest.mark.parametrize("tasks", [1, 64, 512])
def test_update_tool_call(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore, tasks: int
) -> None:
    output = f"{tasks} tasks: {MESSAGE_TEXT}"

    def update(task: int) -> Awaitable[object]:
        return store.tool_calls.update(IDS[task], TOOL_CALL, output=output)

    measure(benchmark, setting, tasks, update)
    call = setting.run(store.tool_calls.get(IDS[0], TOOL_CALL))
    assert call is not None
    assert call.output == output
