"""Reads from a replica: what they see."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.patience import patient, until
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    back_at,
    caught_up,
    connected,
    lagging,
    leave_for_long,
    paused,
    port_and_count,
    replayed,
    resume,
    server,
)
from turnstore import SessionFilter, SessionNotFound, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


def count_looks(store: SessionStore) -> dict[Any, int]:
    """Count, of each connection to the replica from now on, how often the store asks
    how far it is."""
    readers: Any = store._backend._replica._readers  # type: ignore[attr-defined]
    look = readers._look
    looks: Counter[Any] = Counter()

    async def count(connection: Any) -> Any:
        looks[connection] += 1
        return await look(connection)

    readers._look = count
    return looks


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
    await until(lambda: reading.events.head("s"))
    assert await reading.events.head("s") == 1
    assert await server(reading) == standby.port


async def test_own_writes_are_seen_while_the_replica_lags(
    reading: SessionStore,
    standby: Standby,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await back_at(reading, standby)
    replica: Any = reading._backend._replica  # type: ignore[attr-defined]
    leave_for_long(monkeypatch)
    absences = replica._absences
    async with lagging(standby, reading):
        for n in range(1, 6):
            assert await reading.events.append("s", "t", n) == n
            assert await reading.events.head("s") == n
            [newest] = await reading.events.list("s", after=n - 1)
            assert newest.data == n
        assert await server(reading) == postgres.port
        assert replica._absences == absences + 1  # not each of the reads tried it
    replica._until_s = 0.0  # the next read tries it again
    await back_at(reading, standby)
    assert await reading.events.head("s") == 5


async def test_a_snapshot_and_a_listing_have_own_writes_too(
    reading: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    async with lagging(standby, reading):
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
    async with SessionStore(database, patient(read_url=read_url)) as store:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        looks = count_looks(store)
        async with paused(standby):
            await store.events.append("s", "t")
            counting = [
                asyncio.create_task(store._backend.read(port_and_count, snapshot=each))
                for each in (False, True)
            ]
            await until(lambda: len(looks) == 2 and min(looks.values()) > 1)
            assert not any(each.done() for each in counting)
            await resume(standby)
            assert await asyncio.gather(*counting) == [(standby.port, 1)] * 2


async def test_reads_do_not_go_back_when_the_replica_comes_back(
    reading: SessionStore, store: SessionStore, standby: Standby
) -> None:
    """What a read has seen on the primary, the next one sees wherever it goes."""
    await back_at(reading, standby)
    replica: Any = reading._backend._replica  # type: ignore[attr-defined]
    heads = []
    async with lagging(standby, reading):
        await store.events.append("s", "t")
        heads.append(await reading.events.head("s"))
        replica._leave("for the test")
        replica._until_s = math.inf
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
    options = patient(read_url=read_url)
    async with SessionStore(database, options) as store, connected(database) as admin:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        await store.events.append("s", "t")
        notices: Any = store._backend._notices  # type: ignore[attr-defined]
        # Until those are sent, which are commits.
        await until(lambda: notices._wake is not None and not notices._wake.done())
        committed = await admin.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        await replayed(standby, committed)
        looks = count_looks(store)
        await admin.execute(
            "SELECT pg_logical_emit_message(false, '', repeat('x', 12345))"
        )
        await until(
            lambda: admin.fetchval(
                "SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() AND "
                "mod(pg_current_wal_flush_lsn() - '0/0'::pg_lsn, 8192) = 0"
            )
        )
        store._backend._replica.mark()  # type: ignore[attr-defined]
        assert await store._backend.read(port_and_count) == (standby.port, 1)
        assert [*looks.values()] == [1]


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_own_writes_come_from_the_replica_soon(
    database: str, read_url: str, standby: Standby, durability: Any
) -> None:
    options = patient(read_url=read_url, durability=durability)
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
    looks = count_looks(reading)
    async with paused(standby):
        await reading.events.append("s", "t")
        waiting = [asyncio.create_task(reading.events.head("s")) for _ in range(6)]
        await until(lambda: len(looks) == reading.options.readers)
        for task in waiting:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found)
    async with lagging(standby, reading):
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
    options = patient(read_url=read_url.replace("postgres@", "plain@"))
    async with SessionStore(database.replace("postgres@", "plain@"), options) as store:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        assert await store.events.append("s", "t") == 1
        assert await store.events.head("s") == 1
    async with connected(database) as admin:
        await admin.execute("DROP OWNED BY plain")
