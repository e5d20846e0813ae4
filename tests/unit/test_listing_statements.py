"""Statements are kept by the form of a filter, and don't take much room."""

from __future__ import annotations

import tracemalloc

from sqlalchemy.dialects import sqlite

from turnstore import SessionFilter
from turnstore.store.sessions import filters, listing
from turnstore.store.sessions.filters import METADATA_MAX

FORM_BYTES_MAX = 500_000


def test_the_statements_of_a_long_filter_take_little_room() -> None:
    """Those of its second form: the conditions are kept once."""
    given = SessionFilter(metadata={f"k{at}": "v" for at in range(METADATA_MAX)})
    conditions = filters.wanted(given).conditions
    order = listing.order_of("updated_at", True)

    def use(limit: int) -> None:
        page = listing._page(listing.PageShape(conditions, order, limit))
        page._together.text(sqlite.dialect())

    use(51)
    tracemalloc.start()
    try:
        use(52)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 10_000 < taken < FORM_BYTES_MAX
