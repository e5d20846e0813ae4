"""Lists of sessions: their orders, and what is on their pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from turnstore import Page, Session, SessionStore

ORDERS: Final = ["created_at", "updated_at", "message_count", "total_tokens"]
DAYS: Final = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(4)]


def names(page: Page[Session]) -> str:
    """The ids, each a letter, in the order of the page."""
    return "".join(each.id for each in page.items)


async def by_cursor(store: SessionStore, limit: int, **order: Any) -> str:
    """The ids on all pages, one after the other."""
    page = await store.sessions.list(limit=limit, **order)
    found = names(page)
    while page.next_cursor is not None:
        page = await store.sessions.list(limit=limit, cursor=page.next_cursor, **order)
        found += names(page)
    return found
