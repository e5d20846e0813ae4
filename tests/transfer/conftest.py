"""Fixtures of the transfers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from turnstore import SessionStore


@pytest.fixture
async def second_file(tmp_path: Path) -> AsyncIterator[SessionStore]:
    """A store on a file of its own."""
    async with SessionStore(tmp_path / "second.db") as opened:
        yield opened
