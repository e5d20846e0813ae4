"""Fills a store fast: rows straight into its tables, with heads that agree with them.

The file is made by opening a store once, so the schema and its indexes are the
product's. Nothing here may run while a store has the file open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table

from bench.data.rows import (
    START_US,
    Row,
    column_names,
    event,
    head,
    open_call,
    session,
    session_id,
)
from bench.data.year import listing_rows
from bench.internals import schema
from bench.references.raw_sqlite import connect
from turnstore import SessionStore

BATCH_ROWS: Final = 100_000


def create(path: Path) -> None:
    """Make the file with its schema, if it is not there."""

    async def open_once() -> None:
        async with SessionStore(path):
            pass

    asyncio.run(open_once())


def uniform_sessions(
    path: Path, count: int, *, events_each: int = 0, tool_call: str | None = None
) -> list[str]:
    """Make a file of ``count`` sessions, all alike; return their ids.

    Events are interleaved as a running system leaves them: the first of every
    session, then the second of every session.

    :param tool_call: id of an executing tool call in each session, if any.
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
    """Make a file of ``count`` sessions of a year of use."""
    create(path)
    with closing(connect(path, foreign_keys=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in listing_rows(count, seed):
            insert(connection, table, rows)
        connection.execute("COMMIT")


def insert(connection: Any, table: Table, rows: Iterable[Row]) -> None:
    names = column_names(table)
    values = ", ".join(f":{name}" for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    connection.executemany(
        f"INSERT INTO {table.name} ({columns}) VALUES ({values})", rows
    )
