"""Stores with a replica behind a pooler, with followers, reading only; stores that
are given a standby, or several hosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.patience import LIMIT_S, patient, until
from tests.support.postgres.cutting import proxied
from tests.support.postgres.server import PostgresServer, free_port
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    back_at,
    caught_up,
    connected,
    lagging,
    server,
)
from turnstore import (
    BackendUnavailable,
    Event,
    NewEvent,
    ReadOnlyStore,
    SessionStore,
    StoreOptions,
)

pytestmark = pytest.mark.anyio


# Behind a pooler


async def test_each_read_asks_the_server_that_it_reads(
    database: str, read_url: str, standby: Standby, postgres: PostgresServer
) -> None:
    """Where a pooler may be between, no connection is trusted to stay what it was."""
    options = StoreOptions(read_url=read_url, behind_pooler=True, **REPLICA_OPTIONS)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        await back_at(store, standby)
        assert await server(store, snapshot=True) == standby.port
        async with lagging(standby, store):
            for n in range(1, 4):
                await store.events.append("s", "t")
                assert await store.events.head("s") == n
                found = await store.sessions.load("s")
                assert found is not None and found.session.event_head == n
            assert await server(store, snapshot=True) == postgres.port
        await back_at(store, standby)
        readers: Any = store._backend._replica._readers  # type: ignore[attr-defined]
        assert not any(each.driver.is_in_transaction() for each in readers._idle)


# Following


async def collect(events: AsyncIterator[Event], count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("behind_pooler", [False, True])
async def test_a_follower_waits_for_no_replica_that_lags(
    database: str,
    read_url: str,
    store: SessionStore,
    standby: Standby,
    behind_pooler: bool,
) -> None:
    await store.sessions.create(id="s")
    options = StoreOptions(
        read_url=read_url,
        behind_pooler=behind_pooler,
        poll_interval_s=0.01,
        **REPLICA_OPTIONS,
    )
    async with SessionStore(database, options) as following:
        await back_at(following, standby)
        for follower in (
            following.events.follow("s"),
            following.events.follow_all(),
        ):
            begun = (await store.events.append_many("s", [NewEvent(type="t")] * 2))[-1]
            assert [each.seq for each in await collect(follower, begun)] == list(
                range(1, begun + 1)
            )
            async with lagging(standby, following):
                seq = await store.events.append("s", "t")
                [event] = await collect(follower, 1)
                assert event.seq == seq
            await follower.aclose()


async def test_followers_miss_nothing_while_the_replica_comes_and_goes(
    reading: SessionStore, store: SessionStore, standby: Standby
) -> None:
    await back_at(reading, standby)
    follower = reading.events.follow("s")
    following = asyncio.create_task(collect(follower, 200))

    async def write(by: SessionStore, count: int) -> None:
        for n in range(count):
            await by.events.append("s", "t", n)

    for _ in range(4):
        async with lagging(standby, reading):
            await asyncio.gather(write(reading, 20), write(store, 20))
        await asyncio.gather(write(reading, 5), write(store, 5))
    assert [each.seq for each in await following] == list(range(1, 201))
    await follower.aclose()


# Stores that only read


async def test_a_store_that_only_reads_has_a_replica_too(
    database: str, read_url: str, store: SessionStore, standby: Standby
) -> None:
    await store.sessions.create(id="s")
    options = StoreOptions(read_only=True, read_url=read_url, **REPLICA_OPTIONS)
    async with SessionStore(database, options) as reader:
        await back_at(reader, standby)
        assert await reader.events.head("s") == 0
        with pytest.raises(ReadOnlyStore):
            await reader.events.append("s", "t")
    options = patient(
        read_only=True, read_url=f"postgresql://postgres@127.0.0.1:{free_port()}/x"
    )
    async with SessionStore(database, options) as reader:
        assert await reader.events.head("s") == 0


async def test_a_store_that_only_reads_opens_a_standby(
    read_url: str,
    store: SessionStore,
    standby: Standby,
    postgres: PostgresServer,
    clock: Clock,
) -> None:
    await store.sessions.create(id="s", title="a")
    await store.messages.append("s", "user", "hello")
    await store.events.append("s", "t", 1)
    await caught_up(postgres, standby)
    options = patient(read_only=True, poll_interval_s=0.01)
    async with SessionStore(read_url, options) as reader:
        assert await server(reader) == standby.port
        found = await reader.sessions.load("s")
        assert found is not None and len(found.messages) == 1
        assert len((await reader.sessions.list()).items) == 1
        assert len(await reader.messages.context("s")) == 1
        with pytest.raises(ReadOnlyStore):
            await reader.events.append("s", "t")
        follower = reader.events.follow("s")
        assert [each.data for each in await collect(follower, 1)] == [1]
        following = asyncio.create_task(collect(follower, 2))
        await store.events.append("s", "t", 2)
        await store.events.append("s", "t", 3)
        assert [each.data for each in await following] == [2, 3]
        with clock.stopped():  # what waits for its time to be up would hang
            await follower.aclose()
            await reader.close()


async def test_a_standby_shows_that_an_older_transaction_has_ended(
    database: str, read_url: str, standby: Standby, postgres: PostgresServer
) -> None:
    """One that began before others that ended before it."""
    options = patient(read_only=True)
    async with (
        SessionStore(read_url, options) as reader,
        connected(database) as oldest,
        connected(database) as older,
        connected(database) as newest,
    ):
        for each in (oldest, older, newest):
            await each.execute("BEGIN; SELECT pg_current_xact_id()")
            await each.execute("CREATE TEMPORARY TABLE t (n int)")
        await newest.execute("COMMIT")
        await caught_up(postgres, standby)
        before = await reader._backend.data_version()
        await older.execute("COMMIT")

        async def is_newer() -> bool:
            return await reader._backend.data_version() != before

        await until(is_newer)
        await oldest.execute("COMMIT")


async def test_a_store_that_writes_does_not_settle_on_a_standby(
    database: str, read_url: str, standby: Standby, postgres: PostgresServer
) -> None:
    with pytest.raises(BackendUnavailable, match="read_only=True"):
        await SessionStore(read_url).open()
    name = database.rsplit("/", 1)[1]
    both = f"127.0.0.1:{standby.port},127.0.0.1:{postgres.port}"
    async with SessionStore(f"postgresql://postgres@{both}/{name}", patient()) as store:
        await store.sessions.create(id="s")
        assert await server(store) == postgres.port
    wanted = "?target_session_attrs=prefer-standby"
    url = f"postgresql://postgres@127.0.0.1:{postgres.port},127.0.0.1:{standby.port}/"
    async with SessionStore(url + name + wanted, patient(read_only=True)) as store:
        assert await server(store) == standby.port


async def test_a_host_that_is_silent_does_not_keep_the_others_from_being_tried(
    database: str, postgres: PostgresServer, clock: Clock
) -> None:
    async with proxied(postgres.port) as proxy:
        proxy.is_silent = True
        name = database.rsplit("/", 1)[1]
        hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{postgres.port}"
        url = f"postgresql://postgres@{hosts}/{name}"
        store = SessionStore(url, patient(busy_timeout_s=2 * LIMIT_S))
        opening = asyncio.create_task(store.open())
        await until(lambda: proxy.swallowed)
        assert not opening.done()
        clock.advance(LIMIT_S)  # its share
        await opening
        await store.sessions.create(id="s")
        assert await store.events.append("s", "t") == 1
        await store.close()
        assert proxy.met == 1
