"""Another SQLite library on the same file, in the same process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from turnstore import DatabaseCorrupt, SessionStore
from turnstore.engine.sqlite.library import library

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        library().module is sqlite3, reason="there is only one library here"
    ),
]


async def test_a_log_that_was_removed_is_noticed_before_a_write_is_acknowledged(
    store_path: Path,
) -> None:
    """Its close takes itself for the last one and removes the write-ahead log."""
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
        other = sqlite3.connect(store_path)
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
        other.close()
        with pytest.raises(DatabaseCorrupt, match="Another SQLite library"):
            await store.events.append("s", "t")
