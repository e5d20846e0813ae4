"""A replica that is away, silent or promoted: reads go to the primary, and back."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.patience import patient, until
from tests.support.postgres.cutting import proxied
from tests.support.postgres.server import PostgresServer, aside, free_port
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    back_at,
    caught_up,
    connected,
    leave_for_long,
    replica_url,
    server,
)
from turnstore import NewEvent, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


async def test_each_page_is_a_read_of_its_own(
    reading: SessionStore, standby: Standby, postgres: PostgresServer
) -> None:
    await reading.events.append_many("s", [NewEvent(type="t")] * 25)
    await back_at(reading, standby)
    found = []
    pages = reading.events.stream("s", page_size=10)
    async for event in pages:
        found.append(event.seq)
        if event.seq == 10:
            await aside(standby.stop, signal.SIGKILL)
        if event.seq == 20:
            await reading.events.append("s", "t")
    assert found == list(range(1, 27))
    assert await server(reading) == postgres.port
    await aside(standby.start)
    await back_at(reading, standby)
    first = await reading.sessions.list(limit=1)
    assert len(first.items) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "fast"])
async def test_a_replica_that_goes_and_comes_back(
    reading: SessionStore, standby: Standby, postgres: PostgresServer, how: Any
) -> None:
    await back_at(reading, standby)
    is_over = False
    heads: list[int] = []

    async def read() -> None:
        while not is_over:
            heads.append(await reading.events.head("s"))

    async def write() -> None:
        n = 0
        while not is_over:
            n += 1
            assert await reading.events.append("s", "t") == n
            assert await reading.events.head("s") >= n

    tasks = [asyncio.create_task(each) for each in (read(), read(), write())]
    await aside(standby.stop, how)
    assert await server(reading) == postgres.port
    seen = len(heads)
    await until(lambda: len(heads) > seen + 10)
    await aside(standby.start)
    await back_at(reading, standby)
    is_over = True
    await asyncio.gather(*tasks)
    assert heads[-1] > 0


async def test_a_replica_that_is_not_there(
    database: str, postgres: PostgresServer
) -> None:
    url = postgres.url(database.rsplit("/", 1)[1], free_port())
    async with SessionStore(database, patient(read_url=url)) as store:
        await store.sessions.create(id="s")
        for n in range(1, 20):
            await store.events.append("s", "t")
            assert await store.events.head("s") == n
        assert await server(store, snapshot=True) == postgres.port


async def test_a_replica_that_does_not_answer(
    database: str,
    read_url: str,
    standby: Standby,
    postgres: PostgresServer,
    clock: Clock,
) -> None:
    """Not each of the reads waits for it."""
    async with proxied(standby.port) as proxy:
        proxy.is_silent = True
        options = patient(read_url=replica_url(database, postgres, proxy), readers=2)
        async with SessionStore(database, options) as store:
            await store.sessions.create(id="s")
            heads = asyncio.gather(*(store.events.head("s") for _ in range(20)))
            for tried in (2, 4):  # those who come next may not know of it yet
                await until(lambda: heads.done() or proxy.swallowed == tried)  # noqa: B023
                clock.advance(options.replica_wait_s)
            assert await heads == [0] * 20
            assert proxy.met <= 4
            proxy.is_silent = False
            proxy.cut_all()
            await back_at(store, standby)


async def test_a_replica_that_falls_silent(
    database: str,
    read_url: str,
    standby: Standby,
    postgres: PostgresServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_for_long(monkeypatch)
    async with proxied(standby.port) as proxy:
        options = patient(read_url=replica_url(database, postgres, proxy))
        async with SessionStore(database, options) as store:
            await store.sessions.create(id="s")
            await back_at(store, standby)
            proxy.is_silent = True
            reading = asyncio.create_task(store.events.head("s"))
            await until(lambda: proxy.swallowed)
            clock.advance(options.answer_timeout_s)
            assert await reading == 0
            assert await server(store) == postgres.port


async def test_a_silent_replica_is_left_by_those_who_wait_for_less_than_it_may_take(
    database: str,
    read_url: str,
    standby: Standby,
    postgres: PostgresServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are gone before a connection or an answer is known not to come."""
    leave_for_long(monkeypatch)
    async with proxied(standby.port) as proxy:
        options = patient(read_url=replica_url(database, postgres, proxy))
        async with SessionStore(database, options) as store:
            await store.sessions.create(id="s")
            await back_at(store, standby)
            replica: Any = store._backend._replica  # type: ignore[attr-defined]
            proxy.is_silent = True
            # One waits for an answer, the next one for a connection.
            for _ in range(2):
                swallowed = proxy.swallowed
                reading = asyncio.create_task(store.events.head("s"))
                await until(lambda: proxy.swallowed > swallowed)  # noqa: B023
                reading.cancel()
                await until(lambda: not replica._readers._running)
            with clock.stopped():  # those that wait for a timeout would hang
                for _ in range(5):
                    assert await store.events.head("s") == 0


async def test_a_replica_that_was_promoted(
    database: str, postgres: PostgresServer, own_standby: Standby
) -> None:
    """Its data may be others; connections to it stay."""
    await caught_up(postgres, own_standby)
    url = replica_url(database, postgres, own_standby)
    options = StoreOptions(read_url=url, **REPLICA_OPTIONS)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        await back_at(store, own_standby)
        # Both of its connections, so that both are there afterwards.
        await asyncio.gather(*(store.events.head("s") for _ in range(8)))
        await aside(own_standby.promote)
        async with connected(url) as other:
            await other.execute("DELETE FROM sessions")
        found = await asyncio.gather(*(store.events.head("s") for _ in range(8)))
        assert found == [0] * 8
        assert await server(store) == postgres.port
        replica: Any = store._backend._replica  # type: ignore[attr-defined]
        replica._until_s = 0.0
        assert await server(store, snapshot=True) == postgres.port


async def test_what_lies_behind_a_lost_replica_is_told_without_secrets(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://user@127.0.0.1:{free_port()}/x?password=secret"
    async with SessionStore(database, patient(read_url=url)) as store:
        assert await server(store) > 0
        assert "secret" not in repr(store.options)
    await until(lambda: "reads go to the primary" in caplog.text)
    assert "secret" not in caplog.text
