"""Child processes that write to the file of a test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.children import Child
from tests.support.programs import ROOT, command


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start one of the test programs."""
    children: list[Child] = []

    def start(program: str, *arguments: object) -> Child:
        child = subprocess.Popen(
            command(program, *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()
