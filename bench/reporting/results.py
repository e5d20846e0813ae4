"""The results of a run as a JSON file, rewritten whole after each comparison."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.running.measure import Comparison

Fact = str | int | float | bool


class Results(msgspec.Struct, kw_only=True):
    """A run so far.

    :param settings: how it was called.
    :param machine: the machine and the versions it is taken with.
    :param left_out: what could not run, and why.
    :param is_complete: False in the file of a run that goes on or was interrupted.
    """

    settings: dict[str, Fact]
    machine: dict[str, Fact]
    comparisons: list[Comparison] = []
    left_out: dict[str, str] = {}
    is_complete: bool = False

    @property
    def is_quick(self) -> bool:
        return bool(self.settings["quick"])


def save(path: Path, results: Results) -> None:
    """Replace the file in one step: whoever reads it finds a whole one."""
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=2)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(encoded + b"\n")
    part.replace(path)


def load(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)
