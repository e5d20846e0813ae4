"""Following what other stores and other processes write to the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.children import Child, finished, go, line
from tests.support.patience import patient, until, without_polls
from tests.support.watching import SOON_S, take, taken, waits
from turnstore import BackendError, SessionNotFound, SessionStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def reader(store: SessionStore, store_path: Path) -> AsyncIterator[SessionStore]:
    """Another store on the file of ``store``, which polls all the time."""
    await store.sessions.create(id="s")
    async with SessionStore(store_path, patient(poll_interval_s=SOON_S)) as opened:
        yield opened


async def test_what_another_store_commits(
    store: SessionStore, reader: SessionStore
) -> None:
    follower = reader.events.follow("s")
    following = asyncio.create_task(take(follower, 4))
    await waits(reader)
    await store.events.append("s", "theirs")
    await reader.events.append("s", "ours")
    await store.events.append("s", "theirs")
    await reader.events.append("s", "ours")
    assert await following == await store.events.list("s")


async def test_a_store_that_only_reads(store: SessionStore, store_path: Path) -> None:
    await store.sessions.create(id="s")
    options = patient(poll_interval_s=SOON_S, read_only=True)
    async with SessionStore(store_path, options) as reader:
        follower = reader.events.follow("s")
        everything = reader.events.follow_all()
        following = [
            asyncio.create_task(taken(each, 2)) for each in (follower, everything)
        ]
        await waits(reader, 2)
        await store.events.append("s", "t")
        await store.events.append("s", "t")
        assert await asyncio.gather(*following) == [[1, 2], [1, 2]]


async def test_what_another_process_commits(
    store: SessionStore,
    reader: SessionStore,
    store_path: Path,
    start: Callable[..., Child],
) -> None:
    child = start("appending", store_path, "s", 100)
    assert line(child) == "ready"
    followers = [reader.events.follow("s"), reader.events.follow_all()]
    following = [asyncio.create_task(take(each, 150)) for each in followers]
    go(child)
    assert line(child) == "open"
    for _ in range(50):
        await reader.events.append("s", "ours")
    found, found_of_all = await asyncio.gather(*following)
    finished(child)
    assert found == found_of_all == await store.events.list("s")


async def test_a_session_that_another_store_deletes(
    store: SessionStore, reader: SessionStore
) -> None:
    follower = reader.events.follow("s")
    following = asyncio.create_task(take(follower, 1))
    await waits(reader)
    await store.sessions.delete("s")
    with pytest.raises(SessionNotFound):
        await following


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_session_that_another_store_makes_again(
    store: SessionStore, store_path: Path, count: int
) -> None:
    """It is another one, however many events it has."""
    await store.sessions.create(id="s")
    await store.events.append("s", "t")
    async with SessionStore(store_path, without_polls()) as reader:
        follower = reader.events.follow("s")
        assert await taken(follower, 1) == [1]
        await store.sessions.delete("s")
        await store.sessions.create(id="s")
        for _ in range(count):
            await store.events.append("s", "t")
        await reader._followers._poll()
        with pytest.raises(SessionNotFound):
            await anext(follower)


async def test_appending_to_a_session_that_another_store_made_again(
    store: SessionStore, store_path: Path
) -> None:
    """What is appended has the next number, but of another session."""
    await store.sessions.create(id="s")
    await store.events.append("s", "t")
    async with SessionStore(store_path, without_polls()) as reader:
        follower = reader.events.follow("s")
        assert await taken(follower, 1) == [1]
        await store.sessions.delete("s")
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
        assert await reader.events.append("s", "t") == 2
        with pytest.raises(SessionNotFound):
            await anext(follower)


async def test_a_poll_that_failed_is_made_again(
    store: SessionStore, reader: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = reader.events.follow("s")
    following = asyncio.create_task(taken(follower, 1))
    await waits(reader)
    failed = 0

    async def fail() -> None:
        nonlocal failed
        failed += 1
        raise BackendError("once")

    with monkeypatch.context() as patched:
        patched.setattr(reader._backend, "data_version", fail)
        await store.events.append("s", "t")
        await until(lambda: failed > 1)
        assert not following.done()
    assert await following == [1]


async def test_polls_read_heads_only_after_another_stores_commit(
    store: SessionStore, reader: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls, looks = 0, 0
    version, look = reader._backend.data_version, reader._followers._look_at_heads

    async def count_poll() -> object:
        nonlocal polls
        polls += 1
        return await version()

    async def count_look() -> None:
        nonlocal looks
        looks += 1
        await look()

    monkeypatch.setattr(reader._backend, "data_version", count_poll)
    monkeypatch.setattr(reader._followers, "_look_at_heads", count_look)
    follower = reader.events.follow("s")
    following = asyncio.create_task(taken(follower, 2))
    await until(lambda: looks == 1)  # the first one always looks
    await reader.events.append("s", "t")
    since = polls
    await until(lambda: polls > since + 2)
    assert looks == 1
    await store.events.append("s", "t")
    assert await following == [1, 2]
    assert looks == 2
