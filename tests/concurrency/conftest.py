"""Child processes that write to the file of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.children import Child, starting
from tests.support.programs import ROOT, command


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start one of the test programs."""
    with starting() as start:
        yield lambda program, *arguments: start(command(program, *arguments), ROOT)
