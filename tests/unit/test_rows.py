"""Statements are compiled once, and run in the database alone."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import sqlite

from turnstore import _listing, _message_reads, _places, events, sessions, tool_calls
from turnstore._rows import Query

QUERIES = {
    "sessions": sessions._SESSION,
    "listing": _listing._page((), _places.Order("updated_at", True), 51, False, False),
    "messages": _message_reads._HISTORIES["all", False]._own,
    "tool calls": tool_calls._LIST,
    "events": events._ALL._own,
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_no_function_of_a_statement_is_python(query: Query[object]) -> None:
    """SQLAlchemy gives SQLite these, computed by Python once a row."""
    text, _ = query._together._compile(sqlite.dialect())
    assert "json_quote(" in text.lower()
    assert "floor(" not in text.lower()
    assert "regexp" not in text.lower()
