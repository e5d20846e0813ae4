"""A commit whose disk fails: nobody reads its outcome before it is settled, and what
is read then is what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import WHY_NOT, Faults

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PROGRAM = """
import asyncio, errno, os, sys
from tests.support.faults import Faults
from turnstore import BackendError, SessionStore, StoreOptions

faults = Faults.of_this_process()

async def told(call):
    try:
        return str(await call)
    except BackendError as error:
        return type(error).__name__

async def main():
    options = StoreOptions(durability="full")
    async with SessionStore(f"sqlite:///{sys.argv[1]}", options) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "t", "before")
        for_ever = sys.argv[2] == "for ever"
        faults.fail("sync", "-wal", errno.EIO, for_ever=for_ever)
        print(await told(store.events.append("s", "t", "failed")))
        print(await told(store.events.head("s")))
        if for_ever:
            print(await told(store.events.append("s", "t", "failed too")))
            faults.stop()
            print(await told(store.events.head("s")))
        sys.stdout.flush()
        if sys.argv[3] == "dies":
            os._exit(0)
        print(await told(store.events.append("s", "t", "after")))

asyncio.run(main())
"""

AFTER = """
import asyncio, sys
from turnstore import SessionStore

async def main():
    async with SessionStore(f"sqlite:///{sys.argv[1]}") as store:
        print(*(each.data for each in await store.events.list("s")))
        print(await store.admin.check())

asyncio.run(main())
"""


@pytest.mark.parametrize("ends", ["dies", "goes on"])
@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("once", ["BackendUnavailable", "1"]),
        # Nobody is told the head while a crash could still change it.
        (
            "for ever",
            ["OutcomeUnknown", "BackendUnavailable", "BackendUnavailable", "1"],
        ),
    ],
)
def test_what_is_read_of_a_failed_commit_is_what_a_crash_leaves(
    tmp_path: Path, fails: str, told: list[str], ends: str
) -> None:
    path = tmp_path / "a.db"
    faults = Faults.make(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), fails, ends],
        capture_output=True,
        text=True,
        env=faults.environment,
        cwd=tmp_path,
    )
    assert child.returncode == 0, child.stderr
    after = ["2"] if ends == "goes on" else []
    assert child.stdout.split() == told + after
    found = subprocess.run(
        [sys.executable, "-c", AFTER, str(path)], capture_output=True, text=True
    )
    left = "before" if ends == "dies" else "before after"
    assert found.stdout.splitlines() == [left, "[]"], found.stderr
