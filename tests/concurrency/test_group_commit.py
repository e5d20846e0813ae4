"""Calls are committed in groups: in order, independently, within bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
from tests.support.patience import until
from turnstore import DatabaseCorrupt, DiskFull, QueueFull, SessionStore
from turnstore.engine.sqlite.backend import SqliteBackend

pytestmark = pytest.mark.anyio


def note(backend: SqliteBackend, text: str) -> asyncio.Task[int]:
    return asyncio.create_task(backend.write(Note("s", 1, text)))


async def test_calls_of_one_turn_share_a_commit(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    before = await store.statistics()
    await asyncio.gather(*[store.events.append("s", "t") for _ in range(50)])
    after = await store.statistics()
    assert after.commands - before.commands == 50
    assert after.batches - before.batches == 1


async def test_gathered_calls_keep_their_order(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    appends = [store.events.append("s", "t", {"at": at}) for at in range(1, 201)]
    assert await asyncio.gather(*appends) == list(range(1, 201))
    found = await store.events.list("s")
    assert [event.data["at"] for event in found] == list(range(1, 201))


async def test_order_is_kept_over_many_small_batches(store_path: Path) -> None:
    options = {"batch_commands_max": 3, "queue_commands_max": 7}
    async with opened(store_path, **options) as backend:
        tasks = [note(backend, str(at)) for at in range(100)]
        assert await asyncio.gather(*tasks) == list(range(1, 101))
        assert await backend.read(texts) == [str(at) for at in range(100)]
        assert backend.statistics().batches == 34


async def test_a_batch_is_bounded_in_bytes(store_path: Path) -> None:
    async with opened(store_path, batch_bytes_max=4_096) as backend:
        async with held(backend):
            sizes = [2_000, 2_000, 2_000, 10_000, 1, 1]
            tasks = [
                asyncio.create_task(backend.write(Note("s", size, str(size))))
                for size in sizes
            ]
            await submitted(backend, len(sizes))
        await asyncio.gather(*tasks)
        # The gate; 2,000 + 2,000; 2,000; 10,000 alone; the rest.
        assert backend.statistics().batches == 5
        assert await backend.read(texts) == [str(size) for size in sizes]


async def test_a_poisoned_command_fails_alone(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            before = note(backend, "before")
            poison = Poison("s", 1, RuntimeError("poison"))
            poisoned = asyncio.create_task(backend.write(poison))
            after = note(backend, "after")
            await submitted(backend, 3)
        assert await before == 1
        with pytest.raises(RuntimeError, match="poison"):
            await poisoned
        assert await after == 2
        assert backend.statistics().batches == 2
        assert await backend.read(texts) == ["before", "after"]
        await works(backend)
    assert "a batch failed" in caplog.text


async def test_a_command_that_breaks_a_constraint_fails_alone(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(store_path) as backend:
        await backend.write(Note("s", 1, "there"))
        twice = "INSERT INTO notes VALUES (1, 's', 'again')"

        class Clash(Note, frozen=True):
            @staticmethod
            def apply(connection, commands):  # type: ignore[no-untyped-def]
                connection.exec_driver_sql(twice)
                return [0]

        async with held(backend):
            before = note(backend, "before")
            clashing = asyncio.create_task(backend.write(Clash("s", 1, "x")))
            after = note(backend, "after")
            await submitted(backend, 3)
        with pytest.raises(DatabaseCorrupt) as caught:
            await clashing
        assert getattr(caught.value.__cause__, "sqlite_errorcode", 0) & 0xFF == 19
        assert (await before, await after) == (2, 3)
        assert await backend.read(texts) == ["there", "before", "after"]
        await works(backend)


async def test_a_disk_that_is_full_beside_a_poisoned_command_is_told_with_its_cause(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Note, frozen=True):
        @staticmethod
        def apply(connection, commands):  # type: ignore[no-untyped-def]
            connection.exec_driver_sql("PRAGMA max_page_count = 1").close()
            connection.exec_driver_sql("INSERT INTO notes SELECT 1, 2, zeroblob(99999)")

    async with opened(store_path) as backend:
        async with held(backend):
            poison = Poison("s", 1, RuntimeError("poison"))
            poisoned = asyncio.create_task(backend.write(poison))
            full = asyncio.create_task(backend.write(Full("s", 1, "x")))
            await submitted(backend, 2)
        for each in (poisoned, full):
            with pytest.raises(DiskFull) as caught:
                await each
            assert getattr(caught.value.__cause__, "sqlite_errorcode", 0) & 0xFF == 13


async def test_each_caller_of_a_poisoned_batch_gets_an_error_of_its_own(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(store_path) as backend:
        async with held(backend):
            poisons = [Poison("s", 1, RuntimeError(str(at))) for at in range(3)]
            tasks = [asyncio.create_task(backend.write(each)) for each in poisons]
            await submitted(backend, 3)
        await asyncio.wait(tasks)
        assert [str(task.exception()) for task in tasks] == ["0", "1", "2"]
        await works(backend)


async def test_a_full_queue(store_path: Path) -> None:
    options = {"queue_commands_max": 2, "queue_timeout_s": 0.01}
    async with opened(store_path, **options) as backend:
        async with held(backend):
            queued = [note(backend, "a"), note(backend, "b")]
            await submitted(backend, 2)
            with pytest.raises(QueueFull, match="queue_commands_max") as caught:
                await backend.write(Note("s", 1, "never"))
            assert caught.value.retryable
            assert backend.statistics().queue_depth == 2
        assert await asyncio.gather(*queued) == [1, 2]
        assert await backend.read(texts) == ["a", "b"]
        await works(backend)


async def test_callers_beyond_a_full_queue_are_let_in_in_order(
    store_path: Path,
) -> None:
    async with opened(store_path, queue_commands_max=1) as backend:
        async with held(backend):
            tasks = [note(backend, str(at)) for at in range(20)]
            await submitted(backend, 20)
        assert await asyncio.gather(*tasks) == list(range(1, 21))
        assert await backend.read(texts) == [str(at) for at in range(20)]


async def test_a_batch_gathers_while_another_is_committed(store_path: Path) -> None:
    async with opened(store_path) as backend:
        gate = new_gate()
        first = asyncio.create_task(backend.write(gate))
        await until(gate.entered.is_set)
        tasks = [note(backend, str(at)) for at in range(10)]
        await submitted(backend, 10)
        assert not any(task.done() for task in tasks)
        gate.opened.set()
        await asyncio.gather(first, *tasks)
        assert backend.statistics().batches == 2
        assert backend.statistics().batch_size_p99 == 10
