"""Run with nothing but the installed wheel: make a store, write, read."""

import asyncio
import tempfile
from pathlib import Path

import turnstore
from turnstore import SessionStore
from turnstore.sql import migrations


async def main() -> None:
    assert "site-packages" in turnstore.__file__, turnstore.__file__
    assert migrations.scripts().name == "_alembic"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        async with SessionStore(path) as store:
            session = await store.sessions.create()
            assert (
                await store.events.append(session.id, "started", {"by": "wheel"}) == 1
            )
        async with SessionStore(path) as store:
            [event] = await store.events.list(session.id)
            assert event.data == {"by": "wheel"}


asyncio.run(main())
