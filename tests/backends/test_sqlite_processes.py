"""A SQLite store and the process it lives in: exit, fork, event loops."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from turnstore import SessionStore, StoreError

Run = Callable[..., subprocess.CompletedProcess[str]]

UNCLOSED = """
import asyncio, gc, sys
from turnstore import SessionStore

async def main():
    store = SessionStore(f"sqlite:///{sys.argv[1]}")
    await store.open()
    await store.sessions.create(id="s")
    print(await store.events.append("s", "t"))

asyncio.run(main())
gc.collect()
"""

FORKED = """
import asyncio, os, sys
from pathlib import Path
from turnstore import SessionStore, StoreClosed, StoreError

async def child_calls(store):
    calls = [store.events.append("s", "t"), store.events.head("s")]
    # The library of the parent's connections is of no use for new ones either.
    calls += [SessionStore(each).open() for each in (Path(sys.argv[1]), "sqlite://")]
    raised = []
    for call in calls:
        try:
            await call
        except StoreError as error:
            assert "fork" in str(error), error
            raised.append(type(error))
    assert raised == [StoreClosed, StoreClosed, StoreError, StoreError], raised

async def main():
    async with SessionStore(f"sqlite:///{sys.argv[1]}") as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
        pid = os.fork()
        if pid == 0:
            try:
                # The loop that runs is the parent's, so the calls are driven by hand.
                try:
                    child_calls(store).send(None)
                except StopIteration:
                    os._exit(0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert await store.events.append("s", "t") == 2
        assert len(await store.events.list("s")) == 2

asyncio.run(main())
"""

FORKED_AND_EXITING = """
import asyncio, os, sys
from turnstore import SessionStore

async def main():
    store = SessionStore(f"sqlite:///{sys.argv[1]}")
    await store.open()
    await store.sessions.create(id="s")
    return store

store = asyncio.new_event_loop().run_until_complete(main())
pid = os.fork()
if pid == 0:
    # An ordinary exit: everything inherited is finalized.
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert {"store.db", "store.db-wal", "store.db-shm"} == set(
    os.listdir(os.path.dirname(sys.argv[1]))
)
os._exit(0)
"""


def test_an_unclosed_store_warns_and_the_process_ends(
    store_path: Path, run_python: Run
) -> None:
    child = run_python(UNCLOSED, store_path)
    assert child.returncode == 0, child.stderr
    assert child.stdout == "1\n"
    assert "ResourceWarning: unclosed" in child.stderr
    assert "SessionStore" in child.stderr


def test_an_unclosed_store_lost_nothing(store_path: Path, run_python: Run) -> None:
    run_python(UNCLOSED, store_path)

    async def head() -> int:
        async with SessionStore(store_path) as store:
            return await store.events.head("s")

    assert asyncio.run(head()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork(store_path: Path, run_python: Run) -> None:
    child = run_python(FORKED, store_path)
    assert child.returncode == 0, child.stderr
    assert os.listdir(store_path.parent) == ["store.db"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_that_exits_leaves_the_files(
    store_path: Path, run_python: Run
) -> None:
    child = run_python(FORKED_AND_EXITING, store_path)
    assert child.returncode == 0, child.stderr


def test_a_store_belongs_to_one_event_loop(store_path: Path) -> None:
    store = SessionStore(store_path)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(store.open())
        first.run(store.sessions.create(id="s"))
        for call in (store.events.head("s"), store.events.append("s", "t")):
            with pytest.raises(StoreError, match="event loop"):
                second.run(call)
        assert first.run(store.events.head("s")) == 0
        first.run(store.close())
