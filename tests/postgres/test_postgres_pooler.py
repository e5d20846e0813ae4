"""Behind a pooler that gives each transaction another server connection."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from postgres_server import UNPRIVILEGED, PostgresServer, free_port

from turnstore import NewEvent, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


async def use(store: SessionStore) -> None:
    """Write and read in every way: alone, together, in snapshots, by turns."""
    names = [f"s{n}" for n in range(8)]
    await asyncio.gather(*(store.sessions.create(id=each) for each in names))
    for _ in range(3):
        await asyncio.gather(
            *(store.events.append(each, "t", {"of": each}) for each in names),
            *(store.messages.append(each, "user", each) for each in names),
            *(store.sessions.load(each) for each in names),
        )
    async with store.turn("s0") as turn:
        turn.message("assistant", "both")
        turn.event("t", session_id="s1")
    await store.events.append_many("s2", [NewEvent(type="t")] * 600)
    assert len([each async for each in store.events.stream("s2")]) == 603
    assert await store.events.head("s1") == 4
    assert len(await store.messages.list("s0")) == 4
    assert len((await store.sessions.list()).items) == 8


async def test_no_prepared_statement_and_no_setting_outlives_a_transaction(
    database: str,
) -> None:
    """Of no connection that the store has used."""
    store = SessionStore(
        database, StoreOptions(behind_pooler=True, durability="normal")
    )
    async with store:
        await use(store)
        lanes = [lane._connection for lane in store._backend._lanes]  # type: ignore[attr-defined]
        readers = store._backend._readers._idle  # type: ignore[attr-defined]
        used = [each.driver for each in [*lanes, *readers] if each is not None]
        assert len(used) > 2
        for driver in used:
            # By the simple protocol, which prepares nothing itself.
            assert not driver.is_in_transaction()
            done = await driver.execute("SELECT FROM pg_prepared_statements")
            assert done == "SELECT 0"
            done = await driver.execute(
                "SELECT FROM pg_settings WHERE source = 'session' "
                "AND name NOT IN ('client_encoding', 'application_name')"
            )
            assert done == "SELECT 0"


async def test_without_a_pooler_statements_are_prepared_once(database: str) -> None:
    async with SessionStore(database, StoreOptions(lanes=1)) as store:
        await store.sessions.create(id="s")
        for n in range(5):
            await store.events.append("s", "t", n)
        driver = store._backend._lanes[0]._connection.driver  # type: ignore[attr-defined]
        inserts = (
            "SELECT FROM pg_prepared_statements WHERE statement LIKE '%INTO events%'"
        )
        assert await driver.execute(inserts) == "SELECT 1"


@pytest.fixture
async def pooled(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> AsyncIterator[str]:
    """The URL of the database by pgbouncer, in transaction mode, with few servers."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("there is no pgbouncer")
    port = free_port()
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        "max_prepared_statements = 0\nunix_socket_dir =\n"
    )
    user = []
    if os.geteuid() == 0:
        user = ["-u", UNPRIVILEGED]
        os.chmod(tmp_path, 0o755)
    child = await asyncio.create_subprocess_exec(program, *user, str(settings))
    url = database.replace(f":{postgres.port}/", f":{port}/")
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    connection = await asyncpg.connect(url, statement_cache_size=0)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    await connection.close()
                    break
        yield url
    finally:
        child.terminate()
        await child.wait()


async def test_two_stores_behind_pgbouncer(pooled: str) -> None:
    options = StoreOptions(behind_pooler=True)
    async with (
        SessionStore(pooled, options) as one,
        SessionStore(pooled, options) as two,
    ):
        await use(one)
        assert await two.events.append("s1", "t") == 5
        assert await one.events.head("s1") == 5
