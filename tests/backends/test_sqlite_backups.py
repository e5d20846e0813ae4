"""Backups: private files with the content of the store, which overwrite nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.filling import fill
from turnstore import InvalidArgument, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio


async def whole(store: SessionStore) -> list[Any]:
    page = await store.sessions.list(limit=1_000)
    return [
        (await store.sessions.load(each.id), await store.events.list(each.id))
        for each in page.items
    ]


async def test_a_backup_is_a_store_with_the_same_content(
    store: SessionStore, tmp_path: Path
) -> None:
    await fill(store)
    await store.admin.backup(tmp_path / "copy.db")
    before = await whole(store)
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await whole(copy) == before
        assert await copy.admin.check() == []
        await copy.events.append("s", "more")
    assert await whole(store) == before


async def test_a_backup_is_one_private_file(
    store: SessionStore, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    await fill(store)
    old = os.umask(0)
    try:
        await store.admin.backup(str(folder / "copy.db"))
    finally:
        os.umask(old)
    assert os.listdir(folder) == ["copy.db"]
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600


async def test_a_backup_of_a_relative_path_lies_in_the_working_folder(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    await store.admin.backup("copy.db")
    assert os.listdir(tmp_path / "here") == ["copy.db"]


async def test_a_store_in_memory_is_backed_up(
    memory_store: SessionStore, tmp_path: Path
) -> None:
    await fill(memory_store)
    await memory_store.admin.backup(tmp_path / "copy.db")
    await memory_store.events.append("s", "later")
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await copy.events.head("s") == 20


async def test_a_read_only_store_is_backed_up(
    store: SessionStore, store_path: Path, tmp_path: Path
) -> None:
    await fill(store)
    async with SessionStore(store_path, StoreOptions(read_only=True)) as reading:
        await reading.admin.backup(tmp_path / "copy.db")
        assert await reading.admin.check() == []
    async with SessionStore(tmp_path / "copy.db") as copy:
        assert await copy.events.head("s") == 20


async def test_progress_ends_with_the_total(
    store: SessionStore, tmp_path: Path
) -> None:
    await fill(store)
    told: list[tuple[int, int]] = []
    await store.admin.backup(
        tmp_path / "copy.db", on_progress=lambda done, total: told.append((done, total))
    )
    done, total = told[-1]
    assert done == total > 10


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
async def test_what_is_there_is_never_overwritten(
    store: SessionStore, tmp_path: Path, suffix: str
) -> None:
    there = tmp_path / f"copy.sqlite{suffix}"
    there.write_text("kept")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InvalidArgument, match=there.name):
        await store.admin.backup(tmp_path / "copy.sqlite")
    assert there.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == before


async def test_the_store_itself_is_never_overwritten(
    store: SessionStore, store_path: Path
) -> None:
    await fill(store)
    with pytest.raises(InvalidArgument):
        await store.admin.backup(store_path)
    assert await store.events.head("s") == 20


@pytest.mark.parametrize("path", ["", None, 5, b"copy", "a\x00b"])
async def test_what_is_no_path_is_refused(store: SessionStore, path: Any) -> None:
    with pytest.raises(InvalidArgument):
        await store.admin.backup(path)
