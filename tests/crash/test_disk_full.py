"""A file system of a few megabytes that fills up, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.patience import patient
from tests.support.shutdown_disk import small_disk, why_not
from turnstore import DiskFull, SessionStore, StoreOptions

pytestmark = [
    pytest.mark.crash,
    pytest.mark.anyio,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

MIB = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            mounted = stack.enter_context(small_disk(tmp_path, 12 * MIB))
        except OSError as error:
            pytest.skip(f"no tmpfs here: {error}")
        yield mounted


def fill(path: Path) -> None:
    """Take up to 6 MiB of the space there is: a checkpoint may need as much."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for _ in range(96):
            file.write(bytes(MIB // 16))


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_disk_fills_up_and_gets_space(
    small: Path, durability: str, rounds: int
) -> None:
    """Typed, nothing lost, and the same store goes on once there is space."""
    ballast, options = small / "ballast", patient(durability=durability)
    written: list[int] = []
    async with SessionStore(small / "store.db", options) as store:
        await store.sessions.create(id="s")
        for number in range(min(rounds, 50)):
            fill(ballast)
            with pytest.raises(DiskFull):
                for at in range(300):
                    assert await store.events.append("s", "t", "x" * 50_000) == (
                        len(written) + 1
                    )
                    written.append(at)
            # What takes no space, and what reads, works meanwhile.
            assert await store.events.head("s") == len(written)
            ballast.unlink()
            assert await store.events.append("s", "t", number) == len(written) + 1
            written.append(number)
            # Leaves pages in the file for the next round.
            await store.events.delete_before("s", len(written))
            await store.admin.checkpoint()
        assert await store.admin.check() == []
    async with SessionStore(small / "store.db", StoreOptions()) as store:
        assert await store.events.head("s") == len(written)
        assert await store.admin.check() == []
