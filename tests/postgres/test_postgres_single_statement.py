"""Batches of appends, each committed by one statement without a transaction around."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.patience import LIMIT_S, patient, until
from tests.support.postgres.cutting import Proxy, proxied
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import connected
from turnstore import (
    BackendError,
    DatabaseBusy,
    OutcomeUnknown,
    SessionNotFound,
    SessionStore,
)
from turnstore.engine.postgres import lanes

pytestmark = pytest.mark.anyio

IDS = ["a", "b", "c"]
MARK = "seen by the proxy"


@pytest.fixture(autouse=True)
def _connections_stay_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long ago they have answered."""
    monkeypatch.setattr(lanes, "FRESH_S", 10 * LIMIT_S)


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with proxied(postgres.port) as opened:
        opened.cut_at = MARK.encode()
        yield opened


async def made(store: SessionStore) -> SessionStore:
    """Make the sessions, and have the lane know their keys and be alive."""
    await asyncio.gather(*(store.sessions.create(id=each) for each in IDS))
    await asyncio.gather(*(store.events.append_many(each, []) for each in IDS))
    return store


@pytest.fixture
async def one_lane(database: str) -> AsyncIterator[SessionStore]:
    async with SessionStore(database, patient(lanes=1)) as store:
        yield await made(store)


@pytest.fixture
async def cut_store(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> AsyncIterator[SessionStore]:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with SessionStore(url, patient(lanes=1)) as store:
        yield await made(store)


async def append(store: SessionStore, data: Any = MARK) -> list[Any]:
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
            "CREATE TRIGGER see AFTER INSERT ON events "
            "FOR EACH ROW EXECUTE FUNCTION see()"
        )


async def seen(url: str) -> list[tuple[Any, ...]]:
    async with connected(url) as admin:
        return [tuple(row) for row in await admin.fetch("SELECT * FROM seen")]


@pytest.mark.parametrize(("durability", "commits"), [("full", "on"), ("normal", "off")])
async def test_its_transaction_is_set_as_any_other(
    database: str, durability: Any, commits: str
) -> None:
    """But for what a transaction that waits for its client would need."""
    await watch(database)
    options = patient(lanes=1, durability=durability, busy_timeout_s=7)
    async with SessionStore(database, options) as store:
        await made(store)
        assert await append(store) == [1, 1, 1]
        lane: Any = store._backend._lanes[0]  # type: ignore[attr-defined]
        left = await lane._connection.driver.fetchval("SHOW lock_timeout")
    found = await seen(database)
    assert {each[1:] for each in found} == {
        (commits, "7s", "warning", "0", "read committed")
    }
    assert len({each[0] for each in found}) == 1
    assert left == "0"


async def test_a_connection_that_was_idle_takes_several_statements(
    one_lane: SessionStore, database: str
) -> None:
    await watch(database)
    lane: Any = one_lane._backend._lanes[0]  # type: ignore[attr-defined]
    lane._answered_s -= lanes.FRESH_S
    assert await append(one_lane) == [1, 1, 1]
    assert await append(one_lane) == [2, 2, 2]
    idle = [each[4] for each in await seen(database)]
    assert [each == "0" for each in idle] == [False] * 3 + [True] * 3


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


@pytest.mark.parametrize("has_sent", [False, True], ids=["before", "after"])
async def test_a_cut_leaves_the_outcomes_unknown(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    found = await append(cut_store)
    assert [type(each) for each in found] == [OutcomeUnknown] * 3
    assert proxy.cuts == 0
    written = int(has_sent)
    assert await heads(cut_store) == [written] * 3
    assert await append(cut_store, "next") == [written + 1] * 3


async def test_who_can_find_out_takes_several_statements(
    one_lane: SessionStore, database: str
) -> None:
    await watch(database)
    ways: list[dict[str, Any]] = [{"idempotency_key": "k"}, {"expected_head": 1}]
    for given in ways:
        await asyncio.gather(
            *(one_lane.events.append(each, "t", **given) for each in IDS)
        )
    idle = [each[4] for each in await seen(database)]
    assert len(idle) == 6 and "0" not in idle


async def test_sessions_that_are_not_known_yet_take_several_statements(
    cut_store: SessionStore, proxy: Proxy, database: str
) -> None:
    """Losing the connection while their keys are read leaves nothing open."""
    async with SessionStore(database) as other:
        await asyncio.gather(*(other.sessions.create(id=f"{each}2") for each in IDS))
    proxy.cut_at, proxy.cuts = b'"a2"', 1
    appends = (cut_store.events.append(f"{each}2", "t") for each in IDS)
    assert await asyncio.gather(*appends) == [1, 1, 1]
    assert proxy.cuts == 0


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


async def test_what_had_not_begun_when_its_outcome_was_told_never_will(
    database: str, clock: Clock
) -> None:
    """Its process has not read the statement yet, so nothing is locked."""
    options = patient(lanes=1, answer_timeout_s=LIMIT_S)
    async with SessionStore(database, options) as store:
        await made(store)
        assert await append(store) == [1, 1, 1]
        lane: Any = store._backend._lanes[0]  # type: ignore[attr-defined]
        pid = lane._process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            appending = asyncio.create_task(append(store))
            await until(lambda: lane.writer.depth == 0 and not lane.writer.idle)
            clock.advance(LIMIT_S)
            found = await appending
            assert [type(each) for each in found] == [OutcomeUnknown] * 3
            assert await heads(store) == [1, 1, 1]
        finally:
            os.kill(pid, signal.SIGCONT)
        async with connected(database) as admin:
            gone = f"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {pid}"
            await until(lambda: admin.fetchval(gone))
        assert await heads(store) == [1, 1, 1]
        assert await append(store) == [2, 2, 2]


async def test_who_may_not_see_the_servers_processes_takes_several_statements(
    database: str,
) -> None:
    await watch(database)
    async with connected(database) as admin:
        await admin.execute(
            "CREATE ROLE guest LOGIN;"
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO guest;"
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO guest;"
            "REVOKE ALL ON pg_stat_activity FROM PUBLIC"
        )
        try:
            url = database.replace("postgres@", "guest@")
            async with SessionStore(url, patient(lanes=1)) as store:
                await made(store)
                assert await append(store) == [1, 1, 1]
        finally:
            await admin.execute("DROP OWNED BY guest; DROP ROLE guest")
    assert "0" not in [each[4] for each in await seen(database)]


async def test_behind_a_pooler_it_takes_several_statements(database: str) -> None:
    """As nobody could tell which process to end."""
    await watch(database)
    options = patient(lanes=1, behind_pooler=True)
    async with SessionStore(database, options) as store:
        await made(store)
        assert await append(store) == [1, 1, 1]
    assert "0" not in [each[4] for each in await seen(database)]


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


async def test_closing_cuts_off_what_is_late(database: str) -> None:
    options = patient(lanes=1, close_timeout_s=0.05)
    async with connected(database) as other, other.transaction():
        async with SessionStore(database, options) as store:
            await made(store)
            await other.execute("SELECT FROM session_heads FOR UPDATE")
            appending = asyncio.create_task(append(store))
            writer: Any = store._backend._lanes[0].writer  # type: ignore[attr-defined]
            await until(lambda: writer.depth == 0 and not writer.idle)
        found = await appending
        assert [type(each) for each in found] == [OutcomeUnknown] * 3


async def test_writers_of_several_stores_number_on(database: str) -> None:
    """A statement that waits for another store's lock goes on from what that wrote."""
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


async def test_an_idle_connection_that_was_ended(
    one_lane: SessionStore, database: str
) -> None:
    lane: Any = one_lane._backend._lanes[0]  # type: ignore[attr-defined]
    async with connected(database) as admin:
        for n in range(1, 4):
            assert await append(one_lane) == [n, n, n]
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await until(lambda: lane._connection.is_closed)
