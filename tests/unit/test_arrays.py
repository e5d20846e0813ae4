"""Any number of rows goes in as they are, in few statements that search by key."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    select,
)

from turnstore.sql.bulk import CHARS_KEPT_MAX, VALUES_ROWS_MAX, InsertValues, Update
from turnstore.sql.column_types import JsonText
from turnstore.sql.schema import metadata

things = Table(
    "things",
    MetaData(),
    Column("key", Integer),
    Column("id", Text),
    Column("number", Integer),
    Column("payload", JsonText),
)
INSERT = InsertValues(things, things.c.key, things.c.id, things.c.number)
UPDATE = Update(things, [things.c.key, things.c.id], [things.c.number])
COUNTS = [1, 2, 3, 4, 5, VALUES_ROWS_MAX - 1, VALUES_ROWS_MAX, VALUES_ROWS_MAX + 1]
TEXTS = ["", "it's", '"quoted"', "1e1", "10", "007", "nul \x00 inside", "é🙂", None]
NUMBERS = [0, -1, 2**63 - 1, -(2**63), None]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        things.metadata.create_all(connection)
        yield connection
    engine.dispose()


def rows_of(connection: Connection) -> list[tuple[Any, ...]]:
    found = select(things.c.key, things.c.id, things.c.number)
    return [tuple(each) for each in connection.execute(found)]


@pytest.mark.parametrize("count", [*COUNTS, 3 * VALUES_ROWS_MAX + 7])
def test_rows_are_inserted_as_they_are_in_order(
    connection: Connection, count: int
) -> None:
    rows = [
        (NUMBERS[key % len(NUMBERS)], TEXTS[key % len(TEXTS)], key)
        for key in range(count)
    ]
    INSERT(connection, rows)
    assert rows_of(connection) == rows


@pytest.mark.parametrize("count", COUNTS)
def test_rows_are_updated_by_all_of_their_key(
    connection: Connection, count: int
) -> None:
    # Ids that are equal as numbers, and others of the same first key.
    rows = [(key // 2, ("1e1", "10")[key % 2], 0) for key in range(2 * count)]
    INSERT(connection, rows)
    changed = [(*row[:2], at) for at, row in enumerate(rows) if at % 2][:count]
    UPDATE(connection, changed)
    kept = [row for at, row in enumerate(rows) if at % 2 == 0]
    assert sorted(rows_of(connection)) == sorted([*kept, *changed])


def test_few_statements_are_kept_for_any_number_of_rows(connection: Connection) -> None:
    insert = InsertValues(things, things.c.key, things.c.id)
    for count in range(2, 2 * VALUES_ROWS_MAX, 13):
        insert(connection, [(at, None) for at in range(count)])
    assert len(insert._several._texts) <= VALUES_ROWS_MAX.bit_length()


@pytest.mark.parametrize("chars", [CHARS_KEPT_MAX // 2, CHARS_KEPT_MAX // 2 + 1])
def test_large_payloads_are_not_kept_with_their_statement(
    connection: Connection, chars: int
) -> None:
    rows = [(key, "x" * chars) for key in range(2)]
    insert = InsertValues(things, things.c.key, things.c.payload)
    insert(connection, [(7, None)] * 2)
    given: list[str] = []
    driver: Any = connection.connection.driver_connection
    driver.set_trace_callback(given.append)
    insert(connection, rows)
    driver.set_trace_callback(None)
    # Given others once more, which are no rows.
    assert len(given) == 1 + (2 * chars > CHARS_KEPT_MAX)
    assert len(given[-1]) < chars or len(given) == 1
    found = connection.execute(select(things.c.key, things.c.payload))
    assert [tuple(each) for each in found] == [(7, None), (7, None), *rows]


def test_no_list_has_more_parameters_than_sqlite_takes() -> None:
    width = max(len(each.columns) for each in metadata.tables.values())
    assert width * VALUES_ROWS_MAX <= 32_766


UPDATES = [each for each in gc.get_objects() if isinstance(each, Update)]


def test_rows_are_updated_by_an_index() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        for update in UPDATES:
            text = update._several._from_values.text(connection.dialect)
            # More rows are written behind the one.
            assert text.count(f"({', '.join('?' * update._several._width)})") == 1
            assert text.count("?") == update._several._width
            table = text.split()[1]
            if table == "things":
                continue
            values = (None,) * update._several._width
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            [line] = [each.detail for each in plan if f" {table} " in each.detail]
            assert line.startswith(f"SEARCH {table} USING"), text
    engine.dispose()
    assert len(UPDATES) > 10
