"""A cancelled turn, wherever it was: either it raised and wrote nothing, or it was
committed whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.forcing import held, new_gate, submitted
from tests.support.patience import until
from turnstore import SessionStore
from turnstore.engine.backend import Backend
from turnstore.store.turns import OpenTurn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def backend(store: SessionStore) -> Any:
    for name in ("s", "other"):
        await store.sessions.create(id=name)
    return store._backend


async def counts(store: SessionStore) -> list[tuple[int, int]]:
    """Events and messages of each session."""
    page = await store.sessions.list(order_by="created_at", descending=False)
    return [(each.event_head, each.message_head) for each in page.items]


def fill(turn: OpenTurn) -> None:
    turn.event("e")
    turn.message("user")
    turn.event("e", session_id="other")


async def test_inside_the_block(store: SessionStore, backend: Backend) -> None:
    entered = asyncio.Event()

    async def caller() -> None:
        async with store.turn("s") as turn:
            fill(turn)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(caller())
    await entered.wait()
    task.cancel("stop")
    with pytest.raises(asyncio.CancelledError, match="stop"):
        await task
    assert await counts(store) == [(0, 0), (0, 0)]


async def test_while_queued(store: SessionStore, backend: Any) -> None:
    turns: list[OpenTurn] = []

    async def caller() -> None:
        async with store.turn("s") as turn:
            turns.append(turn)
            fill(turn)

    async with held(backend):
        tasks = [asyncio.create_task(caller()) for _ in range(3)]
        await submitted(backend, 3)
        tasks[1].cancel("stop")
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await tasks[1]
        assert backend.statistics().queue_depth == 2
    await asyncio.gather(tasks[0], tasks[2])
    assert [turns[0].results[0], turns[2].results[0]] == [1, 2]
    assert turns[1]._state == "ended"
    assert await counts(store) == [(2, 2), (2, 0)]


async def test_a_timeout_while_queued(store_path: Path) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        backend: Any = store._backend

        async def caller() -> None:
            async with asyncio.timeout(0):
                async with store.turn("s") as turn:
                    turn.event("e")

        async with held(backend):
            with pytest.raises(TimeoutError):
                await caller()
        assert await store.events.head("s") == 0


async def test_while_committing(store: SessionStore, backend: Any) -> None:
    """The block ends with its results, the cancellation comes at the next await."""
    seen: list[Any] = []

    async def caller() -> None:
        async with store.turn("s") as turn:
            fill(turn)
        seen.append(turn.results[0])
        await asyncio.Event().wait()
        seen.append("never")

    gate = new_gate()
    gated = asyncio.create_task(backend.write(gate))
    task = asyncio.create_task(caller())
    await until(gate.entered.is_set)
    task.cancel("why")
    await asyncio.sleep(0)
    assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    assert seen == [1]
    assert await gated == "passed"
    assert await counts(store) == [(1, 1), (1, 0)]


async def test_while_a_turn_that_fails_is_committed(
    store: SessionStore, backend: Any
) -> None:
    async def caller() -> None:
        async with store.turn("s") as turn:
            fill(turn)
            turn.event("e", expected_head=9)

    gate = new_gate()
    gated = asyncio.create_task(backend.write(gate))
    task = asyncio.create_task(caller())
    await until(gate.entered.is_set)
    task.cancel("why")
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    await gated
    assert await counts(store) == [(0, 0), (0, 0)]


async def test_a_store_that_closes_commits_the_turns_that_wait(
    store_path: Path,
) -> None:
    store = SessionStore(store_path)
    await store.open()
    await store.sessions.create(id="s")
    backend: Any = store._backend

    async def caller() -> int:
        async with store.turn("s") as turn:
            turn.message("user")
            turn.event("e")
        seq: int = turn.results[1]
        return seq

    async with held(backend):
        tasks = [asyncio.create_task(caller()) for _ in range(3)]
        await submitted(backend, 3)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == [1, 2, 3]
    await closing
