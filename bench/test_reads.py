"""The hot paths that read: one call a round, on an idle event loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data import fill
from bench.data.rows import MESSAGE_TEXT, session_id
from bench.running.setting import Setting
from turnstore import NewMessage, SessionStore

EVENTS = 1_000
MESSAGES = 1_000
TAIL = 50
LOADED = 100
LONG, SHORT = session_id(1), session_id(2)


@pytest.fixture(scope="module")
def store(setting: Setting, folder: Path) -> Iterator[SessionStore]:
    path = folder / "store.db"
    fill.uniform_sessions(path, 50, events_each=EVENTS)
    with setting.store(path) as store:
        messages = [
            NewMessage(role="user" if at % 2 else "assistant", content=MESSAGE_TEXT)
            for at in range(MESSAGES)
        ]
        setting.run(store.messages.append_many(LONG, messages))
        setting.run(store.messages.append_many(SHORT, messages[:LOADED]))
        for _ in range(10):
            setting.run(store.tool_calls.create(SHORT, "read_file", {"path": "a.py"}))
        yield store


@pytest.mark.benchmark(group="events.list")
@pytest.mark.parametrize("limit", [1, 100, EVENTS])
def test_list_events(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore, limit: int
) -> None:
    events = benchmark(lambda: setting.run(store.events.list(LONG, limit=limit)))
    assert [each.seq for each in events] == list(range(1, limit + 1))


@pytest.mark.benchmark(group="sessions.load")
def test_load_100_messages(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore
) -> None:
    state = benchmark(lambda: setting.run(store.sessions.load(SHORT)))
    assert len(state.messages) == LOADED
    assert len(state.tool_calls) == 10


@pytest.mark.benchmark(group="messages.list")
def test_last_50_messages(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore
) -> None:
    messages = benchmark(lambda: setting.run(store.messages.list(LONG, last=TAIL)))
    assert [each.seq for each in messages] == list(
        range(MESSAGES - TAIL + 1, MESSAGES + 1)
    )
