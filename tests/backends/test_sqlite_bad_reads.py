"""Reads that fail or come short for a while: typed errors, then answers again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import WHY_NOT, Faults
from tests.support.patience import LIMIT_S

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PREPARED = """
import asyncio, os, sys
from tests.support.faults import Faults
from turnstore import SessionStore, StoreError, StoreOptions

path, what = sys.argv[1], int(sys.argv[2])
faults = Faults.of_this_process()

async def tried(call):
    try:
        return await call
    except StoreError as error:
        return type(error).__name__

async def main():
    url = "sqlite:///" + path
    async with SessionStore(url) as store:
        for name in ("a", "b"):
            await store.sessions.create(id=name)
            for n in range(40):
                await store.events.append(name, "t", "x" * 5_000)
            await store.messages.append(name, "user", "y" * 50_000)
    async with SessionStore(url, StoreOptions(readers=1)) as store:
        await store.events.head("a")
        await run(store)
"""

READING = """
async def run(store):
    faults.fail("read", "store.db", what, for_ever=True)
    print(await tried(store.events.list("a")), faults.failed > 0)
    print(await tried(store.events.append("b", "t")))
    faults.stop()
    print(len(await store.events.list("a")), len(await store.events.list("b")) >= 40)
    seq = await store.events.append("b", "t")
    print(seq in (41, 42), await store.events.head("b") == seq)
    print(await store.admin.check())

asyncio.run(main())
"""

BACKING_UP = """
async def run(store):
    copy = path + ".copy"
    faults.fail("read", "store.db", what, at=40, for_ever=True)
    outcome = await tried(store.admin.backup(copy))
    print(outcome in ("DatabaseCorrupt", "BackendUnavailable"), faults.failed > 0)
    print(sorted(os.listdir(os.path.dirname(path))))
    faults.stop()
    await store.admin.backup(copy)
    async with SessionStore("sqlite:///" + copy) as copied:
        print(await copied.admin.check(), len(await copied.events.list("a")))

asyncio.run(main())
"""

WHAT = {"EIO": 5, "short": -1}


@pytest.fixture
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    yield Faults.make(tmp_path_factory.mktemp("faults"))


def run(faults: Faults, program: str, path: Path, what: str) -> list[str]:
    child = subprocess.run(
        [sys.executable, "-c", PREPARED + program, str(path), str(WHAT[what])],
        capture_output=True,
        text=True,
        env=faults.environment,
        timeout=LIMIT_S,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout.splitlines()


@pytest.mark.parametrize("what", WHAT)
def test_a_store_answers_again_once_reads_are_good(
    faults: Faults, store_path: Path, what: str
) -> None:
    read, _, *after = run(faults, READING, store_path, what)
    assert read in ("DatabaseCorrupt True", "BackendUnavailable True")
    assert after == ["40 True", "True True", "[]"]


@pytest.mark.parametrize("what", WHAT)
def test_a_backup_of_what_is_read_short_is_no_backup(
    faults: Faults, store_path: Path, what: str
) -> None:
    refused, files, whole = run(faults, BACKING_UP, store_path, what)
    assert refused == "True True"
    assert ".copy" not in files and ".partial" not in files
    assert whole == "[] 40"
