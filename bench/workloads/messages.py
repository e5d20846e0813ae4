"""Appending messages, and writing the output of tool calls."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import closing
from typing import Final

from bench.data import fill
from bench.data.rows import MESSAGE_JSON, MESSAGE_TEXT
from bench.references import PLAIN, RAW_SQLITE
from bench.references.raw_sqlite import RawMessages, RawToolCalls, connect
from bench.running.measure import Comparison, Comparisons, Reference, compare
from bench.running.setting import Setting, drive

TOOL_CALL: Final = "call"


def messages(setting: Setting) -> Comparisons:
    """N tasks, a session each, each appending one message at a time."""
    for tasks in (64, 512):
        yield _messages(setting, tasks)


def _messages(setting: Setting, tasks: int) -> Comparison:
    calls = tasks * setting.pick(100, 10)
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", tasks)
        fill.uniform_sessions(folder / "raw.db", tasks)
        with (
            setting.store(folder / "turnstore.db") as store,
            closing(connect(folder / "raw.db", setting.durability)) as connection,
            setting.plain(folder / "plain.db", ids) as plain_store,
        ):
            raw = RawMessages(connection, MESSAGE_JSON)

            def append(task: int) -> Awaitable[object]:
                return store.messages.append(ids[task], "user", MESSAGE_TEXT)

            def plain(task: int) -> Awaitable[object]:
                return plain_store.append_message(ids[task], "user", MESSAGE_TEXT)

            setting.run(drive(tasks, 2 * tasks, append))
            return compare(
                "messages",
                f"append, {tasks} tasks",
                "messages/s",
                lambda: setting.run(drive(tasks, calls, append)),
                Reference(RAW_SQLITE, lambda: raw.append(tasks, calls // tasks)),
                Reference(
                    PLAIN,
                    lambda: setting.run(drive(tasks, setting.pick(500, 50), plain)),
                ),
                rounds=setting.rounds,
            )


def tool_calls(setting: Setting) -> Comparisons:
    """N tasks, a session each, each writing the output of its tool call again."""
    for tasks in (64, 512):
        yield _tool_calls(setting, tasks)


def _tool_calls(setting: Setting, tasks: int) -> Comparison:
    batches = setting.pick(100, 10)
    with setting.folder() as folder:
        ids = fill.uniform_sessions(folder / "turnstore.db", tasks, tool_call=TOOL_CALL)
        fill.uniform_sessions(folder / "raw.db", tasks, tool_call=TOOL_CALL)
        with (
            setting.store(folder / "turnstore.db") as store,
            closing(connect(folder / "raw.db", setting.durability)) as connection,
            setting.plain(folder / "plain.db", ids) as plain_store,
        ):
            raw = RawToolCalls(connection, TOOL_CALL)

            def update(task: int) -> Awaitable[object]:
                return store.tool_calls.update(
                    ids[task], TOOL_CALL, output=MESSAGE_TEXT
                )

            def plain(task: int) -> Awaitable[object]:
                return plain_store.update_tool_call(ids[task], TOOL_CALL, MESSAGE_TEXT)

            setting.run(drive(tasks, 2 * tasks, update))
            return compare(
                "tool_calls",
                f"update, {tasks} tasks",
                "updates/s",
                lambda: setting.run(drive(tasks, tasks * batches, update)),
                Reference(RAW_SQLITE, lambda: raw.update(MESSAGE_JSON, tasks, batches)),
                Reference(
                    PLAIN,
                    lambda: setting.run(drive(tasks, setting.pick(500, 50), plain)),
                ),
                rounds=setting.rounds,
            )
