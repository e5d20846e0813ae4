"""A database that sorts text as people of some language do, which the contract holds
on too.
"""

from __future__ import annotations

import pytest

from tests.support.postgres.standby import connected

pytestmark = pytest.mark.anyio


async def test_the_database_sorts_by_language(linguistic_database: str) -> None:
    texts = ["B", "_", "a", "b", "A", '"a"', "#"]
    async with connected(linguistic_database) as connection:
        rows = await connection.fetch(
            "SELECT text FROM unnest($1::text[]) AS text ORDER BY text", texts
        )
    assert [text for (text,) in rows] != sorted(texts)
