"""The public conformance suite, run on a file and on a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from turnstore.testing import (
    OpenStore,
    SharedStoreConformance,
    StoreConformance,
    opening,
)


class TestSqliteFile(SharedStoreConformance):
    @pytest.fixture
    async def open_store(self, tmp_path: Path) -> AsyncIterator[OpenStore]:
        async with opening(tmp_path / "store.db") as open_store:
            yield open_store


class TestSqliteInMemory(StoreConformance):
    @pytest.fixture
    async def open_store(self) -> AsyncIterator[OpenStore]:
        async with opening("sqlite://") as open_store:
            yield open_store
