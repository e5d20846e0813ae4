"""Values that a column of another system's file can hold and should not."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any


class Sql(str):
    """A value written as an expression, for what a parameter can't say."""


ODD_IDS: tuple[Any, ...] = (
    None,
    None,
    "",
    "x" * 300,
    "with\x00nul",
    Sql("x'00ff'"),
    Sql("CAST(x'ff41' AS TEXT)"),
    "ünï-☃",
)
ODD_TEXTS: tuple[Any, ...] = (
    None,
    "",
    "null",
    "with\x00nul",
    b"\x00\xff",
    Sql("CAST(x'41ff42' AS TEXT)"),
    Sql("1.5"),
    "☃ \U0001f600\r\n\t",
)
ODD_TIMES: tuple[Any, ...] = (
    None,
    "",
    "now",
    "2025-03-04T10:00:00Z",
    "2025-03-04 10:00:00.250",
    "2025-03-04 10:00:00+02:00",
    "2025-13-04 10:00:00",
    1741082400,
    1741082400.5,
    b"2025",
    "0001-01-01 00:00:00",
)


def compact(value: Any) -> str:
    """Return compact JSON, with escapes for lone surrogates only."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


ODD_VALUES: tuple[Any, ...] = (
    None,
    5,
    -1.5,
    "x",
    "\x00",
    "",
    [],
    [1],
    {},
    {"id": 5},
    "\ud83d",
)


def changed(value: Any) -> Iterator[Any]:
    """Return a value with each of its parts in turn replaced, or left out."""
    if isinstance(value, dict):
        for key in value:
            yield {name: each for name, each in value.items() if name != key}
            yield from ({**value, key: each} for each in ODD_VALUES)
            yield from ({**value, key: each} for each in changed(value[key]))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            for each in (*ODD_VALUES, *changed(part)):
                yield [*value[:at], each, *value[at + 1 :]]


def scatter(
    connection: Any, rng: random.Random, sessions: Sequence[Any], tables: Sequence[str]
) -> None:
    """Fill tables with rows of any cells, those that fit by chance too."""
    pool = (
        *ODD_IDS,
        *ODD_TEXTS,
        *ODD_TIMES,
        0,
        1,
        2.0,
        -3,
        "user",
        "assistant",
        "tool",
    )
    pool += ("system", "pending", "[]", "{}", '[{"id":"a","name":"b"}]', "m1", "m2")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for table in tables:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        for _ in range(60):
            given: list[Any] = []
            for _, name, kind, _, _, is_key in columns:
                if is_key and kind == "INTEGER":
                    given.append(rng.choice([None, rng.randrange(-500, 500)]))
                elif name == "session_id" or (name == "id" and "sessions" in table):
                    given.append(rng.choice(sessions))
                else:
                    given.append(rng.choice(pool))
            slots = [each if isinstance(each, Sql) else "?" for each in given]
            connection.execute(
                f"INSERT OR IGNORE INTO {table} VALUES ({', '.join(slots)})",
                [each for each in given if not isinstance(each, Sql)],
            )
