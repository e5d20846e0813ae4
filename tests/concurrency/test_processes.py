"""Several processes on one file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, finished, go, line
from turnstore import DatabaseBusy, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


async def test_two_processes_append_to_one_session(
    store: SessionStore, store_path: Path, start: Callable[..., Child]
) -> None:
    await store.sessions.create(id="s")
    child = start("appending", store_path, "s", 100)
    assert line(child) == "ready"
    go(child)
    assert line(child) == "open"
    ours = [await store.events.append("s", "t", {"at": at}) for at in range(100)]
    theirs = finished(child)
    assert sorted(ours + theirs) == list(range(1, 201))
    assert ours == sorted(ours)
    assert theirs == sorted(theirs)
    found = await store.events.list("s")
    assert [event.seq for event in found] == list(range(1, 201))
    assert [each.data["at"] for each in found if each.seq in ours] == [*range(100)]


async def test_eight_processes_open_one_new_file_at_once(
    store_path: Path, start: Callable[..., Child], connect: Callable[[Path], Any]
) -> None:
    children = [start("appending", store_path, "s", 0) for _ in range(8)]
    for child in children:
        assert line(child) == "ready"
    for child in children:
        go(child)
    for child in children:
        assert finished(child) == []
    assert [each.name for each in store_path.parent.iterdir()] == ["store.db"]
    connection = connect(store_path)
    versions = connection.execute("SELECT * FROM alembic_version").fetchall()
    assert len(versions) == 1
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")


async def test_a_write_waits_for_another_process(
    store: SessionStore, store_path: Path, start: Callable[..., Child]
) -> None:
    await store.sessions.create(id="s")
    child = start("locking", store_path)
    assert line(child) == "locked"
    append = asyncio.create_task(store.events.append("s", "t"))
    # Reading does not wait for it.
    assert await store.events.head("s") == 0
    assert not append.done()
    go(child)
    assert await append == 1
    finished(child)


async def test_a_lock_kept_too_long_and_then_let_go(
    store_path: Path, start: Callable[..., Child]
) -> None:
    async with SessionStore(store_path, StoreOptions(busy_timeout_s=0.05)) as store:
        await store.sessions.create(id="s")
        child = start("locking", store_path)
        assert line(child) == "locked"
        with pytest.raises(DatabaseBusy, match="write lock") as caught:
            await store.events.append("s", "t")
        assert caught.value.retryable
        assert caught.value.__cause__ is not None
        go(child)
        finished(child)
        assert await store.events.append("s", "t") == 1


async def test_what_another_process_did_to_a_session_is_seen(
    store: SessionStore, second_store: SessionStore
) -> None:
    """The key of a session is remembered; a session made again has another one."""
    await store.sessions.create(id="s")
    assert await store.events.append("s", "t", "old") == 1
    assert await second_store.sessions.delete("s")
    await second_store.sessions.create(id="s")
    assert await second_store.events.append("s", "t", "new") == 1
    assert await store.events.append("s", "t", "newer") == 2
    found = await store.events.list("s")
    assert [event.data for event in found] == ["new", "newer"]
