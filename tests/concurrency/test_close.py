"""Closing a store that is busy."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.forcing import Note, new_gate, opened, submitted, texts
from tests.support.patience import until
from tests.support.programs import ROOT, command
from turnstore import DatabaseBusy, SessionStore, StoreClosed, StoreOptions
from turnstore.engine.sqlite.backend import SqliteBackend
from turnstore.engine.writer import Batch, Done, Writer

pytestmark = pytest.mark.anyio


def note(backend: SqliteBackend, text: str) -> asyncio.Task[int]:
    return asyncio.create_task(backend.write(Note("s", 1, text)))


async def test_what_is_queued_is_committed(store_path: Path) -> None:
    async with opened(store_path, queue_commands_max=3) as backend:
        gate = new_gate()
        passing = asyncio.create_task(backend.write(gate))
        await until(gate.entered.is_set)
        tasks = [note(backend, str(at)) for at in range(5)]
        await submitted(backend, 5)
        closing = asyncio.create_task(backend.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            await backend.write(Note("s", 1, "too late"))
        with pytest.raises(StoreClosed):
            await backend.read(texts)
        gate.opened.set()
        await closing
        assert await passing == "passed"
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
    async with opened(store_path) as backend:
        assert await backend.read(texts) == list("01234")


async def test_what_is_late_is_not_written(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    """Another connection keeps the lock beyond both deadlines."""
    options = {"close_timeout_s": 0.02, "busy_timeout_s": 0.2}
    async with opened(store_path, **options) as backend:
        other = connect(store_path)
        other.execute("BEGIN IMMEDIATE")
        taken = note(backend, "taken")
        await submitted(backend, 0)
        queued = note(backend, "queued")
        await asyncio.sleep(0)
        await backend.close()
        results = await asyncio.gather(taken, queued, return_exceptions=True)
        assert isinstance(results[0], DatabaseBusy)
        assert isinstance(results[1], StoreClosed | DatabaseBusy)
        other.execute("ROLLBACK")
    async with opened(store_path) as backend:
        assert await backend.read(texts) == []


async def test_what_is_queued_beyond_the_deadline(store_path: Path) -> None:
    async with opened(store_path, close_timeout_s=0.01) as backend:
        gate = new_gate()
        passing = asyncio.create_task(backend.write(gate))
        await until(gate.entered.is_set)
        queued = note(backend, "queued")
        await submitted(backend, 1)
        closing = asyncio.create_task(backend.close())
        with pytest.raises(StoreClosed, match="nothing was written"):
            await queued
        gate.opened.set()
        await closing
        assert await passing == "passed"
    async with opened(store_path) as backend:
        assert await backend.read(texts) == []


async def test_a_cancelled_close_is_seen_through(store_path: Path) -> None:
    store = SessionStore(store_path)
    await store.open()
    await store.sessions.create(id="s")
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    with pytest.raises(StoreClosed):
        await store.events.head("s")
    assert [each.name for each in store_path.parent.iterdir()] == ["store.db"]


async def test_two_closes_at_once(store_path: Path) -> None:
    store = SessionStore(store_path)
    await store.open()
    await asyncio.gather(store.close(), store.close())
    assert [each.name for each in store_path.parent.iterdir()] == ["store.db"]


@pytest.mark.parametrize("turns", range(10))
async def test_a_cancelled_open_leaves_nothing_behind(
    store_path: Path, turns: int
) -> None:
    store = SessionStore(store_path, StoreOptions(readers=3))
    opening = asyncio.create_task(store.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    if not opening.cancelled():
        await store.close()
    with pytest.raises(StoreClosed):
        await store.events.head("s")
    async with SessionStore(store_path) as following:
        await following.sessions.create(id="s")


@pytest.mark.parametrize("turns", range(10))
async def test_a_close_while_it_opens_leaves_it_closed(
    store_path: Path, turns: int
) -> None:
    store = SessionStore(store_path)
    opening = asyncio.create_task(store.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    [outcome] = await asyncio.gather(opening, return_exceptions=True)
    assert outcome is None or isinstance(outcome, StoreClosed)
    with pytest.raises(StoreClosed):
        await store.events.head("s")


async def test_an_open_cancelled_at_every_turn_leaves_nothing_behind(
    store_path: Path,
) -> None:
    """A scope of anyio cancels again until it is obeyed."""
    store = SessionStore(store_path, StoreOptions(readers=3))
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await store.open()
    assert scope.cancelled_caught
    with pytest.raises(StoreClosed):
        await store.events.head("s")


async def test_a_close_inside_a_cancelled_scope_is_seen_through(
    store_path: Path,
) -> None:
    store = SessionStore(store_path)
    with anyio.CancelScope() as scope:
        async with store:
            await store.sessions.create(id="s")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert [each.name for each in store_path.parent.iterdir()] == ["store.db"]


async def test_a_caller_that_closes_while_its_own_writes_are_under_way(
    store_path: Path,
) -> None:
    store = SessionStore(store_path)
    await store.open()
    await store.sessions.create(id="s")
    appends = [asyncio.create_task(store.events.append("s", "t")) for _ in range(5)]
    await asyncio.sleep(0)
    await store.close()
    assert [task.result() for task in appends] == [1, 2, 3, 4, 5]


# Never closed


def check_that_an_unclosed_store_gives_back_what_it_held(url: str) -> None:
    program = command("unclosed", url)
    program[1:1] = ["-W", "always::ResourceWarning"]
    child = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (0, "given back\n"), child.stderr
    assert child.stderr.count("ResourceWarning: unclosed <turnstore.") == 3


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@on_linux
async def test_an_unclosed_store_that_is_collected(store_path: Path) -> None:
    check_that_an_unclosed_store_gives_back_what_it_held(f"sqlite:///{store_path}")


@on_linux
async def test_an_unclosed_store_on_postgresql_that_is_collected(database: str) -> None:
    check_that_an_unclosed_store_gives_back_what_it_held(database)


async def test_a_commit_that_the_end_of_the_loop_cancels_has_an_error() -> None:
    """Not the cancellation of the task that commits, which is not its caller's."""
    loop = asyncio.get_running_loop()

    def commit(batch: Batch, done: Done) -> None:
        batch.begin()
        loop.call_soon(done, [], asyncio.CancelledError())

    writer = Writer(commit, StoreOptions(), loop)
    with pytest.raises(StoreClosed, match="nothing was written"):
        await writer.write(Note("s", 1, "text"))
    call = asyncio.create_task(writer.write(Note("s", 1, "text")))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
