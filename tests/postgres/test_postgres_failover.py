"""A primary that dies and a standby that takes its place: nothing acknowledged is lost
or doubled, no call hangs, stores and followers go on by themselves.

The standby replicates synchronously, as without it no client can promise any of this.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.patience import LIMIT_S, patient, until, without_polls
from tests.support.postgres.cutting import Proxy, proxied
from tests.support.postgres.server import WITHOUT_SYNC, PostgresServer, aside
from tests.support.postgres.standby import (
    Standby,
    back_at,
    caught_up,
    connected,
    impatient,
    server,
)
from turnstore import BackendUnavailable, Event, OutcomeUnknown, SessionStore
from turnstore.engine.postgres.connections import Connector, write_settings, write_text
from turnstore.engine.postgres.errors import is_lost, translate

pytestmark = pytest.mark.anyio

SYNCHRONOUS = WITHOUT_SYNC | {"synchronous_standby_names": "*"}
NAME = "failover"
ROUNDS = 2


class Pair:
    """A primary and its standby; ``fail_over`` has them change places."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = settings
        self.primary = PostgresServer(settings)
        self.primary.start()
        try:
            self.standby = Standby(self.primary, settings=settings)
        except BaseException:
            self.primary.remove()
            raise
        self.url = self.url_of(NAME)

    def url_of(self, database: str) -> str:
        hosts = [f"127.0.0.1:{each.port}" for each in (self.primary, self.standby)]
        return f"postgresql://postgres@{','.join(hosts)}/{database}"

    def fail_over(self) -> None:
        dead = self.primary
        dead.stop(signal.SIGQUIT)
        self.standby.promote()
        self.primary = self.standby
        dead.remove()

    def add_standby(self, port: int) -> None:
        """Commits wait for it, and this for none of them."""
        self.standby = Standby(self.primary, settings=self._settings, at=port)
        self.standby.start()

    def remove(self) -> None:
        self.primary.remove()
        self.standby.remove()


@pytest.fixture
def pair(postgres: PostgresServer) -> Iterator[Pair]:
    """With synchronous replication and a database with the schema."""
    servers = Pair(SYNCHRONOUS)
    try:
        servers.standby.start()
        yield servers
    finally:
        servers.remove()


@pytest.fixture
async def url(pair: Pair) -> str:
    async with connected(pair.primary.url()) as admin:
        await admin.execute(f"CREATE DATABASE {NAME}")
    async with SessionStore(pair.url, patient(migrate="auto")):
        pass
    await caught_up(pair.primary, pair.standby)
    return pair.url


class Writer:
    """Appends numbers to a session, and keeps what it was told of them."""

    def __init__(self, store: SessionStore, name: str) -> None:
        self._store = store
        self.name = name
        self.acknowledged: list[int] = []
        self.unknown: set[int] = set()
        self.refused = 0

    async def run(self, is_over: asyncio.Event) -> None:
        n = 1
        while not is_over.is_set():
            try:
                seq = await self._append(n)
                assert self.name.startswith("plain") or seq == n
                self.acknowledged.append(n)
                assert await self._store.events.head(self.name) >= seq
                n += 1
            except OutcomeUnknown:
                # These find out by themselves.
                assert self.name.startswith("plain")
                self.unknown.add(n)
                n += 1
            except BackendUnavailable:
                # Nothing was written, or it was the read that failed.
                self.refused += 1
                n += self.acknowledged[-1:] == [n]

    async def _append(self, n: int) -> int:
        events = self._store.events
        if self.name.startswith("keyed"):
            return await events.append(self.name, "t", n, idempotency_key=f"{n}")
        if self.name.startswith("headed"):
            return await events.append(self.name, "t", n, expected_head=n - 1)
        return await events.append(self.name, "t", n)

    async def check(self, store: SessionStore) -> None:
        found = [each async for each in store.events.stream(self.name)]
        data = [each.data for each in found]
        assert [each.seq for each in found] == list(range(1, len(found) + 1))
        assert len(data) == len(set(data))
        assert set(self.acknowledged) <= set(data)
        assert set(data) - set(self.acknowledged) <= self.unknown
        if not self.name.startswith("plain"):
            count = len(self.acknowledged)
            assert self.acknowledged == list(range(1, count + 1))


@pytest.mark.crash
async def test_a_primary_that_dies_under_load(pair: Pair, url: str) -> None:
    async with (
        SessionStore(url, patient()) as store,
        SessionStore(url, patient()) as other,
    ):
        kinds = ("plain", "keyed", "headed")
        names = [f"{kind}{n}" for kind in kinds for n in range(8)]
        await asyncio.gather(*(store.sessions.create(id=each) for each in names))
        writers = [Writer(store, each) for each in names]
        followers = [each.events.follow_all(names) for each in (store, other)]
        taken: list[list[Event]] = [[], []]
        following = [
            asyncio.create_task(_take(*each))
            for each in zip(followers, taken, strict=True)
        ]
        is_over = asyncio.Event()
        writing = [asyncio.create_task(each.run(is_over)) for each in writers]
        for _ in range(ROUNDS):
            await all_go_on(writers)
            port = pair.primary.port
            await aside(pair.fail_over)
            await aside(pair.add_standby, port)
        await all_go_on(writers)
        is_over.set()
        await asyncio.gather(*writing)
        for writer in writers:
            await writer.check(store)
        heads = {each: await store.events.head(each) for each in names}
        await until(lambda: all(len(each) >= sum(heads.values()) for each in taken))
        for each in taken:
            for name, head in heads.items():
                seqs = [event.seq for event in each if event.session_id == name]
                assert seqs == list(range(1, head + 1))
        assert await server(store) == pair.primary.port
        for follower in followers:
            await follower.aclose()
        await asyncio.gather(*following)


async def all_go_on(writers: list[Writer], more: int = 10) -> None:
    """Wait until each has had some more of its events acknowledged."""
    goals = [len(each.acknowledged) + more for each in writers]
    await until(
        lambda: all(
            len(each.acknowledged) >= goal
            for each, goal in zip(writers, goals, strict=True)
        )
    )


async def _take(events: AsyncIterator[Event], taken: list[Event]) -> None:
    while True:
        try:
            async for event in events:
                taken.append(event)
        except BackendUnavailable:
            continue  # it goes on where it was
        return


async def test_a_listener_moves_over(pair: Pair, url: str) -> None:
    """A follower that does not poll hears of what is written on the new primary."""
    port = pair.primary.port
    async with (
        SessionStore(url, patient()) as store,
        SessionStore(url, without_polls()) as following,
    ):
        await store.sessions.create(id="s")
        follower = following.events.follow("s")
        taken: list[Event] = []
        taking = asyncio.create_task(_take(follower, taken))
        notices: Any = following._backend._notices  # type: ignore[attr-defined]
        await until(lambda: notices._is_listening)
        await aside(pair.fail_over)
        await aside(pair.add_standby, port)
        await until(lambda: notices._is_listening)
        await store.events.append("s", "t")
        await until(lambda: taken)
        assert [each.seq for each in taken] == [1]
        await follower.aclose()
        await taking


@pytest.mark.parametrize("count", [1, 2], ids=["several statements", "one statement"])
async def test_a_commit_that_no_standby_has_is_not_acknowledged(
    pair: Pair, url: str, count: int
) -> None:
    """The server may be told to stop waiting for its standby. It then says that it has
    committed, and warns that it may be here alone, whatever else it keeps to itself."""
    async with connected(pair.primary.url()) as admin:
        await admin.execute(f"ALTER DATABASE {NAME} SET client_min_messages = error")
    async with SessionStore(url, patient(lanes=1)) as store:
        await store.sessions.create(id="s")
        await aside(pair.standby.stop)
        plain = [
            asyncio.create_task(store.events.append("s", "plain")) for _ in range(count)
        ]
        await end_a_wait_for_the_standby(pair)
        async with asyncio.timeout(LIMIT_S):  # it is told without another wait
            for each in plain:
                with pytest.raises(OutcomeUnknown):
                    await each
        keyed = asyncio.create_task(
            store.events.append("s", "keyed", idempotency_key="k")
        )
        ended = await end_a_wait_for_the_standby(pair)
        await waiting_for_the_standby(pair, ended)  # it is committed again
        assert not keyed.done()
        await aside(pair.standby.start)
        assert await keyed == count + 1
        found = [each.type for each in await store.events.list("s")]
        assert found == ["plain"] * count + ["keyed"]


async def end_a_wait_for_the_standby(pair: Pair) -> int:
    """Return the id of the process that waited with a commit."""
    pid = await waiting_for_the_standby(pair)
    async with connected(pair.primary.url()) as admin:
        assert await admin.fetchval("SELECT pg_cancel_backend($1)", pid)
    return pid


async def waiting_for_the_standby(pair: Pair, since: int = 0) -> int:
    """Wait until a process other than the one before waits with a commit of events."""
    pid: int | None = None

    async def is_one() -> bool:
        nonlocal pid
        pid = await admin.fetchval(
            "SELECT max(pid) FROM pg_stat_activity WHERE pid <> $1 "
            "AND wait_event = 'SyncRep' AND query NOT LIKE 'NOTIFY%'",
            since,
        )
        return pid is not None

    async with connected(pair.primary.url()) as admin:
        await until(is_one)
    assert pid is not None
    return pid


@pytest.fixture
async def proxy(pair: Pair) -> AsyncIterator[Proxy]:
    async with proxied(pair.primary.port) as opened:
        yield opened


async def test_a_standby_that_is_not_promoted_yet_is_waited_for(
    pair: Pair, url: str, proxy: Proxy
) -> None:
    """As behind an address that moves: it leads to the standby before that is ready."""
    moving = f"postgresql://postgres@127.0.0.1:{proxy.port}/{NAME}"
    async with SessionStore(moving, patient()) as store:
        await store.sessions.create(id="s")
        port = pair.primary.port
        proxy._server_port = pair.standby.port
        proxy.cut_all()
        writing = asyncio.create_task(store.events.append("s", "t"))
        reading = asyncio.create_task(store.events.head("s"))
        met = proxy.met
        await until(lambda: proxy.met >= met + 6)
        assert not writing.done()
        assert not reading.done()
        await aside(pair.fail_over)
        await aside(pair.add_standby, port)
        assert await writing == 1
        assert await reading in (0, 1)
    hurried = patient(busy_timeout_s=0.1)
    proxy._server_port = pair.primary.port
    async with SessionStore(moving, hurried) as store:
        proxy._server_port = pair.standby.port
        proxy.cut_all()
        with pytest.raises(BackendUnavailable, match="no host of the URL is a primary"):
            await store.events.append("s", "t")


async def test_a_standby_that_a_pooler_leads_to_is_a_lost_server(
    pair: Pair, url: str
) -> None:
    """The connection was of a primary when it was made."""
    options = patient(read_only=True)
    connector = Connector(pair.standby.url(), options)
    connection = await connector.connect()
    try:
        with pytest.raises(Exception, match="recovery") as got:
            await connection.begin(write_text(write_settings(options, "on")))
    finally:
        await connection.close()
        await connector.close()
    assert is_lost(got.value)
    assert isinstance(translate(got.value), BackendUnavailable)


@asynccontextmanager
async def with_replica() -> AsyncIterator[tuple[Pair, Standby]]:
    """Give a pair of servers and a replica beside, all with the session ``s``."""
    servers = Pair(WITHOUT_SYNC)
    replica: Standby | None = None
    try:
        async with connected(servers.primary.url()) as admin:
            await admin.execute(f"CREATE DATABASE {NAME}")
        async with SessionStore(servers.url, patient(migrate="auto")) as store:
            await store.sessions.create(id="s")
        await aside(servers.standby.start)
        replica = Standby(servers.primary, "replica")
        await aside(replica.start)
        await caught_up(servers.primary, servers.standby)
        await caught_up(servers.primary, replica)
        yield servers, replica
    finally:
        servers.remove()
        if replica is not None:
            replica.remove()


async def test_a_replica_that_is_further_on_another_history(
    postgres: PostgresServer,
) -> None:
    """By bytes it has all that is needed, but it has not followed the new primary."""
    async with with_replica() as (servers, replica):
        options = patient(read_url=replica.url(NAME))
        async with SessionStore(servers.url, options) as store:
            await store.events.append("s", "kept")
            assert await server(store) == replica.port
            await caught_up(servers.primary, servers.standby)
            # What the standby never gets, and the replica does.
            await aside(servers.standby.stop)
            async with SessionStore(servers.url, patient()) as other:
                for _ in range(5):
                    await other.events.append("s", "lost", "x" * 10_000)
            await caught_up(servers.primary, replica)
            assert await store.events.head("s") == 6
            servers.primary.stop(signal.SIGQUIT)
            await aside(servers.standby.start)
            await aside(servers.fail_over)
            assert await store.events.append("s", "new") == 2
            with impatient(store):
                found = await store.events.list("s")
                assert [each.type for each in found] == ["kept", "new"]
                assert await server(store) == servers.primary.port


async def test_a_replica_that_follows_the_new_primary_is_read_again(
    postgres: PostgresServer,
) -> None:
    async with with_replica() as (servers, replica):
        options = patient(read_url=replica.url(NAME))
        async with SessionStore(servers.url, options) as store:
            assert await server(store) == replica.port
            await aside(servers.fail_over)
            await aside(replica.stop)
            replica.follow(servers.primary)
            await aside(replica.start)
            assert await store.events.append("s", "t") == 1
            assert await store.events.head("s") == 1
            await back_at(store, replica)
            assert await store.events.append("s", "t") == 2
            assert await store.events.head("s") == 2
