"""Raw SQLite, the ceiling: what the library alone can do, without an event loop.

The same library, pragmas and schema (every index included), rows encoded beforehand,
as many rows in a transaction as the workload has callers, ``executemany`` for the
rows and for the upkeep of the heads.
"""

from __future__ import annotations

import time
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

from bench.internals import BYTES_KEPT_MAX, CACHE_KIB, CHECKPOINT_PAGES, library

Durability = Literal["normal", "full"]


def connect(
    path: Path, durability: Durability = "normal", *, foreign_keys: bool = True
) -> Any:
    """Open a file that a store made, with the pragmas of the store's writer."""
    connection: Any = library().module.connect(
        str(path), isolation_level=None, check_same_thread=False
    )
    pragmas = {
        "journal_mode": "wal",
        "busy_timeout": 5_000,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "foreign_keys": int(foreign_keys),
        "cache_size": -CACHE_KIB,
        "synchronous": 2 if durability == "full" else 1,
        "journal_size_limit": BYTES_KEPT_MAX,
        "wal_autocheckpoint": CHECKPOINT_PAGES,
    }
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}")
    return connection


class RawEvents:
    """Appends batches of events to the sessions with the first keys."""

    def __init__(self, connection: Any, data: str) -> None:
        self._connection = connection
        self._data = data
        self._heads: dict[int, int] = dict(
            connection.execute("SELECT session_key, event_head FROM session_heads")
        )

    def append(self, sessions: int, batch: int, batches: int) -> float:
        """Return events per second, ``batch`` of them in a transaction."""
        began_s = perf_counter()
        for _ in range(batches):
            self._append(sessions, batch)
        return batch * batches / (perf_counter() - began_s)

    def _append(self, sessions: int, batch: int) -> None:
        now = time.time_ns() // 1_000
        heads, data = self._heads, self._data
        rows = []
        for at in range(batch):
            key = at % sessions + 1
            heads[key] = seq = heads[key] + 1
            rows.append((key, seq, "message.part", data, None, None, now))
        touched = range(1, min(sessions, batch) + 1)
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT_EVENT, rows)
        self._connection.executemany(
            _UPDATE_HEAD, [(now, heads[key], key) for key in touched]
        )
        execute("COMMIT")


class RawMessages:
    """Appends batches of messages, one to each of the first sessions."""

    def __init__(self, connection: Any, content: str) -> None:
        self._connection = connection
        self._content = content
        self._heads: dict[int, int] = dict(
            connection.execute("SELECT session_key, message_head FROM session_heads")
        )

    def append(self, batch: int, batches: int) -> float:
        """Return messages per second, ``batch`` of them in a transaction."""
        began_s = perf_counter()
        for _ in range(batches):
            now = time.time_ns() // 1_000
            rows, saved = [], []
            for key in range(1, batch + 1):
                parent = f"bench-{self._heads[key]}" if self._heads[key] else None
                self._heads[key] = seq = self._heads[key] + 1
                message_id = f"bench-{seq}"
                rows.append((key, seq, message_id, self._content, parent, now))
                saved.append((now, seq, seq, message_id, key))
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT_MESSAGE, rows)
            self._connection.executemany(_UPDATE_MESSAGE_HEAD, saved)
            self._connection.execute("COMMIT")
        return batch * batches / (perf_counter() - began_s)


class RawToolCalls:
    """Writes the output of one tool call in each of the first sessions."""

    def __init__(self, connection: Any, tool_call_id: str) -> None:
        self._connection = connection
        self._id = tool_call_id

    def update(self, output: str, batch: int, batches: int) -> float:
        """Return updates per second, ``batch`` of them in a transaction."""
        began_s = perf_counter()
        keys = range(1, batch + 1)
        for _ in range(batches):
            now = time.time_ns() // 1_000
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                _UPDATE_TOOL_CALL, [(output, key, self._id) for key in keys]
            )
            self._connection.executemany(_TOUCH_HEAD, [(now, key) for key in keys])
            self._connection.execute("COMMIT")
        return batch * batches / (perf_counter() - began_s)


class RawTurns:
    """Writes a message, two tool calls and four events to each of the first sessions,
    all of which must be empty."""

    def __init__(
        self, connection: Any, content: str, arguments: str, data: str
    ) -> None:
        self._connection = connection
        self._content = content
        self._arguments = arguments
        self._data = data
        self._turns = 0

    def write(self, batch: int, batches: int) -> float:
        """Return turns per second, ``batch`` of them in a transaction."""
        began_s = perf_counter()
        for _ in range(batches):
            self._write(batch)
        return batch * batches / (perf_counter() - began_s)

    def _write(self, batch: int) -> None:
        now = time.time_ns() // 1_000
        self._turns += 1
        n = self._turns
        # As long as those that the store makes.
        ids = [f"bench-{n:030}-{at}" for at in range(3)]
        parent = f"bench-{n - 1:030}-0" if n > 1 else None
        messages, calls, events, heads = [], [], [], []
        for key in range(1, batch + 1):
            messages.append((key, n, ids[0], self._content, parent, now))
            for at in (1, 2):
                seq = 2 * n - 2 + at
                calls.append((key, seq, ids[at], ids[0], self._arguments, now))
            for seq in range(4 * n - 3, 4 * n + 1):
                events.append((key, seq, "message.part", self._data, None, None, now))
            heads.append((now, 4 * n, n, n, ids[0], 2 * n, 2 * n, 2 * n, key))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT_MESSAGE, messages)
        self._connection.executemany(_INSERT_TOOL_CALL, calls)
        self._connection.executemany(_INSERT_EVENT, events)
        self._connection.executemany(_UPDATE_HEADS, heads)
        self._connection.execute("COMMIT")


_INSERT_EVENT: Final = (
    "INSERT INTO events (session_key, seq, type, data, model, turn_id, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE_HEAD: Final = (
    "UPDATE session_heads SET updated_at = ?, event_head = ? WHERE session_key = ?"
)
_INSERT_MESSAGE: Final = (
    "INSERT INTO messages "
    "(session_key, seq, id, role, content, parent_id, created_at) "
    "VALUES (?, ?, ?, 'user', ?, ?, ?)"
)
_UPDATE_MESSAGE_HEAD: Final = (
    "UPDATE session_heads SET updated_at = ?, message_head = ?, message_count = ?, "
    "active_message_id = ? WHERE session_key = ?"
)
_INSERT_TOOL_CALL: Final = (
    "INSERT INTO tool_calls "
    "(session_key, seq, id, message_id, name, arguments, kind, status, created_at) "
    "VALUES (?, ?, ?, ?, 'bash', ?, 'external', 'pending', ?)"
)
_UPDATE_HEADS: Final = (
    "UPDATE session_heads SET updated_at = ?, event_head = ?, message_head = ?, "
    "message_count = ?, active_message_id = ?, tool_call_head = ?, "
    "tool_call_count = ?, pending_tool_calls = ? WHERE session_key = ?"
)
_UPDATE_TOOL_CALL: Final = (
    "UPDATE tool_calls SET output = ? WHERE session_key = ? AND id = ?"
)
_TOUCH_HEAD: Final = "UPDATE session_heads SET updated_at = ? WHERE session_key = ?"
