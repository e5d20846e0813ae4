"""Talking to a child process by its lines."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Child = subprocess.Popen[str]


@contextmanager
def starting() -> Iterator[Callable[..., Child]]:
    """Give what starts a child process; those that still run are killed at the end."""
    children: list[Child] = []

    def start(command: Sequence[str], folder: Path | None = None) -> Child:
        child = subprocess.Popen(
            command,
            cwd=folder,
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


def line(child: Child) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go(child: Child) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def finished(child: Child) -> list[int]:
    """Return the seqs that a child printed after it had opened."""
    # Not communicate(), which passes over what readline() has buffered.
    assert child.stdout is not None
    output = child.stdout.read()
    assert child.wait() == 0
    return [int(each) for each in output.split() if each.isdigit()]
