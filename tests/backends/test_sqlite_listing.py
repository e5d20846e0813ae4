"""What SQLite alone promises of lists: no limit of indexes, one order of creation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from turnstore import SessionFilter, SessionStore

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


async def test_metadata_of_any_size_is_found(store: SessionStore) -> None:
    made = await store.sessions.create(metadata={"a": "x" * 2**20})
    given = SessionFilter(metadata=made.metadata)
    assert (await store.sessions.list(given)).items == [made]


async def test_gathered_sessions_of_one_moment_are_in_call_order(
    store: SessionStore,
) -> None:
    names = [f"s{n}" for n in range(20)]
    await asyncio.gather(
        *(store.sessions.create(id=name, created_at=MOMENT) for name in names)
    )
    page = await store.sessions.list(descending=False)
    assert [each.id for each in page.items] == names
