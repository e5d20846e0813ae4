"""Reads from a replica: what they see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    WAIT_S,
    Standby,
    back_at,
    caught_up,
    connected,
    paused,
    port_and_count,
    resume,
    server,
)
from turnstore import SessionFilter, SessionNotFound, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


async def test_reads_come_from_the_replica(
    reading: SessionStore, standby: Standby, postgres: PostgresServer
) -> None:
    await back_at(reading, standby)
    assert await server(reading) == standby.port
    assert await server(reading, snapshot=True) == standby.port
    written_on = await reading.events.append("s", "t")
    assert written_on == 1
    assert standby.port != postgres.port


async def test_what_another_store_wrote_is_as_old_as_the_replica(
    reading: SessionStore, store: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    assert await reading.events.head("s") == 0
    async with paused(standby):
        await store.events.append("s", "t")
        assert await store.events.head("s") == 1
        assert await reading.events.head("s") == 0
        assert await server(reading) == standby.port
    async with asyncio.timeout(10):
        while await reading.events.head("s") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert await server(reading) == standby.port


async def test_own_writes_are_seen_while_the_replica_lags(
    reading: SessionStore, standby: Standby, postgres: PostgresServer
) -> None:
    await back_at(reading, standby)
    async with paused(standby):
        began_s = time.monotonic()
        for n in range(1, 6):
            assert await reading.events.append("s", "t", n) == n
            assert await reading.events.head("s") == n
            [newest] = await reading.events.list("s", after=n - 1)
            assert newest.data == n
        assert await server(reading) == postgres.port
        # Not each of the reads waits.
        assert time.monotonic() - began_s < 10 * WAIT_S
    await back_at(reading, standby)
    assert await reading.events.head("s") == 5


async def test_a_snapshot_and_a_listing_have_own_writes_too(
    reading: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    async with paused(standby):
        await reading.messages.append("s", "user", "hello")
        await reading.tool_calls.create("s", "ls", {})
        await reading.sessions.update("s", title="new")
        found = await reading.sessions.load("s")
        assert found is not None
        assert (len(found.messages), len(found.tool_calls)) == (1, 1)
        [listed] = (await reading.sessions.list()).items
        assert (listed.title, listed.message_count) == ("new", 1)
        assert await reading.sessions.count(SessionFilter(title_contains="new")) == 1


async def test_a_read_waits_for_the_replica_that_is_soon_there(
    database: str, read_url: str, standby: Standby
) -> None:
    options = StoreOptions(read_url=read_url, replica_wait_s=15)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        await server(store)
        async with paused(standby):
            await store.events.append("s", "t")
            counting = [
                asyncio.create_task(store._backend.read(port_and_count, snapshot=each))
                for each in (False, True)
            ]
            done, _ = await asyncio.wait(counting, timeout=0.1)
            assert not done
            await resume(standby)
            assert await asyncio.gather(*counting) == [(standby.port, 1)] * 2


async def test_reads_do_not_go_back_when_the_replica_comes_back(
    reading: SessionStore, store: SessionStore, standby: Standby
) -> None:
    """What a read has seen on the primary, the next one sees wherever it goes."""
    await back_at(reading, standby)
    replica: Any = reading._backend._replica  # type: ignore[attr-defined]
    heads = []
    async with paused(standby):
        await store.events.append("s", "t")
        heads.append(await reading.events.head("s"))
        replica._leave("for the test")
        heads.append(await reading.events.head("s"))
        replica._until_s = 0.0  # the next read tries the replica again
        heads.append(await reading.events.head("s"))
    assert heads == [0, 1, 1]
    await back_at(reading, standby)
    assert await reading.events.head("s") == 1


async def test_reads_at_once_ask_the_primary_once(
    reading: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    await asyncio.gather(*(reading.events.head("s") for _ in range(20)))
    positions: Any = reading._backend._replica._positions  # type: ignore[attr-defined]
    ask: Callable[[], Any] = positions._ask
    asked = 0

    async def counted() -> Any:
        nonlocal asked
        asked += 1
        return await ask()

    positions._ask = counted
    await asyncio.gather(*(reading.events.head("s") for _ in range(20)))
    assert asked == 0
    await asyncio.gather(*(reading.events.append("s", "t") for _ in range(20)))
    assert asked == 0
    heads = await asyncio.gather(*(reading.events.head("s") for _ in range(20)))
    assert heads == [20] * 20
    # Once, and once for each connection that had to be made.
    assert 1 <= asked <= 1 + reading.options.readers
    before = asked
    assert await reading.events.head("s") == 20
    assert asked == before


async def test_a_primary_that_has_written_half_of_what_can_wait(
    database: str, read_url: str, standby: Standby
) -> None:
    """What belongs to no commit is sent with the next one: none may come for long."""
    options = StoreOptions(read_url=read_url, replica_wait_s=15)
    async with SessionStore(database, options) as store, connected(database) as admin:
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
        await back_at(store, standby)
        await asyncio.sleep(0.2)  # until the notices are sent, which are commits
        await admin.execute(
            "SELECT pg_logical_emit_message(false, '', repeat('x', 12345))"
        )
        async with asyncio.timeout(10):
            while not await admin.fetchval(  # noqa: ASYNC110
                "SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() AND "
                "mod(pg_current_wal_flush_lsn() - '0/0'::pg_lsn, 8192) = 0"
            ):
                await asyncio.sleep(0.02)
        store._backend._replica.mark()  # type: ignore[attr-defined]
        began_s = time.monotonic()
        assert await store._backend.read(port_and_count) == (standby.port, 1)
        assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_own_writes_come_from_the_replica_soon(
    database: str, read_url: str, standby: Standby, durability: Any
) -> None:
    options = StoreOptions(read_url=read_url, replica_wait_s=15, durability=durability)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        for n in range(1, 11):
            await store.events.append("s", "t")
            assert await store._backend.read(port_and_count) == (standby.port, n)


async def test_another_database_is_no_replica(
    database: str, standby: Standby, postgres: PostgresServer
) -> None:
    options = StoreOptions(read_url=standby.url("postgres"), **REPLICA_OPTIONS)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        assert await store.events.head("s") == 0
        assert await server(store) == postgres.port
    options = StoreOptions(read_url=database, **REPLICA_OPTIONS)
    async with SessionStore(database, options) as store:
        assert await store.events.head("s") == 0


async def test_an_error_of_the_work_is_the_caller_s(reading: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await reading.events.head("none")
    with pytest.raises(ZeroDivisionError):
        await reading._backend.read(lambda _: 1 / 0)
    assert await reading.events.head("s") == 0


async def test_cancelled_reads_leave_nothing(
    reading: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    async with paused(standby):
        await reading.events.append("s", "t")
        waiting = [asyncio.create_task(reading.events.head("s")) for _ in range(6)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found)
        assert await reading.events.head("s") == 1
    await back_at(reading, standby)


async def test_a_store_of_a_role_without_rights_of_an_administrator(
    database: str, read_url: str, standby: Standby, postgres: PostgresServer
) -> None:
    async with connected(database) as admin:
        await admin.execute(
            "DO $$ BEGIN CREATE ROLE plain LOGIN; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain;"
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain"
        )
    await caught_up(postgres, standby)
    options = StoreOptions(read_url=read_url.replace("postgres@", "plain@"))
    async with SessionStore(database.replace("postgres@", "plain@"), options) as store:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        assert await store.events.append("s", "t") == 1
        assert await store.events.head("s") == 1
    async with connected(database) as admin:
        await admin.execute("DROP OWNED BY plain")
