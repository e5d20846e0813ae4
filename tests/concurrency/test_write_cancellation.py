"""A cancelled write at each state of its life: either it raised and wrote nothing, or
it returned and wrote."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from tests.support.forcing import (
    Note,
    Poison,
    held,
    new_gate,
    opened,
    submitted,
    texts,
    works,
)
from tests.support.patience import LIMIT_S, until
from turnstore import DatabaseBusy
from turnstore.engine.sqlite import transactions
from turnstore.engine.sqlite.backend import SqliteBackend

pytestmark = pytest.mark.anyio


def note(backend: SqliteBackend, text: str) -> asyncio.Task[int]:
    return asyncio.create_task(backend.write(Note("s", 1, text)))


def is_taken(backend: SqliteBackend) -> bool:
    """Whether a batch is on its way."""
    return backend._writers[0]._batch is not None


async def test_waiting_for_room(store_path: Path) -> None:
    async with opened(store_path, queue_commands_max=1) as backend:
        async with held(backend):
            queued = note(backend, "queued")
            await submitted(backend, 1)
            waiting, behind = note(backend, "waiting"), note(backend, "behind")
            await submitted(backend, 3)
            waiting.cancel("stop")
            with pytest.raises(asyncio.CancelledError, match="stop"):
                await waiting
            assert backend.statistics().queue_depth == 2
        await asyncio.gather(queued, behind)
        assert await backend.read(texts) == ["queued", "behind"]
        await works(backend)


async def test_queued(store_path: Path) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            tasks = [note(backend, text) for text in "abc"]
            await submitted(backend, 3)
            tasks[1].cancel("stop")
            with pytest.raises(asyncio.CancelledError, match="stop"):
                await tasks[1]
            assert tasks[1].cancelled()
            assert backend.statistics().queue_depth == 2
        await asyncio.gather(tasks[0], tasks[2])
        assert await backend.read(texts) == ["a", "c"]
        await works(backend)


async def test_withdrawing_a_queued_one_lets_a_waiting_one_in(store_path: Path) -> None:
    async with opened(store_path, queue_commands_max=1) as backend:
        async with held(backend):
            queued = note(backend, "queued")
            await submitted(backend, 1)
            waiting = note(backend, "waiting")
            await submitted(backend, 2)
            queued.cancel()
            await asyncio.wait([queued])
            assert backend.statistics().queue_depth == 1
        assert await waiting == 1
        assert await backend.read(texts) == ["waiting"]
        await works(backend)


@asynccontextmanager
async def waiting_for_the_lock(
    path: Path, connect: Callable[[Path], Any], notes: str
) -> AsyncIterator[tuple[SqliteBackend, list[asyncio.Task[int]], Callable[[], None]]]:
    """A batch of notes that another connection keeps from being begun, and what lets
    it go on. The backend works on afterwards."""
    async with opened(path) as backend:
        other = connect(path)
        other.execute("BEGIN IMMEDIATE")
        tasks = [note(backend, text) for text in notes]
        await until(lambda: is_taken(backend))
        yield backend, tasks, lambda: other.execute("ROLLBACK")
        await works(backend)


async def test_taken_while_another_process_has_the_lock(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    """Who is cancelled leaves the batch, the others are committed."""
    waiting = waiting_for_the_lock(store_path, connect, "abc")
    async with waiting as (backend, tasks, release):
        tasks[1].cancel("stop")
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(asyncio.CancelledError, match="stop"):
                await tasks[1]
        assert not tasks[0].done()
        release()
        assert [await tasks[0], await tasks[2]] == [1, 2]
        assert await backend.read(texts) == ["a", "c"]


async def test_all_taken_while_another_process_has_the_lock(
    store_path: Path, connect: Callable[[Path], Any]
) -> None:
    waiting = waiting_for_the_lock(store_path, connect, "ab")
    async with waiting as (backend, tasks, release):
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait(tasks)
        behind = note(backend, "behind")
        await submitted(backend, 1)
        release()
        assert await behind == 1
        assert await backend.read(texts) == ["behind"]


async def test_taken_where_the_lock_is_not_had_in_time(
    store_path: Path, connect: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = waiting_for_the_lock(store_path, connect, "ab")
    async with waiting as (backend, tasks, release):
        tasks[0].cancel("stop")
        await asyncio.wait(tasks[:1])
        with monkeypatch.context() as patched:
            # A clock that leaps: the time is up, whether the wait has begun or not.
            leaps = itertools.count(monotonic() + 1e6, 1e6)
            patched.setattr(transactions, "monotonic", partial(next, leaps))
            with pytest.raises(DatabaseBusy):
                await tasks[1]
        assert tasks[0].cancelled()
        release()
        assert await backend.read(texts) == []


async def test_every_queued_one(store_path: Path) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            tasks = [note(backend, str(at)) for at in range(100)]
            await submitted(backend, 100)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert backend.statistics().queue_depth == 0
        assert all(task.cancelled() for task in tasks)
        assert await backend.read(texts) == []
        await works(backend)


async def test_before_it_was_queued(store_path: Path) -> None:
    async with opened(store_path) as backend:
        task = note(backend, "never begun")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await backend.read(texts) == []
        await works(backend)


async def test_taken(store_path: Path) -> None:
    """The result comes back, the cancellation arrives at the next await."""
    results: list[int] = []
    after: list[str] = []

    async def caller(backend: SqliteBackend) -> None:
        results.append(await backend.write(Note("s", 1, "taken")))
        after.append("no await yet")
        await asyncio.Event().wait()

    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        task = asyncio.create_task(caller(backend))
        await until(gate.entered.is_set)
        task.cancel("why")
        await asyncio.sleep(0)
        assert not task.done()
        assert task.cancelling() == 1
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1
        assert results == [1]
        assert after == ["no await yet"]
        assert await gated == "passed"
        assert await backend.read(texts) == ["taken"]
        await works(backend)


async def test_taken_and_cancelled_many_times(store_path: Path) -> None:
    async def caller(backend: SqliteBackend) -> int:
        number = await backend.write(Note("s", 1, "taken"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancellation:
            assert cancellation.args == ("first",)
            raise
        return number

    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        task = asyncio.create_task(caller(backend))
        await until(gate.entered.is_set)
        for message in ("first", "second", "third"):
            task.cancel(message)
            await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.wait([task, gated])
        assert task.cancelled()
        assert task.cancelling() == 3
        assert await backend.read(texts) == ["taken"]
        await works(backend)


async def test_taken_as_the_last_await_of_a_task(store_path: Path) -> None:
    """The task ends with the result: its caller must learn what was written."""
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        task = note(backend, "last")
        await until(gate.entered.is_set)
        task.cancel()
        gate.opened.set()
        await asyncio.wait([task, gated])
        assert not task.cancelled()
        assert task.result() == 1
        await works(backend)


async def test_taken_and_failed(store_path: Path) -> None:
    """Nothing was written, so the cancellation is raised at once."""
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        poison = Poison("s", 1, ValueError("poison"))
        task = asyncio.create_task(backend.write(poison))
        await until(gate.entered.is_set)
        task.cancel("why")
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        await gated
        assert await backend.read(texts) == []
        await works(backend)


async def test_done_but_not_resumed(store_path: Path) -> None:
    """The outcome is there, the caller has not run yet."""
    async with opened(store_path) as backend:
        tasks: list[asyncio.Task[int]] = []

        async def first() -> None:
            await backend.write(Note("s", 1, "first"))
            tasks[0].cancel("late")

        async def second() -> int:
            number = await backend.write(Note("s", 1, "second"))
            results.append(number)
            await asyncio.Event().wait()
            return number

        results: list[int] = []
        leading = asyncio.create_task(first())
        tasks.append(asyncio.create_task(second()))
        await asyncio.wait([leading, *tasks])
        assert results == [2]
        assert tasks[0].cancelled()
        assert tasks[0].cancelling() == 1
        assert await backend.read(texts) == ["first", "second"]
        await works(backend)


async def expiring(backend: SqliteBackend, scope: Any, gate: Any) -> None:
    """Let a timeout expire while a commit is under way, then let the commit end."""
    await until(gate.entered.is_set)
    scope.reschedule(asyncio.get_running_loop().time())
    while not scope.expired():  # noqa: ASYNC110 - a scope has no event
        await asyncio.sleep(0)
    gate.opened.set()


async def test_asyncio_timeout_left_at_once(store_path: Path) -> None:
    """The result stands, no TimeoutError, and no cancellation strays outside."""
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        async with asyncio.timeout(None) as scope:
            expiry = asyncio.create_task(expiring(backend, scope, gate))
            number = await backend.write(Note("s", 1, "kept"))
        assert number == 1
        assert scope.expired()
        for _ in range(5):
            await asyncio.sleep(0)
        assert task.cancelling() == before
        await asyncio.gather(expiry, gated)
        assert await backend.read(texts) == ["kept"]
        await works(backend)


async def test_asyncio_timeout_with_another_await_inside(store_path: Path) -> None:
    """The cancellation arrives there, and becomes the block's TimeoutError."""
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        numbers: list[int] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as scope:
                expiry = asyncio.create_task(expiring(backend, scope, gate))
                numbers.append(await backend.write(Note("s", 1, "kept")))
                await asyncio.Event().wait()
        assert numbers == [1]
        assert task.cancelling() == before
        await asyncio.gather(expiry, gated)
        await works(backend)


async def test_asyncio_timeout_while_queued(store_path: Path) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await backend.write(Note("s", 1, "never"))
        assert await backend.read(texts) == []
        await works(backend)


async def test_anyio_scope_left_at_once(store_path: Path) -> None:
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))

        async def cancelling(scope: anyio.CancelScope) -> None:
            await until(gate.entered.is_set)
            scope.cancel()
            for _ in range(10):
                # anyio cancels again at each turn until it is obeyed.
                await asyncio.sleep(0)
            gate.opened.set()

        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        with anyio.CancelScope() as scope:
            ending = asyncio.create_task(cancelling(scope))
            number = await backend.write(Note("s", 1, "kept"))
        assert number == 1
        assert not scope.cancelled_caught
        for _ in range(5):
            await asyncio.sleep(0)
        assert task.cancelling() == before
        await asyncio.gather(ending, gated)
        await works(backend)


async def test_anyio_move_on_after_while_queued(store_path: Path) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            with anyio.move_on_after(0) as scope:
                await backend.write(Note("s", 1, "never"))
            assert scope.cancelled_caught
        assert await backend.read(texts) == []
        await works(backend)


async def test_anyio_scope_with_another_await_inside(store_path: Path) -> None:
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))
        numbers: list[int] = []

        async def cancelling(scope: anyio.CancelScope) -> None:
            await until(gate.entered.is_set)
            scope.cancel()
            await asyncio.sleep(0)
            gate.opened.set()

        with anyio.CancelScope() as scope:
            ending = asyncio.create_task(cancelling(scope))
            numbers.append(await backend.write(Note("s", 1, "kept")))
            await anyio.sleep_forever()
        assert numbers == [1]
        assert scope.cancelled_caught
        await asyncio.gather(ending, gated)
        await works(backend)


async def test_task_group_that_fails_beside_a_commit(store_path: Path) -> None:
    """The write's result is not lost: the group ends with the other task's error."""
    async with opened(store_path) as backend:
        gate = new_gate()
        gated = asyncio.create_task(backend.write(gate))

        async def failing() -> None:
            await until(gate.entered.is_set)
            asyncio.get_running_loop().call_later(0, gate.opened.set)
            raise ValueError("neighbour")

        with pytest.raises(ExceptionGroup, match="unhandled"):
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(backend.write(Note("s", 1, "kept")))
                group.create_task(failing())
        assert writing.result() == 1
        await gated
        await works(backend)
