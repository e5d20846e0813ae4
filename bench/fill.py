"""Fills a store fast: raw rows on the real schema, with heads that agree with them.

The file is made by opening a store once, so the schema and its indexes are the
product's. Nothing here may run while a store has the file open.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Table

from bench.floor import connect
from turnstore import SessionStore
from turnstore.sql import schema

Row = dict[str, Any]

EVENT_DATA: Final = {
    "text": "the tests of the parser fail on nested quotes, see the log; " * 2,
    "usage": {"prompt": 1_024, "completion": 256},
    "tools": ["read_file", "edit_file"],
    "delta": "hello " * 5,
}
EVENT_JSON: Final = msgspec.json.encode(EVENT_DATA).decode()
"""About 250 bytes, the size of a streamed part of a message."""

MESSAGE_TEXT: Final = "what do the failing tests of the parser have in common; " * 6
"""About 330 characters."""
MESSAGE_JSON: Final = msgspec.json.encode(MESSAGE_TEXT).decode()

HALF_HOUR_US: Final = 1_800 * 1_000_000
YEAR_US: Final = 365 * 86_400 * 1_000_000
START_US: Final = 1_767_225_600_000_000  # 2026-01-01
STATUSES: Final = ("idle", "waiting_for_user_input", "failed", "interrupted")
BATCH_ROWS: Final = 100_000
BATCH_SESSIONS: Final = 5_000

_LISTING_TABLES: Final = (
    schema.sessions,
    schema.session_heads,
    schema.session_metadata,
    schema.messages,
    schema.tool_calls,
)
WORDS: Final = [
    f"{first}{last}"
    for first in ("par", "log", "ser", "net", "gra", "tok", "que", "ren", "bui", "tes")
    for last in (
        *("ser", "der", "ver", "ter", "ker", "ging", "ding", "king", "ting", "ning"),
        *("let", "ket", "set", "net", "bet", "ion", "age", "ure", "ism", "ous"),
    )
]
RARE_WORD: Final = "zeppelin"


def create(path: Path) -> None:
    """Make the file with its schema, if it is not there."""

    async def open_once() -> None:
        async with SessionStore(path):
            pass

    asyncio.run(open_once())


def plain_sessions(
    path: Path, count: int, *, events_each: int = 0, tool_call: str | None = None
) -> list[str]:
    """Make a file of ``count`` sessions, all alike; return their ids.

    Events are interleaved as a running system leaves them: the first of every
    session, then the second of every session.

    :param tool_call: id of an executing tool call in each session; None for none.
    """
    create(path)
    keys = range(1, count + 1)
    calls = 0 if tool_call is None else 1
    with closing(connect(path, foreign_keys=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        insert(
            connection,
            schema.sessions,
            (session(key, session_id(key), START_US + key) for key in keys),
        )
        insert(
            connection,
            schema.session_heads,
            (
                head(
                    key,
                    START_US + key,
                    event_head=events_each,
                    tool_call_head=calls,
                    tool_call_count=calls,
                    pending_tool_calls=calls,
                )
                for key in keys
            ),
        )
        if tool_call is not None:
            insert(
                connection,
                schema.tool_calls,
                (
                    open_call(key, START_US, id=tool_call, status="executing")
                    for key in keys
                ),
            )
        rows = (event(key, seq) for seq in range(1, events_each + 1) for key in keys)
        while chunk := list(islice(rows, BATCH_ROWS)):
            insert(connection, schema.events, chunk)
        connection.execute("COMMIT")
    return [session_id(key) for key in keys]


def listing(path: Path, count: int, seed: int = 1) -> None:
    """Make a file of ``count`` sessions that look like those of a year of use.

    20 agents, 50 projects, 4 providers and 10 models, the first of each the most
    frequent, the last the rarest; 80 % completed, 0.5 % running; 0.5 % with an open
    tool call; one in 200 a child of the first session, one in five of some other;
    titles of 4 to 8 words out of 200, one in 1,000 with RARE_WORD; two metadata pairs,
    ``team`` (100 values) and ``ticket`` (unique); 1 to 300 messages with usage, five
    on average. The heads agree with the rows.
    """
    create(path)
    with closing(connect(path, foreign_keys=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in listing_rows(count, seed):
            insert(connection, table, rows)
        connection.execute("COMMIT")


def listing_rows(count: int, seed: int = 1) -> Iterator[tuple[Table, list[Row]]]:
    """Give the rows of ``listing``, those of some thousand sessions at a time."""
    made = _listed(count, random.Random(seed))
    while chunk := list(islice(made, BATCH_SESSIONS)):
        for at, table in enumerate(_LISTING_TABLES):
            yield table, [row for each in chunk for row in each[at]]


def _listed(count: int, chance: random.Random) -> Iterator[tuple[list[Row], ...]]:
    """Give the rows of each session, in the order of _LISTING_TABLES."""
    for key in range(1, count + 1):
        created_at = START_US + int(chance.random() * YEAR_US)
        is_open = chance.random() < 0.005
        usages = [
            (chance.randint(200, 2_000), chance.randint(20, 400))
            for _ in range(min(300, int(chance.paretovariate(1.3) * 1.5)))
        ]
        yield (
            [_listed_session(key, created_at, chance)],
            [_listed_head(key, created_at, usages, is_open, chance)],
            [
                pair(key, "team", f"team-{chance.randrange(100)}", created_at),
                pair(key, "ticket", f"T-{key}", created_at),
            ],
            [
                message(key, seq, created_at + seq, *usage)
                for seq, usage in enumerate(usages, 1)
            ],
            [open_call(key, created_at)] if is_open else [],
        )


def _listed_session(key: int, created_at: int, chance: random.Random) -> Row:
    words = chance.choices(WORDS, k=chance.randint(4, 8))
    if chance.random() < 0.001:
        words[-1] = RARE_WORD
    title = " ".join(words).capitalize()
    draw = chance.random()
    status = "running" if draw < 0.005 else "completed"
    if 0.005 <= draw < 0.2:
        status = chance.choice(STATUSES)
    draw = chance.random()
    parent = None
    if key > 2 and draw < 0.2:
        parent = session_id(1 if draw < 0.005 else chance.randrange(2, key))
    model = _skewed(10, chance)
    return session(
        key,
        session_id(key),
        created_at,
        agent_name=f"agent-{_skewed(20, chance)}",
        project_root=f"/projects/{_skewed(50, chance)}",
        title=msgspec.json.encode(title).decode(),
        title_folded=title.lower(),
        provider=f"provider-{model % 4}",
        model=f"model-{model}",
        status=status,
        parent_session_id=parent,
    )


def _listed_head(
    key: int,
    created_at: int,
    usages: list[tuple[int, int]],
    is_open: bool,
    chance: random.Random,
) -> Row:
    lasted_us = chance.expovariate(1 / HALF_HOUR_US)
    if chance.random() < 0.05:
        lasted_us += chance.random() * YEAR_US / 4
    prompt_tokens = sum(prompt for prompt, _ in usages)
    completion_tokens = sum(completion for _, completion in usages)
    return head(
        key,
        created_at,
        updated_at=created_at + int(lasted_us),
        message_head=len(usages),
        message_count=len(usages),
        active_message_id=f"m{len(usages)}",
        tool_call_head=int(is_open),
        tool_call_count=int(is_open),
        pending_tool_calls=int(is_open),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        api_calls=len(usages),
        last_model=f"model-{_skewed(10, chance)}",
    )


def _skewed(count: int, chance: random.Random) -> int:
    """0 most often (37 % of 20), ``count - 1`` least (1.7 % of 20)."""
    return int(count * chance.random() ** 3)


def session_id(key: int) -> str:
    return f"{key:012d}-session"


def session(key: int, id: str, created_at: int, **values: Any) -> Row:
    return {
        **_empty(schema.sessions),
        "session_key": key,
        "id": id,
        "agent_name": "coder",
        "status": "idle",
        "created_at": created_at,
        **values,
    }


def head(key: int, created_at: int, **values: Any) -> Row:
    return {
        **_empty(schema.session_heads),
        "session_key": key,
        "created_at": created_at,
        "updated_at": created_at,
        **values,
    }


def pair(key: int, name: str, value: str, created_at: int) -> Row:
    return {
        "session_key": key,
        "key": name,
        "value": msgspec.json.encode(value).decode(),
        "created_at": created_at,
        "updated_at": created_at,
    }


def event(key: int, seq: int) -> Row:
    return {
        "session_key": key,
        "seq": seq,
        "type": "message.part",
        "data": EVENT_JSON,
        "model": None,
        "turn_id": None,
        "created_at": START_US + seq,
    }


def message(
    key: int, seq: int, created_at: int, prompt_tokens: int, completion_tokens: int
) -> Row:
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "api_calls": 1,
    }
    return {
        **_empty(schema.messages),
        "session_key": key,
        "seq": seq,
        "id": f"m{seq}",
        "role": "user" if seq % 2 else "assistant",
        "content": MESSAGE_JSON,
        "parent_id": f"m{seq - 1}" if seq > 1 else None,
        "usage": msgspec.json.encode(usage).decode(),
        "created_at": created_at,
    }


def open_call(
    key: int, created_at: int, *, id: str = "t1", status: str = "pending"
) -> Row:
    return {
        **_empty(schema.tool_calls),
        "session_key": key,
        "seq": 1,
        "id": id,
        "name": "read_file",
        "arguments": '{"path":"src/parser.py"}',
        "kind": "external",
        "status": status,
        "created_at": created_at,
    }


def insert(connection: Any, table: Table, rows: Iterable[Row]) -> None:
    names = column_names(table)
    values = ", ".join(f":{name}" for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    connection.executemany(
        f"INSERT INTO {table.name} ({columns}) VALUES ({values})", rows
    )


def column_names(table: Table) -> list[str]:
    """Return the columns that are written: the database itself makes the others."""
    return [each.name for each in table.c if each.computed is None]


_EMPTY: Final[dict[str, Row]] = {}


def _empty(table: Table) -> Row:
    """Return a row of nothing: NULL, or 0 where a number must be."""
    if table.name not in _EMPTY:
        _EMPTY[table.name] = {
            name: None if table.c[name].nullable else 0 for name in column_names(table)
        }
    return _EMPTY[table.name]
