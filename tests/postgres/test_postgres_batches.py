"""Batches of appends to several sessions, each one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.patience import patient, until
from tests.support.postgres.standby import connected
from turnstore import (
    BackendError,
    DatabaseBusy,
    SessionNotFound,
    SessionStore,
)

pytestmark = pytest.mark.anyio

IDS = ["a", "b", "c"]


async def made(store: SessionStore) -> SessionStore:
    """Make the sessions, and have the lane know their keys."""
    await asyncio.gather(*(store.sessions.create(id=each) for each in IDS))
    await asyncio.gather(*(store.events.append_many(each, []) for each in IDS))
    return store


@pytest.fixture
async def one_lane(database: str) -> AsyncIterator[SessionStore]:
    async with SessionStore(database, patient(lanes=1)) as store:
        yield await made(store)


async def append(store: SessionStore, data: Any = None) -> list[Any]:
    """Append to each of the sessions, in one batch."""
    appends = (store.events.append(each, "t", data) for each in IDS)
    return await asyncio.gather(*appends, return_exceptions=True)


async def heads(store: SessionStore) -> list[int]:
    return [await store.events.head(each) for each in IDS]


async def watch(url: str) -> None:
    """Have each row of events write down what its transaction is set to."""
    async with connected(url) as admin:
        await admin.execute(
            "CREATE TABLE seen (transaction xid8, synchronous_commit text, "
            "lock_timeout text, client_min_messages text, idle text, isolation text);"
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO seen VALUES (pg_current_xact_id(), "
            "current_setting('synchronous_commit'), current_setting('lock_timeout'), "
            "current_setting('client_min_messages'), "
            "current_setting('idle_in_transaction_session_timeout'), "
            "current_setting('transaction_isolation')); RETURN NEW; END $$;"
            "CREATE TRIGGER see BEFORE INSERT ON events "
            "FOR EACH ROW EXECUTE FUNCTION see()"
        )


async def seen(url: str) -> list[tuple[Any, ...]]:
    async with connected(url) as admin:
        return [tuple(row) for row in await admin.fetch("SELECT * FROM seen")]


@pytest.mark.parametrize(("durability", "commits"), [("full", "on"), ("normal", "off")])
async def test_what_its_transaction_is_set_to(
    database: str, durability: Any, commits: str
) -> None:
    await watch(database)
    options = patient(
        lanes=1, durability=durability, busy_timeout_s=7, answer_timeout_s=11
    )
    async with SessionStore(database, options) as store:
        await made(store)
        assert await append(store) == [1, 1, 1]
        lane: Any = store._backend._lanes[0]  # type: ignore[attr-defined]
        left = await lane._connection.driver.fetchval("SHOW lock_timeout")
    found = await seen(database)
    assert {each[1:] for each in found} == {
        (commits, "7s", "warning", "11s", "read committed")
    }
    assert len({each[0] for each in found}) == 1
    assert left == "0"


@pytest.mark.parametrize(
    "default",
    [
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
    ],
)
async def test_a_server_whose_transactions_begin_otherwise(
    database: str, default: str
) -> None:
    await watch(database)
    name = database.rsplit("/", 1)[1]
    async with connected(database) as admin:
        await admin.execute(f"ALTER DATABASE {name} SET {default}")
    async with SessionStore(database, patient(lanes=1)) as store:
        await made(store)
        assert await append(store) == [1, 1, 1]
    assert {each[5] for each in await seen(database)} == {"read committed"}


async def test_a_session_that_is_gone_fails_alone(
    one_lane: SessionStore, database: str
) -> None:
    """Known from before, so that only its head is missing."""
    await append(one_lane)
    async with SessionStore(database) as other:
        await other.sessions.delete("b")
    first, second, third = await append(one_lane)
    assert (first, third) == (2, 2)
    assert isinstance(second, SessionNotFound)
    assert await one_lane.sessions.create(id="b")
    assert await append(one_lane) == [3, 1, 3]


async def test_several_appends_to_a_session_keep_their_order(
    one_lane: SessionStore,
) -> None:
    appends = [one_lane.events.append(IDS[n % 2], "t", n) for n in range(20)]
    found = await asyncio.gather(*appends)
    assert found == [n // 2 + 1 for n in range(20)]
    for at in range(2):
        events = await one_lane.events.list(IDS[at])
        assert [each.data for each in events] == list(range(at, 20, 2))


async def test_a_row_that_the_server_refuses_fails_alone(
    one_lane: SessionStore, database: str
) -> None:
    async with connected(database) as admin:
        await admin.execute("""ALTER TABLE events ADD CHECK (data::text <> '"bad"')""")
    appends = [
        one_lane.events.append(name, "t", data)
        for name, data in zip(IDS, ("good", "bad", "good"), strict=True)
    ]
    first, second, third = await asyncio.gather(*appends, return_exceptions=True)
    assert (first, third) == (1, 1)
    assert type(second) is BackendError
    assert await heads(one_lane) == [1, 0, 1]


@pytest.mark.parametrize(
    ("busy_timeout_s", "answer_timeout_s", "lock_timeout"),
    [(0.1, 30, "100ms"), (5, 2.5, "2s")],
    ids=str,
)
async def test_a_lock_that_somebody_keeps(
    database: str,
    busy_timeout_s: float,
    answer_timeout_s: float,
    lock_timeout: str,
    clock: Clock,
) -> None:
    """The server gives up before its client does, who could not tell the outcome."""
    await watch(database)
    options = patient(
        lanes=1, busy_timeout_s=busy_timeout_s, answer_timeout_s=answer_timeout_s
    )
    with clock.stopped():  # it is the server's time that is up
        async with SessionStore(database, options) as store:
            await made(store)
            async with connected(database) as other, other.transaction():
                await other.execute("SELECT FROM session_heads FOR UPDATE")
                found = await append(store)
            assert [type(each) for each in found] == [DatabaseBusy] * 3
            assert await heads(store) == [0, 0, 0]
            assert await append(store) == [1, 1, 1]
    assert {each[2] for each in await seen(database)} == {lock_timeout}


async def test_a_warning_is_not_the_servers_that_no_standby_has_it(
    one_lane: SessionStore, database: str
) -> None:
    """By the same code: a trigger's, or of the server's upkeep."""
    async with connected(database) as admin:
        await admin.execute(
            "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE WARNING 'of something else'; RETURN NEW; END $$;"
            "CREATE TRIGGER warn BEFORE INSERT ON events "
            "FOR EACH ROW EXECUTE FUNCTION warn()"
        )
    assert await append(one_lane) == [1, 1, 1]


async def test_what_the_server_ended_is_written_once(
    one_lane: SessionStore, database: str
) -> None:
    """It says so before it hangs up: nothing was committed."""
    async with connected(database) as other:
        async with other.transaction():
            await other.execute("SELECT FROM session_heads FOR UPDATE")
            appending = asyncio.create_task(append(one_lane))
            await until(
                lambda: other.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
                    "WHERE NOT granted"
                )
            )
        assert await appending == [1, 1, 1]
    assert await heads(one_lane) == [1, 1, 1]


async def test_writers_of_several_stores_number_on(database: str) -> None:
    """What waits for another store's lock goes on from what that wrote."""
    options = patient(lanes=2)
    async with (
        SessionStore(database, options) as first,
        SessionStore(database, options) as second,
    ):
        await made(first)
        found = await asyncio.gather(
            *(append(store, n) for n in range(50) for store in (first, second))
        )
        for at, name in enumerate(IDS):
            assert sorted(each[at] for each in found) == list(range(1, 101))
            events = await first.events.list(name)
            assert [each.seq for each in events] == list(range(1, 101))
        times = [each.created_at for each in await first.events.list("a")]
        session = await first.sessions.get("a")
        assert session is not None and session.updated_at == max(times)
