"""Changes files at random, as bytes, as JSON and cell by cell."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.files.odd_values import ODD_TEXTS, ODD_VALUES, Sql, compact
from tests.support.transfer.round_trip import connect, quoted

TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\\", b"\x00", b"\xff", b" "),
    *(b"NaN", b"-Infinity", b"1e999", b"null", b"\\ud83d", b"\\u0000", b"9" * 5_000),
    *(b'{"messages":[', b'"role":"judge"', b"[" * 300, b"\xef\xbb\xbf", b"\xff\xfe"),
)
NODES: tuple[Any, ...] = (
    *ODD_VALUES,
    *(None, True, 10**30, 2**63, 1e300, "\ud83d", "\x00", "x" * 300, "", {"": {}}),
    *({"role": "user"}, [{"role": "user", "content": 1}], {"messages": []}, [[[]]]),
    *({"\ud83d": "\ud83d"}, {"content": {"parts": [1]}}, [None], [{"id": 5}]),
)
KEYS = (
    *("id", "role", "content", "messages", "tool_calls", "function", "name", "from"),
    *("value", "conversations", "traj", "usage", "created_at", "mapping", "type"),
    *("tool_call_id", "arguments", "body", "data", "title", "model", "", "\ud83d"),
)


def of_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with some of them changed, cut, repeated or inserted."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 2, 8, 64, 4_096)))
        kind = rng.randrange(7)
        if kind == 0:
            changed[start:end] = b""
        elif kind == 1:
            del changed[start:]
        elif kind == 2:
            changed[start:start] = changed[start:end] * rng.choice((1, 1, 3))
        elif kind == 3:
            changed[start:start] = rng.choice(TOKENS)
        elif kind == 4:
            changed[start:end] = rng.randbytes(end - start)
        elif kind == 5:
            del changed[:start]
        elif start < len(changed):
            changed[start] ^= 1 << rng.randrange(8)
    return bytes(changed)


def of_json(rng: random.Random, value: Any) -> Any:
    """Return a value with one of its parts replaced, renamed, left out or repeated."""
    if rng.random() < 0.1 or not isinstance(value, dict | list) or not value:
        return rng.choice(NODES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        part = rng.choice(
            ([], [value[at]] * 2, [of_json(rng, value[at])], [of_json(rng, value[at])])
        )
        return [*value[:at], *part, *value[at + 1 :]]
    key = rng.choice(list(value))
    kind = rng.randrange(6)
    if kind == 0:
        return {name: each for name, each in value.items() if name != key}
    if kind == 1:
        new = rng.choice(KEYS)
        return {(new if name == key else name): each for name, each in value.items()}
    if kind == 2:
        return {**value, rng.choice(KEYS): rng.choice(NODES)}
    return {**value, key: of_json(rng, value[key])}


def chat_file(rng: random.Random, path: Path, sources: list[list[Any]]) -> None:
    """Write a changed chat file.

    :param sources: conversations of several files.
    """
    values = list(rng.choice(sources))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(values))
        values[at] = of_json(rng, values[at])
    dumps: Callable[[Any], str] = rng.choice(
        (compact, json.dumps, lambda each: json.dumps(each, indent=2))
    )
    layout = rng.randrange(3)
    if layout == 0:
        text = dumps(values)
    else:
        text = rng.choice(("\n", "\n", "", ",\n", "\r\n")).join(map(dumps, values))
    data = text.encode(rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16")), "replace")
    if rng.random() < 0.6:
        data = of_bytes(rng, data)
    if rng.random() < 0.15:
        data = gzip.compress(data, 1, mtime=0)
        if rng.random() < 0.5:
            data = of_bytes(rng, data)
    path.write_bytes(data)


def database(rng: random.Random, path: Path) -> None:
    """Change a database: its cells, its schema, or its bytes."""
    kind = rng.randrange(4)
    if kind:
        connection = connect(path)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        for _ in range(rng.randint(1, 5)):
            try:
                _change_table(rng, connection)
            except Exception as error:  # the schema does not allow it
                if "rror" not in type(error).__name__:
                    raise
        connection.close()
    if not kind or rng.random() < 0.1:
        # Under another name, which this process has not opened as a database.
        damaged = path.with_name(f"{path.name}.damaged")
        damaged.write_bytes(of_bytes(rng, path.read_bytes()))
        damaged.replace(path)


def _change_table(rng: random.Random, connection: Any) -> None:
    tables = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        if not name.startswith("sqlite_")
    ]
    table = quoted(rng.choice(tables))
    facts = connection.execute(f"PRAGMA table_info({table})").fetchall()
    column = quoted(rng.choice(facts)[1])
    kind = rng.randrange(12)
    if kind == 0:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    elif kind == 1:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO renamed")
    elif kind == 2:
        connection.execute(f"DELETE FROM {table} WHERE abs(random()) % 3 = 0")
    elif kind == 3 and rng.random() < 0.3:
        connection.execute(f"DROP TABLE {table}")
    else:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        rowid, cell = rng.choice(rows)
        new = _changed_cell(rng, cell)
        slot, given = (new, []) if isinstance(new, Sql) else ("?", [new])
        connection.execute(
            f"UPDATE {table} SET {column} = {slot} WHERE rowid = ?", [*given, rowid]
        )


def _changed_cell(rng: random.Random, cell: Any) -> Any:
    if isinstance(cell, str) and cell[:1] in ("{", "["):
        try:
            return compact(of_json(rng, json.loads(cell)))
        except ValueError:
            pass
    if isinstance(cell, str) and rng.random() < 0.4:
        return of_bytes(rng, cell.encode()).decode("utf-8", "replace")
    return rng.choice((*ODD_TEXTS, 0, -1, 2**63 - 1, 1e300, "[" * 300, '"\\ud83d"'))
