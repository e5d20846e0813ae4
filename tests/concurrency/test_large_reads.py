"""Reading large events takes bounded memory, and the event loop goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.children import Child, line
from tests.support.programs.large_reader import (
    EVENTS,
    PEAK_MIB_MAX,
    STOP_MS_MAX,
    missing,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.mark.parametrize("way", ["stream", "follow"])
def test_large_events_are_read_in_bounded_memory_off_the_loop(
    tmp_path: Path, start: Callable[..., Child], way: str
) -> None:
    child = start("large_reader", f"sqlite:///{tmp_path}/large.db", way)
    count, peak_mib, stop_ms = map(int, line(child).split())
    assert count == EVENTS
    assert peak_mib <= PEAK_MIB_MAX
    assert stop_ms <= STOP_MS_MAX
