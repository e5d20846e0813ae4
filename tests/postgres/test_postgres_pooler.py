"""Behind a pooler that gives each transaction another server connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.patience import patient
from tests.support.postgres.pooler import Pooler, missing
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import connected
from turnstore import BackendUnavailable, InvalidArgument, NewEvent, SessionStore

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
    store = SessionStore(database, patient(behind_pooler=True, durability="normal"))
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
    async with SessionStore(database, patient(lanes=1)) as store:
        await store.sessions.create(id="s")
        for n in range(5):
            await store.events.append("s", "t", n)
        driver = store._backend._lanes[0]._connection.driver  # type: ignore[attr-defined]
        inserts = (
            "SELECT FROM pg_prepared_statements WHERE statement LIKE '%INTO events%'"
        )
        assert await driver.execute(inserts) == "SELECT 1"


async def server_of(client: asyncpg.Connection) -> int:
    pid: int = await client.fetchval("SELECT pg_backend_pid()")
    return pid


async def test_transactions_of_a_client_have_several_servers(
    pooler: Pooler, database: str
) -> None:
    """Of the pooler itself: what the other tests rest on."""
    url = pooler.url(database)
    clients = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(2)]
    try:
        async with clients[0].transaction(), clients[1].transaction():
            servers = {await server_of(each) for each in clients}
        assert len(servers) == 2
        assert {await server_of(clients[0]) for _ in range(2)} == servers
    finally:
        for each in clients:
            await each.close()


@pytest.mark.parametrize("behind_pooler", [True, None])
async def test_two_stores_behind_pgbouncer(
    pooler: Pooler, database: str, behind_pooler: bool | None
) -> None:
    """Whether they are told of it or not."""
    options = patient(behind_pooler=behind_pooler)
    async with (
        SessionStore(pooler.url(database), options) as one,
        SessionStore(pooler.url(database), options) as two,
    ):
        await use(one)
        assert await two.events.append("s1", "t") == 5
        assert await one.events.head("s1") == 5
    async with connected(database) as admin:
        # Ask each of the pooler's servers, by way of the pooler.
        client = await asyncpg.connect(pooler.url(database), statement_cache_size=0)
        for _ in range(8):
            done = await client.execute("SELECT FROM pg_prepared_statements")
            assert done == "SELECT 0"
        await client.close()
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^LISTEN'"
        assert await admin.fetchval(listening) == 0


async def test_who_says_that_there_is_no_pooler_is_told_of_it(
    pooler: Pooler, database: str
) -> None:
    options = patient(behind_pooler=False)
    with pytest.raises(InvalidArgument, match="behind_pooler"):
        async with SessionStore(pooler.url(database), options):
            pass


@pytest.fixture
def lenient_pooler(
    request: pytest.FixtureRequest, postgres: PostgresServer
) -> Iterator[Pooler]:
    """One that ignores what connections are set to as they begin."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    ignoring = "ignore_startup_parameters = plan_cache_mode"
    lenient = Pooler(postgres, f"{ignoring}\n{getattr(request, 'param', '')}")
    try:
        lenient.start()
        yield lenient
    finally:
        lenient.remove()


async def test_a_pooler_that_refuses_nothing_is_found_too(
    lenient_pooler: Pooler, database: str
) -> None:
    async with SessionStore(lenient_pooler.url(database)) as store:
        await use(store)
        assert store._backend._connector.is_pooled  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "lenient_pooler", ["pool_mode = session\ndefault_pool_size = 20"], indirect=True
)
async def test_a_pooler_that_leaves_a_client_its_connection_is_used_as_a_server(
    lenient_pooler: Pooler, database: str
) -> None:
    options = patient(behind_pooler=False, lanes=2)
    async with SessionStore(lenient_pooler.url(database), options) as store:
        await use(store)
        follower = store.events.follow("s1", after=4)
        following = asyncio.create_task(anext(follower))
        async with SessionStore(database) as other:
            await other.events.append("s1", "t", "from elsewhere")
        assert (await following).data == "from elsewhere"
        await follower.aclose()
        assert not store._backend._connector.is_pooled  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "lenient_pooler", ["pool_mode = session\nmax_client_conn = 1"], indirect=True
)
async def test_what_else_a_pooler_refuses_may_pass(
    lenient_pooler: Pooler, database: str
) -> None:
    """By the same code as a setting that it does not know."""
    options = patient(behind_pooler=False)
    client = await asyncpg.connect(lenient_pooler.url(database))
    try:
        with pytest.raises(BackendUnavailable) as caught:
            async with SessionStore(lenient_pooler.url(database), options):
                pass
        assert caught.value.retryable
    finally:
        await client.close()


async def test_servers_that_are_ended_behind_the_pooler_are_not_missed(
    pooler: Pooler, postgres: PostgresServer, database: str
) -> None:
    options = patient(behind_pooler=True, lanes=2)
    admin = await asyncpg.connect(postgres.url())
    try:
        async with SessionStore(pooler.url(database), options) as store:
            await store.sessions.create(id="s")
            for n in range(1, 5):
                assert await store.events.append("s", "t") == n
                ended = await admin.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = $1",
                    database.rsplit("/", 1)[1],
                )
                assert ended > 0
                assert await store.events.head("s") == n
    finally:
        await admin.close()
