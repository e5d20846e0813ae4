"""Reading connections: waited for in turn, never lost, never shared."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.support.forcing import Note, opened, texts, works
from tests.support.patience import LIMIT_S, until
from turnstore import AcquireTimeout, BackendError, StoreClosed

pytestmark = pytest.mark.anyio

ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT entered() UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n"
)


class Blocking:
    """A read that ends when ``opened`` is set."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, connection: Connection) -> str:
        self.entered.set()
        assert self.opened.wait(LIMIT_S), "nobody opened the gate"
        return "read"


class Endless:
    """A read whose statement ends only when it is interrupted; it says itself when it
    runs."""

    def __init__(self) -> None:
        self.entered = threading.Event()

    def __call__(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.create_function("entered", 0, self._enter)
        connection.exec_driver_sql(ENDLESS).scalar_one()

    def _enter(self) -> int:
        self.entered.set()
        return 1


async def test_a_cancelled_reader_is_interrupted_and_comes_back(
    store_path: Path,
) -> None:
    async with opened(store_path, readers=1) as backend:
        for _ in range(3):
            endless = Endless()
            reading = asyncio.create_task(backend.read(endless))
            await until(endless.entered.is_set)
            reading.cancel("stop")
            with pytest.raises(asyncio.CancelledError, match="stop"):
                await reading
            assert await backend.read(texts) == []
        await works(backend)


async def test_the_connection_comes_back_when_its_thread_has_ended(
    store_path: Path,
) -> None:
    async with opened(store_path, readers=1) as backend:
        blocking = Blocking()
        reading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        following = asyncio.create_task(backend.read(texts))
        await until(lambda: backend.statistics().reader_waits == 1)
        assert not following.done()
        blocking.opened.set()
        assert await following == []
        await works(backend)


async def test_a_cancelled_wait_passes_its_turn_on(store_path: Path) -> None:
    async with opened(store_path, readers=1) as backend:
        blocking = Blocking()
        reading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        waiting = [asyncio.create_task(backend.read(texts)) for _ in range(3)]
        await until(lambda: backend.statistics().reader_waits == 3)
        waiting[0].cancel()
        waiting[2].cancel()
        blocking.opened.set()
        assert await reading == "read"
        assert await waiting[1] == []
        await asyncio.wait(waiting)
        assert [task.cancelled() for task in waiting] == [True, False, True]
        await works(backend)


async def test_cancelled_just_after_the_connection_was_handed_over(
    store_path: Path,
) -> None:
    async with opened(store_path, readers=1) as backend:
        blocking = Blocking()
        leading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        second = asyncio.create_task(backend.read(texts))
        await until(lambda: backend.statistics().reader_waits == 1)
        pool = backend._readers
        assert pool is not None
        handed_over: list[bool] = []

        def watch() -> None:
            # Runs at each turn, so in the one between handing over and waking up.
            if pool._waiters:
                asyncio.get_running_loop().call_soon(watch)
            else:
                handed_over.append(not pool._idle)
                second.cancel()

        watch()
        blocking.opened.set()
        await asyncio.wait([leading, second])
        assert handed_over == [True]
        assert second.cancelled()
        assert list(pool._idle) == backend._reading
        await works(backend)


async def test_no_reader_in_time(store_path: Path) -> None:
    async with opened(store_path, readers=1, acquire_timeout_s=0.01) as backend:
        blocking = Blocking()
        reading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        with pytest.raises(AcquireTimeout, match="raise readers") as caught:
            await backend.read(texts)
        assert caught.value.retryable
        blocking.opened.set()
        assert await reading == "read"
        await works(backend)


async def test_writes_go_on_while_every_reader_is_busy(store_path: Path) -> None:
    async with opened(store_path, readers=1) as backend:
        blocking = Blocking()
        reading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        assert await backend.write(Note("s", 1, "a")) == 1
        blocking.opened.set()
        await reading
        assert await backend.read(texts) == ["a"]


async def test_a_read_sees_one_snapshot(store_path: Path) -> None:
    async with opened(store_path) as backend:
        await backend.write(Note("s", 1, "a"))
        blocking = Blocking()

        def twice(connection: Connection) -> tuple[list[str], list[str]]:
            before = texts(connection)
            blocking(connection)
            return before, texts(connection)

        reading = asyncio.create_task(backend.read(twice, snapshot=True))
        await until(blocking.entered.is_set)
        await backend.write(Note("s", 1, "b"))
        blocking.opened.set()
        assert await reading == (["a"], ["a"])
        assert await backend.read(texts) == ["a", "b"]


async def test_a_read_can_not_write(store_path: Path) -> None:
    def write(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO notes VALUES (NULL, 's', 'x')")

    async with opened(store_path) as backend:
        with pytest.raises(BackendError):
            await backend.read(write)
        assert await backend.read(texts) == []


async def test_a_read_that_raises_gives_its_connection_back(store_path: Path) -> None:
    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT 1")
        raise ValueError("mine")

    async with opened(store_path, readers=1) as backend:
        for _ in range(3):
            with pytest.raises(ValueError, match="mine"):
                await backend.read(fail)
        await works(backend)


async def test_who_waits_for_a_reader_of_a_closing_store(store_path: Path) -> None:
    async with opened(store_path, readers=1) as backend:
        blocking = Blocking()
        reading = asyncio.create_task(backend.read(blocking))
        await until(blocking.entered.is_set)
        waiting = asyncio.create_task(backend.read(texts))
        await until(lambda: backend.statistics().reader_waits == 1)
        closing = asyncio.create_task(backend.close())
        with pytest.raises(StoreClosed):
            await waiting
        blocking.opened.set()
        assert await reading == "read"
        await closing


async def test_a_statement_that_outlasts_the_close_is_interrupted(
    store_path: Path,
) -> None:
    async with opened(store_path, readers=1, close_timeout_s=0.01) as backend:
        endless = Endless()
        reading = asyncio.create_task(backend.read(endless))
        await until(endless.entered.is_set)
        await backend.close()
        with pytest.raises(BackendError):
            await reading
