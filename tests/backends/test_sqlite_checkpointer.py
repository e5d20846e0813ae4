"""With a SQLite that has the WAL-reset bug, one connection of all may checkpoint."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from turnstore import StoreOptions
from turnstore.engine.sqlite import backend as sqlite_backend
from turnstore.engine.sqlite import wal
from turnstore.engine.sqlite.backend import SqliteBackend
from turnstore.engine.sqlite.library import Library, library
from turnstore.engine.sqlite.thread import SqliteThread

pytest.importorskip("fcntl", reason="no locks of whole files on this system")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:.*can corrupt a file:RuntimeWarning"),
]


@pytest.fixture
def affected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the SQLite in use for one with the bug."""
    real = library()
    faked = Library(module=real.module, name="affected", is_fixed=False)
    for module in (wal, sqlite_backend):
        monkeypatch.setattr(module, "library", lambda: faked)


def checkpoint_pages(thread: SqliteThread) -> int:
    pages: int = thread.driver.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
    return pages


async def pages_of(backend: SqliteBackend) -> int:
    assert backend._writing is not None
    return await backend._writing.submit(partial(checkpoint_pages, backend._writing))


async def opened(path: Path) -> SqliteBackend:
    backend = SqliteBackend(path, StoreOptions())
    await backend.open(lambda connection: None)
    return backend


@pytest.mark.usefixtures("affected")
async def test_only_one_of_two_may_checkpoint(store_path: Path) -> None:
    first, second = await opened(store_path), await opened(store_path)
    pages = [await pages_of(first), await pages_of(second)]
    await first.close()
    third = await opened(store_path)
    pages.append(await pages_of(third))
    await second.close()
    await third.close()
    assert pages == [wal.CHECKPOINT_PAGES, 0, wal.CHECKPOINT_PAGES]


@pytest.mark.usefixtures("affected")
async def test_who_can_t_open_the_lock_does_not_checkpoint(store_path: Path) -> None:
    os.mkdir(f"{store_path}-checkpointer")  # as little to be opened as another's
    backend = await opened(store_path)
    assert await pages_of(backend) == 0
    await backend.close()


@pytest.mark.usefixtures("affected")
async def test_the_last_one_to_close_empties_the_log(store_path: Path) -> None:
    first, second = await opened(store_path), await opened(store_path)
    await first.close()
    await second.close()
    left = {each.name for each in store_path.parent.iterdir()}
    assert left <= {"store.db", "store.db-checkpointer"}


@pytest.mark.usefixtures("affected")
async def test_opening_warns(store_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="install pysqlite3"):
        backend = await opened(store_path)
    await backend.close()


async def test_with_a_fixed_one_every_writer_may(
    store_path: Path,
) -> None:
    if not library().is_fixed:
        pytest.skip("this SQLite has the bug")
    first, second = await opened(store_path), await opened(store_path)
    pages = [await pages_of(first), await pages_of(second)]
    await first.close()
    await second.close()
    assert pages == [wal.CHECKPOINT_PAGES] * 2
    assert [each.name for each in store_path.parent.iterdir()] == ["store.db"]
