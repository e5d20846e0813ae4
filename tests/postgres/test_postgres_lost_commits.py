"""Connections cut during COMMIT: who can find out what happened does, the others are
told that they can't know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.patience import LIMIT_S, patient, until, without_polls
from tests.support.postgres.cutting import Proxy, proxied
from tests.support.postgres.posting import barred, blocked
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    back_at,
    connected,
    lagging,
)
from turnstore import (
    NewEvent,
    OutcomeUnknown,
    SequenceConflict,
    SessionStore,
    StoreOptions,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with proxied(postgres.port) as opened:
        yield opened


@pytest.fixture
async def cut_store(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> AsyncIterator[SessionStore]:
    """A store whose connections go through the proxy."""
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with SessionStore(url, patient(lanes=1)) as opened:
        await opened.sessions.create(id="s")
        yield opened


@pytest.fixture(params=[False, True], ids=["before", "after"])
def has_sent(request: pytest.FixtureRequest) -> bool:
    """Whether the server got the COMMIT."""
    return bool(request.param)


@asynccontextmanager
async def slow_commits(database: str) -> AsyncIterator[Any]:
    """Have commits that append events wait for a lock; give the connection that holds
    it."""
    async with barred(database) as holder:
        await holder.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';"
            "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON events "
            "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        yield holder


async def test_the_outcome_is_unknown(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    with pytest.raises(OutcomeUnknown):
        await cut_store.events.append("s", "t", 1)
    assert proxy.cuts == 0
    assert await cut_store.events.head("s") == int(has_sent)


async def test_the_outcome_shows_where_the_server_goes_on_committing(
    cut_store: SessionStore, proxy: Proxy, database: str
) -> None:
    """It has not noticed yet that nobody waits for it any more."""
    async with slow_commits(database) as holder:
        proxy.has_sent, proxy.cuts = True, 1
        writing = asyncio.create_task(cut_store.events.append("s", "t", 1))
        await blocked(holder)  # the commit
        proxy.may_cut.set()
        await blocked(holder, 2)  # and the one who looks what became of it
        assert await cut_store.events.head("s") == 0
    with pytest.raises(OutcomeUnknown):
        await writing
    assert proxy.cuts == 0
    assert await cut_store.events.head("s") == 1


async def test_the_outcome_shows_on_a_replica_that_was_far_enough_before(
    postgres: PostgresServer,
    standby: Standby,
    proxy: Proxy,
    database: str,
    read_url: str,
) -> None:
    """Reads during the commit have asked how far it has to be."""
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    options = StoreOptions(read_url=read_url, **REPLICA_OPTIONS)
    async with SessionStore(url, options) as cut_store:
        await cut_store.sessions.create(id="s")
        async with slow_commits(database) as holder:
            proxy.has_sent, proxy.cuts = True, 1
            writing = asyncio.create_task(cut_store.events.append("s", "t", 1))
            await blocked(holder)
            proxy.may_cut.set()
            await blocked(holder, 2)
            await back_at(cut_store, standby)
            assert await cut_store.events.head("s") == 0
            async with lagging(standby, cut_store):
                await holder.execute("SELECT pg_advisory_unlock_all()")
                with pytest.raises(OutcomeUnknown):
                    await writing
                assert await cut_store.events.head("s") == 1


async def test_followers_are_told_of_what_may_be_written(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> None:
    """Those of this store and, by a notice, of others. None of these polls."""
    options = without_polls()
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    async with (
        SessionStore(url, options) as cut_store,
        SessionStore(database, options) as other,
    ):
        await cut_store.sessions.create(id="s")
        await cut_store.events.append("s", "t", 1)
        followers = [each.events.follow("s") for each in (cut_store, other)]
        for follower in followers:
            assert (await anext(follower)).data == 1
        following = [asyncio.create_task(anext(each)) for each in followers]
        notices: Any = other._backend._notices  # type: ignore[attr-defined]
        await until(lambda: notices._is_listening)
        # Until it has looked for what it missed before.
        polling: Any = other._followers
        await until(lambda: isinstance(polling._polling, asyncio.TimerHandle))
        proxy.has_sent, proxy.cuts = True, 1
        with pytest.raises(OutcomeUnknown):
            await cut_store.events.append("s", "t", 2)
        async with asyncio.timeout(LIMIT_S):
            found = await asyncio.gather(*following)
        assert [each.data for each in found] == [2, 2]
        for follower in followers:
            await follower.aclose()


async def test_the_next_write_succeeds(cut_store: SessionStore, proxy: Proxy) -> None:
    proxy.cuts = 1
    with pytest.raises(OutcomeUnknown):
        await cut_store.events.append("s", "t", 1)
    assert await cut_store.events.append("s", "t", 2) == 1


async def test_an_idempotency_key_of_events_finds_out(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    assert await cut_store.events.append("s", "t", 1, idempotency_key="k") == 1
    assert proxy.cuts == 0
    assert [each.data for each in await cut_store.events.list("s")] == [1]


async def test_an_idempotency_key_of_messages_finds_out(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    made = await cut_store.messages.append("s", "user", "x", idempotency_key="k")
    assert proxy.cuts == 0
    assert await cut_store.messages.list("s") == [made]


async def test_an_expected_head_finds_out(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    rows = [NewEvent(type="t", data={"n": n}, model="m") for n in range(3)]
    seqs = await cut_store.events.append_many("s", rows, expected_head=0)
    assert seqs == [1, 2, 3]
    assert proxy.cuts == 0
    found = await cut_store.events.list("s")
    assert [each.data for each in found] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_several_expected_heads_of_a_batch_find_out(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    proxy.has_sent, proxy.cuts = has_sent, 1
    seqs = await asyncio.gather(
        *(cut_store.events.append("s", "t", n, expected_head=n) for n in range(5))
    )
    assert seqs == [1, 2, 3, 4, 5]
    assert [each.data for each in await cut_store.events.list("s")] == [0, 1, 2, 3, 4]


async def test_another_store_s_equal_event_is_a_conflict(
    cut_store: SessionStore, store: SessionStore, proxy: Proxy
) -> None:
    proxy.cuts, proxy.refuses = 1, True
    cut = asyncio.create_task(cut_store.events.append("s", "t", 1, expected_head=0))
    await until(lambda: proxy.cuts == 0)
    assert await store.events.append("s", "t", 1, expected_head=0) == 1
    proxy.refuses = False
    with pytest.raises(SequenceConflict) as caught:
        await cut
    assert caught.value.actual_head == 1
    assert await store.events.head("s") == 1


async def test_who_shares_the_commit_has_an_own_outcome(
    cut_store: SessionStore, proxy: Proxy, has_sent: bool
) -> None:
    await cut_store.sessions.create(id="u")
    proxy.has_sent, proxy.cuts = has_sent, 1
    unknown, known = await asyncio.gather(
        cut_store.events.append("s", "t", 1),
        cut_store.events.append("u", "t", 2, idempotency_key="k"),
        return_exceptions=True,
    )
    assert isinstance(unknown, OutcomeUnknown)
    assert known == 1
    assert await cut_store.events.head("s") == int(has_sent)
    assert await cut_store.events.head("u") == 1


async def test_a_server_that_stays_away_leaves_the_outcome_unknown(
    postgres: PostgresServer, proxy: Proxy, database: str
) -> None:
    url = database.replace(f":{postgres.port}/", f":{proxy.port}/")
    options = patient(busy_timeout_s=0.1)
    async with SessionStore(url, options) as cut_store, connected(database) as admin:
        await cut_store.sessions.create(id="s")
        proxy.cuts, proxy.refuses = 1, True
        with pytest.raises(OutcomeUnknown):
            await cut_store.events.append("s", "t", 1, idempotency_key="k")
        proxy.refuses = False
        # Until the server has given up what was cut, and its locks.
        locks = "SELECT count(*) = 0 FROM pg_locks WHERE relation = $1::regclass"
        await until(lambda: admin.fetchval(locks, "session_heads"))
        assert await cut_store.events.append("s", "t", 1, idempotency_key="k") == 1


async def test_a_cut_before_the_commit_is_not_noticed(
    cut_store: SessionStore, proxy: Proxy
) -> None:
    proxy.cut_at, proxy.cuts = b"INSERT INTO events", 1
    assert await cut_store.events.append("s", "t", 1) == 1
    assert proxy.cuts == 0
    assert await cut_store.events.head("s") == 1


async def test_a_cut_read_is_read_again(cut_store: SessionStore, proxy: Proxy) -> None:
    await cut_store.events.append("s", "t", 1)
    assert await cut_store.events.head("s") == 1
    proxy.cut_all()
    assert await cut_store.events.head("s") == 1
