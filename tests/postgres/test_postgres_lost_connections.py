"""Connections and servers that go away: nothing acknowledged is lost or doubled, no
call hangs, the store recovers by itself."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection

from tests.support.clock import Clock
from tests.support.patience import LIMIT_S, patient, until
from tests.support.postgres.cutting import Proxy, proxied
from tests.support.postgres.loading import Load
from tests.support.postgres.posting import barred, blocked, held, opened, submitted
from tests.support.postgres.server import PostgresServer, aside
from turnstore import (
    BackendError,
    BackendUnavailable,
    DatabaseBusy,
    OutcomeUnknown,
    SessionStore,
    StoreClosed,
)
from turnstore.engine.postgres.connections import PostgresConnection

pytestmark = pytest.mark.anyio

# A server that was cut off begins by writing to the disk what it finds, file by file
# unless told so: seconds on a busy disk.
QUICK_START = {"recovery_init_sync_method": "syncfs"}


@pytest.fixture(scope="module")
def own_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    server = PostgresServer(QUICK_START if sys.platform == "linux" else {})
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with proxied(postgres.port) as opened_proxy:
        yield opened_proxy


def wait(connection: Connection) -> None:
    """Read what comes once ``barred`` is left."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")


async def end_all_connections(url: str, postgres: PostgresServer) -> int:
    admin = await asyncpg.connect(postgres.url())
    try:
        ended: int = await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = $1",
            url.rsplit("/", 1)[1],
        )
        return ended
    finally:
        await admin.close()


async def test_idle_connections_that_are_ended_are_made_again(
    store: SessionStore, database: str, postgres: PostgresServer
) -> None:
    await store.sessions.create(id="s")
    for n in range(1, 4):
        assert await store.events.append("s", "t", n) == n
        assert await store.events.head("s") == n
        assert await end_all_connections(database, postgres) > 0
    assert await store.events.append("s", "t", 4) == 4
    assert await store.events.head("s") == 4


async def test_connections_ended_under_load(
    store: SessionStore, database: str, postgres: PostgresServer
) -> None:
    load = Load(store)
    async with asyncio.TaskGroup() as group:
        await load.start(group)
        for _ in range(8):
            await load.goes_on()
            assert await end_all_connections(database, postgres) > 0
        await load.goes_on()
        load.stop()
    await load.check()


@pytest.mark.crash
@pytest.mark.parametrize(
    "how, rounds",
    [(signal.SIGQUIT, 20), (signal.SIGKILL, 3), (signal.SIGINT, 3)],
    ids=["immediate", "killed", "fast"],
)
async def test_a_server_stopped_under_load(
    own_server: PostgresServer, how: signal.Signals, rounds: int, rng: random.Random
) -> None:
    admin = await asyncpg.connect(own_server.url())
    name = f"load_{how.name.lower()}"
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    options = patient(migrate="auto")
    async with SessionStore(own_server.url(name), options) as store:
        load = Load(store)
        async with asyncio.TaskGroup() as group:
            await load.start(group)
            for _ in range(rounds):
                await load.goes_on()
                await asyncio.sleep(rng.uniform(0, 0.05))
                await aside(own_server.stop, how)
                await asyncio.sleep(rng.uniform(0, 0.1))
                await aside(own_server.start)
            await load.goes_on()
            load.stop()
        await load.check()


async def test_a_server_that_is_away(own_server: PostgresServer) -> None:
    options = patient(migrate="auto", busy_timeout_s=0.2)
    async with SessionStore(own_server.url(), options) as store:
        await store.sessions.create(id="s")
        await aside(own_server.stop)
        with pytest.raises(BackendUnavailable):
            await store.events.append("s", "t")
        with pytest.raises(BackendUnavailable):
            await store.events.head("s")
        with pytest.raises(BackendUnavailable):
            await SessionStore(own_server.url(), options).open()
        await aside(own_server.start)
        assert await store.events.append("s", "t") == 1
        assert await store.events.head("s") == 1


async def test_a_network_that_swallows_everything(
    postgres: PostgresServer, proxy: Proxy, database: str, clock: Clock
) -> None:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    options = patient(answer_timeout_s=300, busy_timeout_s=500)
    async with SessionStore(url, options) as store:
        await store.sessions.create(id="s")
        await store.events.head("s")
        proxy.is_silent = True
        calls = asyncio.gather(
            store.events.append("s", "t"),
            store.events.head("s"),
            return_exceptions=True,
        )
        await until(lambda: proxy.swallowed >= 2)
        met = proxy.met
        await clock.fly(calls)
        assert proxy.met > met  # they were tried again
        written, read = await calls
        assert isinstance(written, BackendUnavailable)
        assert isinstance(read, BackendUnavailable)
        proxy.is_silent = False
        proxy.cut_all()
        assert await store.events.append("s", "t") == 1
        assert await store.events.head("s") == 1


async def test_a_commit_without_an_answer(
    postgres: PostgresServer, proxy: Proxy, database: str, clock: Clock
) -> None:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    options = patient(answer_timeout_s=300, busy_timeout_s=500)
    async with SessionStore(url, options) as store:
        await store.sessions.create(id="s")
        proxy.silent_at = b"COMMIT\x00"
        writing = asyncio.create_task(store.events.append("s", "t"))
        await until(lambda: proxy.is_silent)
        await clock.fly(writing)
        with pytest.raises(OutcomeUnknown):
            await writing


async def test_a_cancelled_upgrade_without_an_answer(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> None:
    """An upgrade may take long, so no answer is waited for any less."""
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    proxy.silent_at = b"pg_advisory_xact_lock"
    opening = asyncio.create_task(SessionStore(url, patient(migrate="auto")).open())
    await until(lambda: proxy.is_silent)
    opening.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await opening


async def test_closing_while_the_server_is_silent(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> None:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    store = SessionStore(url, patient(close_timeout_s=0.2))
    async with store:
        await store.sessions.create(id="s")
        proxy.is_silent = True
        writing = asyncio.create_task(store.events.append("s", "t"))
        reading = asyncio.create_task(store.events.head("s"))
        await until(lambda: proxy.swallowed >= 2)
        async with asyncio.timeout(LIMIT_S):
            await store.close()
        found = await asyncio.gather(writing, reading, return_exceptions=True)
        assert isinstance(found[0], BackendError)
        assert isinstance(found[1], StoreClosed)


async def test_closing_while_a_lane_connects_to_a_silent_server(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> None:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with SessionStore(url, patient(close_timeout_s=0.2)) as store:
        await store.sessions.create(id="s")
        proxy.is_silent = True
        proxy.cut_all()
        writing = asyncio.create_task(store.events.append("s", "t"))
        lanes: Any = store._backend._lanes  # type: ignore[attr-defined]
        await until(lambda: proxy.swallowed and any(each._connecting for each in lanes))
        async with asyncio.timeout(LIMIT_S):
            await store.close()
        with pytest.raises(BackendUnavailable):
            await writing


async def test_closing_says_good_bye_on_all_connections_at_once(
    postgres: PostgresServer,
    proxy: Proxy,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closing, at_once = 0, []
    close = PostgresConnection.close

    async def count(self: PostgresConnection) -> None:
        nonlocal closing
        closing += 1
        at_once.append(closing)
        await close(self)
        closing -= 1

    monkeypatch.setattr(PostgresConnection, "close", count)
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with opened(url, readers=6, close_timeout_s=0.2) as backend:
        async with barred(database) as holder:
            reads = [asyncio.create_task(backend.read(wait)) for _ in range(6)]
            await blocked(holder, 6)
        await asyncio.gather(*reads)
        proxy.is_silent = True
        reads = [asyncio.create_task(backend.read(wait)) for _ in range(3)]
        await asyncio.sleep(0)
        await backend.close()
        assert at_once == [1, 2, 3]  # those that were idle
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(each) for each in found] == [StoreClosed] * 3


async def test_a_head_that_somebody_keeps_locked(database: str) -> None:
    options = patient(busy_timeout_s=0.1)
    async with SessionStore(database, options) as store:
        await store.sessions.create(id="s")
        other = await asyncpg.connect(database)
        try:
            await other.execute("BEGIN; SELECT * FROM session_heads FOR UPDATE")
            with pytest.raises(DatabaseBusy):
                await store.events.append("s", "t")
            await other.execute("ROLLBACK")
        finally:
            await other.close()
        assert await store.events.append("s", "t") == 1


async def test_a_batch_under_way_is_written_once_when_its_connection_is_ended(
    database: str, postgres: PostgresServer
) -> None:
    from tests.support.postgres.posting import Note, texts

    async with opened(database, lanes=1) as backend:
        async with held(backend, database):
            queued = asyncio.create_task(backend.write(Note("s", 1, "once")))
            await submitted(backend, 1)
            admin = await asyncpg.connect(postgres.url())
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND NOT granted"
            )
            await admin.close()
        assert await queued > 0
        assert await backend.read(texts) == ["once"]
