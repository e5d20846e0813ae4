"""The rows that transfers move: every column of every table, each row once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Text, select, type_coerce

from turnstore import NewEvent, SessionStore
from turnstore.sql import schema
from turnstore.sql.bounded import READ_BYTES
from turnstore.transfer.copy.spool import SpooledRows, read_rows
from turnstore.transfer.pages import Pages
from turnstore.transfer.rows import (
    EVENTS,
    FORK_SOURCES,
    IMPORTS,
    PARTS,
    SessionRows,
    StoredEvent,
    StoredForkSource,
    StoredTable,
)

STAYING = {schema.session_leases.name}
"""Tables that say what goes on in one database: a copy begins without."""
TABLES: dict[str, StoredTable[Any]] = {
    each.name: each for each in (*PARTS.values(), IMPORTS)
}
NOT_MOVED = {
    ("sessions", "session_key"): "each database gives its own",
    ("source_rows", "row_key"): "each database gives its own",
    ("session_heads", "updated_period"): "the database computes it from updated_at",
}


def test_every_column_of_every_table_is_moved() -> None:
    """A new column needs a field in the struct of its table in ``transfer.rows``."""
    columns = {
        (table.name, column.name)
        for table in schema.metadata.tables.values()
        if table.name not in STAYING
        for column in table.c
    }
    moved = {
        (name, field)
        for name, table in TABLES.items()
        for field in table.record.__struct_fields__
    }
    assert columns - moved == NOT_MOVED.keys()
    assert moved - columns == set()


def test_every_table_is_a_part_of_a_session_or_an_import() -> None:
    assert TABLES.keys() == schema.metadata.tables.keys() - STAYING
    assert tuple(PARTS) == SessionRows.__struct_fields__


def test_what_a_row_refers_to_is_inserted_before_it() -> None:
    order = [each.table for each in PARTS.values()]
    for table in order:
        for key in table.foreign_keys:
            assert order.index(key.column.table) < order.index(table)


def test_the_digest_of_rows_never_changes() -> None:
    """It takes values in the order of the table's columns, and no integer keys."""
    rows = SpooledRows("s", is_kept=False, ids={7: "root"})
    event = StoredEvent(session_key=3, seq=1, type="t", data='{"a":1}', created_at=5)
    source = StoredForkSource(
        session_key=3,
        position=0,
        source_key=7,
        message_after=0,
        message_upto=4,
        event_after=0,
        event_upto=2,
    )
    rows.add(EVENTS, [event])
    rows.add(FORK_SOURCES, [source])
    assert rows.digest == "5aa1613d1a873195978104de936e316c"


@pytest.fixture
async def filled(store: SessionStore) -> SessionStore:
    """Sessions with events that end pages by their bytes, and by their number."""
    text = "x" * (READ_BYTES // 3)
    sessions: dict[str, list[Any]] = {
        "none": [],
        "few": [1, 2],
        "large": [text] * 8,
        "gone": [1],
        "many": [1] * 5_000,
        "last": [None, text, 3],
    }
    for name, listed in sessions.items():
        await store.sessions.create(id=name)
        events = [NewEvent(type="t", data=each) for each in listed]
        await store.events.append_many(name, events)
    await store.sessions.delete("gone")
    return store


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wanted",
    [
        ["none"],
        ["large"],
        ["few", "last"],
        ["none", "few", "large", "many", "last"],
    ],
)
async def test_pages_give_each_row_once_and_in_order(
    filled: SessionStore, wanted: list[str]
) -> None:
    pages = Pages(EVENTS)

    def read(connection: Connection) -> tuple[list[Any], list[Any]]:
        keys = _keys(connection, wanted)
        found = [
            (key, row.seq, row.data)
            for key, rows in pages.of_many(connection, keys)
            for row in rows
        ]
        return found, _all_events(connection, keys)

    found, expected = await filled.engine.read(read, snapshot=True)
    assert found == expected


@pytest.mark.anyio
async def test_a_page_is_bounded_in_bytes(filled: SessionStore) -> None:
    pages = Pages(EVENTS)

    def sizes(connection: Connection) -> list[int]:
        [key] = _keys(connection, ["large"])
        return [len(rows) for rows in pages.of_one(connection, key)]

    # A third of the bound and its quotes: a third one would be beyond it.
    assert await filled.engine.read(sizes, snapshot=True) == [2, 2, 2, 2]


@pytest.mark.anyio
async def test_what_is_spooled_comes_back(filled: SessionStore) -> None:
    def read(connection: Connection) -> tuple[list[Any], list[Any]]:
        wanted = ["few", "large", "last"]
        keys = dict(zip(_keys(connection, wanted), wanted, strict=True))
        spooled = read_rows(connection, keys, is_kept=True)
        found = [
            (key, row.seq, row.data)
            for key, each in zip(keys, spooled, strict=True)
            for rows, _ in each.chunks(EVENTS)
            for row in rows
        ]
        for each in spooled:
            each.close()
        return found, _all_events(connection, list(keys))

    found, expected = await filled.engine.read(read, snapshot=True)
    assert found == expected


def _keys(connection: Connection, ids: list[str]) -> list[int]:
    table = schema.sessions
    wanted = select(table.c.session_key).where(table.c.id.in_(ids))
    return list(connection.execute(wanted.order_by(table.c.session_key)).scalars())


def _all_events(connection: Connection, keys: list[int]) -> list[Any]:
    table = schema.events
    rows = connection.execute(
        select(table.c.session_key, table.c.seq, type_coerce(table.c.data, Text))
        .where(table.c.session_key.in_(keys))
        .order_by(table.c.session_key, table.c.seq)
    )
    return [tuple(each) for each in rows]
