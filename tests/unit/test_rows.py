"""Statements run in the database alone, and read also what is too long for one text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import (
    Connection,
    Text,
    create_engine,
    false,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import sqlite

from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.dialects import Elements
from turnstore.sql.query import EitherQuery, Query
from turnstore.store.events import reads as event_reads
from turnstore.store.messages import reads as message_reads
from turnstore.store.sessions import listing, plans
from turnstore.store.sessions import reads as session_reads
from turnstore.store.tool_calls import reads as tool_call_reads

QUERIES = {
    "sessions": session_reads._SESSION,
    "listing": listing._page(
        listing.PageShape((), plans.Order("updated_at", True), 51)
    ),
    "messages": message_reads._HISTORIES["all", False]._own,
    "tool calls": tool_call_reads.LIST,
    "events": event_reads.ALL._own,
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_no_function_of_a_statement_is_python(
    query: BoundedQuery[object] | EitherQuery[object] | Query[object],
) -> None:
    """SQLAlchemy gives SQLite these, computed by Python once a row."""
    compiled = query._together
    if isinstance(compiled, list):
        compiled = compiled[True]
    text, _ = compiled._compile(sqlite.dialect())
    assert "json_quote(" in text.lower()
    assert "floor(" not in text.lower()
    assert "regexp" not in text.lower()


class Row(msgspec.Struct):
    text: str


ROWS = [Row(text="x" * 600)] * 3
_each = Elements(literal_column("'[1,2,3]'")).table_valued("value")
SELECT = select(literal_column(f"'{ROWS[0].text}'", Text).label("text"))
SELECT_ROWS = SELECT.select_from(_each)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_rows_are_read_where_a_condition_holds(connection: Connection) -> None:
    none = SELECT_ROWS.where(false())
    assert EitherQuery(true(), SELECT_ROWS, none, Row)(connection) == ROWS
    assert EitherQuery(false(), SELECT_ROWS, none, Row)(connection) == []
