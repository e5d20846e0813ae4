"""What a power cut leaves: a write-ahead log that ends anywhere, or is damaged.

The files of a running store are copied and the log is cut at each frame, inside
frames and with bytes flipped. Whatever opens must be a prefix of what was written.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.patience import LIMIT_S
from turnstore import SessionStore
from turnstore.engine.sqlite import backend

pytestmark = pytest.mark.crash

APPENDS = 40
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24


async def files_of_a_running_store(
    path: Path, file_bytes: Callable[[Path], bytes]
) -> tuple[bytes, bytes]:
    """Return the database and its log, with every append in the log alone."""
    async with SessionStore(path) as store:
        await store.sessions.create(id="s")
    async with SessionStore(path) as store:
        for at in range(APPENDS):
            await store.events.append("s", "t", {"sum": at * (at + 1) // 2})
        database, log = file_bytes(path), file_bytes(Path(f"{path}-wal"))
    return database, log


async def read_back(path: Path) -> int:
    """Check that a prefix is there and can be appended to; return its length."""
    async with SessionStore(path) as store:
        found = await store.events.list("s")
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        for at, event in enumerate(found):
            assert event.data == {"sum": at * (at + 1) // 2}
        assert await store.events.head("s") == len(found)
        assert await store.events.append("s", "t", "next") == len(found) + 1
    return len(found)


class Copies:
    """Writes copies of a store, each with a log of its own, and reads them back.

    Their names are not those of a database, because Python writes them.
    """

    def __init__(self, folder: Path, database: bytes) -> None:
        self._folder = folder
        self._database = database
        self._count = 0

    def found(self, log: bytes) -> int:
        self._count += 1
        path = self._folder / f"copy{self._count}"
        path.write_bytes(self._database)
        Path(f"{path}-wal").write_bytes(log)
        return asyncio.run(read_back(path))


@pytest.fixture
def running(
    store_path: Path,
    tmp_path: Path,
    file_bytes: Callable[[Path], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Copies, bytes, int]:
    """Return copies of a running store, its log, and the size of a frame."""
    monkeypatch.setattr(backend, "IDLE_S", LIMIT_S)  # the log is not emptied meanwhile
    database, log = asyncio.run(files_of_a_running_store(store_path, file_bytes))
    frame_bytes = FRAME_HEADER_BYTES + int.from_bytes(log[8:12])
    assert (len(log) - WAL_HEADER_BYTES) % frame_bytes == 0
    return Copies(tmp_path, database), log, frame_bytes


def test_cut_at_frames(running: tuple[Copies, bytes, int]) -> None:
    copies, log, frame_bytes = running
    frames = (len(log) - WAL_HEADER_BYTES) // frame_bytes
    step = max(1, frames // 50)
    lengths = [
        copies.found(log[: WAL_HEADER_BYTES + frame * frame_bytes])
        for frame in [*range(0, frames, step), frames]
    ]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, APPENDS)


def test_cut_inside_frames(
    running: tuple[Copies, bytes, int], rng: random.Random
) -> None:
    copies, log, _ = running
    whole = copies.found(log)
    assert whole == APPENDS
    cuts = sorted(rng.randrange(len(log)) for _ in range(12))
    lengths = [copies.found(log[:cut]) for cut in [0, 1, 31, *cuts]]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0


def test_flipped_bytes(running: tuple[Copies, bytes, int], rng: random.Random) -> None:
    """A damaged frame and all behind it are left out: checksums run on."""
    copies, log, frame_bytes = running
    for _ in range(12):
        at = rng.randrange(WAL_HEADER_BYTES, len(log))
        damaged = bytearray(log)
        damaged[at] ^= 1 << rng.randrange(8)
        frame = (at - WAL_HEADER_BYTES) // frame_bytes
        before = copies.found(log[: WAL_HEADER_BYTES + frame * frame_bytes])
        assert copies.found(bytes(damaged)) == before


def test_a_log_of_garbage(
    running: tuple[Copies, bytes, int], rng: random.Random
) -> None:
    copies, log, _ = running
    assert copies.found(b"") == 0
    assert copies.found(rng.randbytes(len(log))) == 0
    assert copies.found(bytes(len(log))) == 0
