"""Following what other stores commit: told by NOTIFY, else found by polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.support.patience import LIMIT_S, patient, until, without_polls
from tests.support.postgres.cutting import Proxy, proxied
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import connected
from turnstore import Event, SessionStore
from turnstore.engine.postgres import notices
from turnstore.store.events import Events

pytestmark = pytest.mark.anyio

SLOW = without_polls()
"""A follower of such a store learns of others' writes by notices alone."""


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with proxied(postgres.port) as opened:
        yield opened


async def collect(events: AsyncIterator[Event], count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def listening(url: str) -> None:
    """Wait until a connection to the database listens."""
    async with connected(url) as admin:
        await until(
            lambda: admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE "
                "datname = current_database() AND query LIKE 'LISTEN%'"
            )
        )


def data(events: list[Event]) -> list[object]:
    return [each.data for each in events]


async def test_a_notice_tells_of_another_store_s_event(
    database: str, store: SessionStore
) -> None:
    await store.sessions.create(id="s")
    async with SessionStore(database, SLOW) as following:
        follower = following.events.follow("s")
        reading = asyncio.create_task(collect(follower, 3))
        await listening(database)
        for n in range(3):
            await store.events.append("s", "t", n)
        assert data(await reading) == [0, 1, 2]
        await follower.aclose()


async def test_a_notice_tells_of_a_new_session(
    database: str, store: SessionStore
) -> None:
    async with SessionStore(database, SLOW) as following:
        follower = following.events.follow_all()
        reading = asyncio.create_task(collect(follower, 2))
        await listening(database)
        for name in ("a", "b"):
            await store.sessions.create(id=name)
            await store.events.append(name, "t", name)
        assert sorted(str(each) for each in data(await reading)) == ["a", "b"]
        await follower.aclose()


async def test_without_notices_a_poll_finds_it(
    database: str, store: SessionStore
) -> None:
    """Behind a pooler nobody listens."""
    await store.sessions.create(id="s")
    options = patient(behind_pooler=True, poll_interval_s=0.01)
    async with SessionStore(database, options) as following:
        follower = following.events.follow("s")
        reading = asyncio.create_task(collect(follower, 2))
        await asyncio.sleep(0)
        await store.events.append("s", "t", 1)
        await store.events.append("s", "t", 2)
        assert data(await reading) == [1, 2]
        await follower.aclose()


async def test_who_finds_a_pooler_later_listens_no_more(
    database: str, store: SessionStore
) -> None:
    """As the host that it moved to is behind one."""
    await store.sessions.create(id="s")
    options = patient(poll_interval_s=0.01)
    async with SessionStore(database, options) as following:
        follower = following.events.follow("s")
        reading = asyncio.create_task(collect(follower, 1))
        await listening(database)
        backend: Any = following._backend
        backend._connector.is_pooled = True
        async with connected(database) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "datname = current_database() AND query LIKE 'LISTEN%'"
            )
            await until(lambda: not backend._notices._is_listening)
            await following.events.append("s", "t", 1)
            assert data(await reading) == [1]
            await until(lambda: not backend._notices._is_due)
            assert not backend._notices._is_listening
        await follower.aclose()


async def test_a_lost_listener_listens_again_and_misses_nothing(
    database: str, store: SessionStore, postgres: PostgresServer, proxy: Proxy
) -> None:
    await store.sessions.create(id="s")
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with SessionStore(url, SLOW) as following:
        follower = following.events.follow("s")
        await store.events.append("s", "t", 0)
        assert data(await collect(follower, 1)) == [0]
        reading = asyncio.create_task(collect(follower, 2))
        await listening(database)
        proxy.refuses = True
        proxy.cut_all()
        await store.events.append("s", "t", 1)
        met = proxy.met
        await until(lambda: proxy.met > met)
        assert not reading.done()
        notices: Any = following._backend._notices  # type: ignore[attr-defined]
        assert not notices._is_listening
        proxy.refuses = False
        await until(lambda: notices._is_listening)
        await store.events.append("s", "t", 2)
        assert data(await reading) == [1, 2]
        await follower.aclose()


async def test_events_of_two_stores_at_once_come_in_order(
    store: SessionStore, second_store: SessionStore
) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await store.sessions.create(id=name)
    follower = store.events.follow_all(names)
    reading = asyncio.create_task(collect(follower, 300))

    async def append(events: Events, name: str) -> None:
        for n in range(50):
            await events.append(name, "t", n)

    await asyncio.gather(
        *(append(each.events, name) for each in (store, second_store) for name in names)
    )
    found = await reading
    for name in names:
        seqs = [each.seq for each in found if each.session_id == name]
        assert seqs == list(range(1, 101))
    await follower.aclose()


async def test_nobody_listens_when_nobody_follows(database: str) -> None:
    async with SessionStore(database, SLOW) as store:
        await store.sessions.create(id="s")
        follower = store.events.follow("s")
        await store.events.append("s", "t", 1)
        assert data(await collect(follower, 1)) == [1]
        notices = store._backend._notices  # type: ignore[attr-defined]
        await until(lambda: notices._is_listening)
        await follower.aclose()
        await until(lambda: not notices._is_listening)
        assert notices._heard is None


async def test_many_commits_are_few_notices(
    database: str, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SPACING_S", LIMIT_S)
    heard: list[str] = []
    listener = await asyncpg.connect(database)
    try:
        await listener.add_listener("turnstore", lambda *each: heard.append(each[3]))
        await store.sessions.create(id="s")
        for n in range(100):
            await store.events.append("s", "t", n)
        await until(lambda: len(heard) > 0)
        await store.close()  # sends what is due
        await until(lambda: len(heard) > 1)
        assert len(heard) == 2
        await listener.remove_listener("turnstore", lambda *each: None)
    finally:
        await listener.close()
