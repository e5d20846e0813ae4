"""Talking to a child process by its lines."""

from __future__ import annotations

import subprocess

Child = subprocess.Popen[str]


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
