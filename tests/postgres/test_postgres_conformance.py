"""The public conformance suite on PostgreSQL.

With two lanes, as connecting takes the longest part of each test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from turnstore.testing import OpenStore, SharedStoreConformance, opening


class TestPostgres(SharedStoreConformance):
    @pytest.fixture
    async def open_store(self, emptied_database: str) -> AsyncIterator[OpenStore]:
        # Asking for TLS first would take longer than to connect.
        url = f"{emptied_database}?sslmode=disable"
        async with opening(url, lanes=2) as open_store:
            yield open_store
