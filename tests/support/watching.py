"""What the tests of followers share: stores, taking events, keeping readers busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.support.patience import LIMIT_S, until, without_polls
from turnstore import Event, NewEvent, SessionStore
from turnstore.store.events.following.follower import Follower

SOON_S = 0.001
"""As ``poll_interval_s``: the shortest there is."""


@pytest.fixture(params=["file", "memory"])
async def store(
    request: pytest.FixtureRequest, store_path: Path
) -> AsyncIterator[SessionStore]:
    """A store that does not poll."""
    url = store_path if request.param == "file" else "sqlite://"
    async with SessionStore(url, without_polls(readers=1)) as opened:
        await opened.sessions.create(id="s")
        yield opened


@pytest.fixture
async def file_store(store_path: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(store_path, without_polls(readers=1)) as opened:
        await opened.sessions.create(id="s")
        yield opened


async def append(store: SessionStore, count: int = 1, session_id: str = "s") -> None:
    new = [NewEvent(type="t", data={"at": at}) for at in range(count)]
    await store.events.append_many(session_id, new)


async def take(follower: Follower, count: int) -> list[Event]:
    """Return the next events."""
    async with asyncio.timeout(LIMIT_S):
        return [await anext(follower) for _ in range(count)]


async def taken(follower: Follower, count: int) -> list[int]:
    """Return the ``seq`` of the next events."""
    return [event.seq for event in await take(follower, count)]


def places(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.session_id, event.seq) for event in events]


async def waits(store: SessionStore, count: int = 1) -> None:
    """Wait until that many followers have nothing to do but to wait."""
    await until(lambda: len(store._followers._waiting) == count)


@asynccontextmanager
async def busy_readers(store: SessionStore) -> AsyncIterator[None]:
    """Keep every reader of a store in use."""
    opened = threading.Event()
    entered = [threading.Event() for _ in range(store.options.readers)]

    def block(connection: Connection, entered: threading.Event) -> None:
        entered.set()
        assert opened.wait(LIMIT_S), "nobody opened the gate"

    reading = [
        asyncio.create_task(store._backend.read(partial(block, entered=each)))
        for each in entered
    ]
    await until(lambda: all(each.is_set() for each in entered))
    try:
        yield
    finally:
        opened.set()
        await asyncio.gather(*reading)


async def reader_waits(store: SessionStore, more: int, since: int) -> None:
    """Wait until that many reads more than ``since`` had to wait for a reader."""
    await until(lambda: store._backend.statistics().reader_waits == since + more)
