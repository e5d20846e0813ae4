"""A cancelled call at each state of its life; reads leave no connection behind."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.patience import LIMIT_S, until
from tests.support.postgres.posting import (
    Barred,
    Note,
    barred,
    connections,
    held,
    opened,
    sleep,
    sleeping,
    submitted,
    texts,
    waiting_for_a_lock,
    works,
)
from tests.support.postgres.server import PostgresServer
from turnstore import AcquireTimeout, SessionStore, StoreClosed
from turnstore.engine.postgres.backend import PostgresBackend

pytestmark = pytest.mark.anyio


def note(backend: PostgresBackend, text: str) -> asyncio.Task[int]:
    return asyncio.create_task(backend.write(Note("s", 1, text)))


async def test_a_queued_write(database: str) -> None:
    async with opened(database, lanes=1) as backend:
        async with held(backend, database):
            tasks = [note(backend, text) for text in "abc"]
            await submitted(backend, 3)
            tasks[1].cancel("stop")
            with pytest.raises(asyncio.CancelledError, match="stop"):
                await tasks[1]
            assert backend.statistics().queue_depth == 2
        await asyncio.gather(tasks[0], tasks[2])
        assert await backend.read(texts) == ["a", "c"]
        await works(backend)


async def test_a_write_under_way(database: str) -> None:
    """The result comes back, the cancellation arrives at the next await."""
    results: list[str] = []

    async def caller(backend: PostgresBackend) -> None:
        results.append(await backend.write(Barred("s", 0, 7)))
        await asyncio.Event().wait()

    async with opened(database) as backend:
        async with barred(database, 7) as connection:
            task = asyncio.create_task(caller(backend))
            await waiting_for_a_lock(connection, 7)
            task.cancel("why")
            await asyncio.sleep(0)
            assert not task.done()
            await connection.execute("SELECT pg_advisory_unlock_all()")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
        assert results == ["passed"]
        await works(backend)


async def test_a_write_that_waits_for_another_lane(database: str) -> None:
    async with opened(database, lanes=4) as backend:
        async with held(backend, database, "a", 1), held(backend, database, "b", 2):
            both = asyncio.create_task(backend.write(Note("a", 1, "both", ("b",))))
            await submitted(backend, 1)
            after = asyncio.create_task(backend.write(Note("b", 1, "after")))
            await submitted(backend, 2)
            both.cancel()
            await asyncio.wait([both])
            assert both.cancelled()
        await after
        assert await backend.read(texts) == ["after"]
        await works(backend)


async def test_a_write_that_has_waited_for_another_lane_too_long(
    database: str, clock: Clock
) -> None:
    """The cancellation comes when its time is up, and it has not gone on yet."""
    async with opened(database, lanes=4, queue_timeout_s=LIMIT_S) as backend:
        async with held(backend, database, "a", 1), held(backend, database, "b", 2):
            both = asyncio.create_task(backend.write(Note("a", 1, "both", ("b",))))
            await submitted(backend, 1)
            asyncio.get_running_loop().call_later(LIMIT_S, both.cancel)
            clock.advance(2 * LIMIT_S)  # so that both are due at once
            await asyncio.wait([both])
            assert both.cancelled()
            after = asyncio.create_task(backend.write(Note("b", 1, "after")))
            await submitted(backend, 1)
        await after
        assert await backend.read(texts) == ["after"]
        await works(backend)


async def test_a_read_that_goes_on_too_long(
    database: str, postgres: PostgresServer
) -> None:
    async with opened(database, readers=1) as backend:
        before = await connections(database, postgres.url())
        task = asyncio.create_task(backend.read(sleep))
        await sleeping(database)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task
        assert await backend.read(texts) == []
        await works(backend)
        assert await connections(database, postgres.url()) <= before + 3


async def test_reads_of_a_full_pool(database: str) -> None:
    async with opened(database, readers=1) as backend:
        slow = asyncio.create_task(backend.read(sleep))
        waiting = [asyncio.create_task(backend.read(texts)) for _ in range(3)]
        await until(lambda: backend.statistics().reader_waits == 3)
        waiting[0].cancel()
        slow.cancel()
        await asyncio.wait([slow, waiting[0]])
        assert await asyncio.gather(*waiting[1:]) == [[], []]
        await works(backend)


async def test_no_reader_comes_free(database: str) -> None:
    async with opened(database, readers=1, acquire_timeout_s=0.05) as backend:
        slow = asyncio.create_task(backend.read(sleep))
        await asyncio.sleep(0)
        with pytest.raises(AcquireTimeout):
            await backend.read(texts)
        slow.cancel()
        await asyncio.wait([slow])
        assert backend.statistics().reader_waits == 1


async def test_closing_ends_a_read_that_goes_on_too_long(database: str) -> None:
    """Nobody has cancelled its caller, who is told what has happened."""
    async with opened(database, readers=1, close_timeout_s=0.05) as backend:
        slow = asyncio.create_task(backend.read(sleep))
        waiting = asyncio.create_task(backend.read(texts))
        await until(lambda: backend.statistics().reader_waits == 1)
        await backend.close()
        found = await asyncio.gather(slow, waiting, return_exceptions=True)
        assert [type(each) for each in found] == [StoreClosed, StoreClosed]


async def test_closing_as_a_place_comes_free(database: str) -> None:
    """Who has been given it has not gone on yet, and connects no more."""
    async with opened(database, readers=1) as backend:
        readers: Any = backend._readers
        give = readers._release
        closing: list[asyncio.Task[None]] = []

        def close_and_give() -> None:
            readers._release = give
            closing.append(asyncio.create_task(readers.close(1)))
            give()

        readers._release = close_and_give
        first = asyncio.create_task(backend.read(texts))
        second = asyncio.create_task(backend.read(texts))
        assert await first == []
        assert backend.statistics().reader_waits == 1
        with pytest.raises(StoreClosed):
            await second
        await closing[0]
        assert readers._idle == []


async def test_a_storm(store: SessionStore, rng: random.Random) -> None:
    """Whatever raised its cancellation wrote nothing, whatever returned wrote."""
    await store.sessions.create(id="s")
    returned: set[int] = set()

    async def call(n: int) -> None:
        await store.events.append("s", "t", n)
        returned.add(n)
        await store.events.list("s", limit=10)

    tasks = []
    for n in range(600):
        tasks.append(asyncio.create_task(call(n)))
        if n % 10 == 9:
            await asyncio.sleep(rng.uniform(0, 0.003))
            for task in rng.sample(tasks, min(5, len(tasks))):
                task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert any(task.cancelled() for task in tasks)
    found = await store.events.list("s")
    assert [each.seq for each in found] == list(range(1, len(found) + 1))
    assert {each.data for each in found} == returned
    readers: Any = store._backend._readers  # type: ignore[attr-defined]
    await until(lambda: not readers._running)  # a cancelled read ends soon
    waits = (await store.statistics()).reader_waits
    await asyncio.gather(*(store.events.head("s") for _ in range(2)))
    assert (await store.statistics()).reader_waits == waits
