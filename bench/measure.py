"""Taking samples of several sides in turn, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import msgspec

from turnstore.engine.sqlite.files import file_system
from turnstore.engine.sqlite.library import library

Sample = Callable[[], float]
"""Does a piece of work and returns its figure, in the unit of its comparison."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """What a ratio is meant to reach. Printed beside it, never asserted."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, ratio: float) -> bool:
        if self.at_least is not None and ratio < self.at_least:
            return False
        return self.at_most is None or ratio <= self.at_most

    def __str__(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}"


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One other side of a comparison.

    :param ratios: one a round, of figures taken right after one another: ours / its,
        or its / ours where ``inverse``.
    """

    name: str
    samples: list[float]
    ratios: list[float]
    inverse: bool = False
    bar: Bar | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one case of a workload gave.

    :param unit: of every sample, such as ``"events/s"`` or ``"ms"``.
    :param tasks: concurrent callers, where that is what the case varies.
    """

    workload: str
    case: str
    unit: str
    ours: list[float]
    against: list[Against]
    tasks: int | None = None


class Other(msgspec.Struct, frozen=True):
    """A side to measure ours against."""

    name: str
    sample: Sample
    bar: Bar | None = None
    inverse: bool = False
    rounds_max: int | None = None
    """Take no more samples than this, where one is slow; None takes as many as ours.
    Later rounds are compared with the last sample."""


def compare(
    workload: str,
    case: str,
    unit: str,
    ours: Sample,
    *others: Other,
    rounds: int,
    tasks: int | None = None,
) -> Comparison:
    """Sample every side in turn, ``rounds`` times: ours, the others, ours again.

    Interleaving lets a drift of the machine reach all sides alike.
    """
    samples: list[float] = []
    taken: list[list[float]] = [[] for _ in others]
    for _ in range(rounds):
        samples.append(ours())
        for other, figures in zip(others, taken, strict=True):
            if other.rounds_max is None or len(figures) < other.rounds_max:
                figures.append(other.sample())
    return Comparison(
        workload=workload,
        case=case,
        unit=unit,
        ours=samples,
        tasks=tasks,
        against=[
            Against(
                name=other.name,
                samples=figures,
                ratios=_ratios(samples, figures, other.inverse),
                inverse=other.inverse,
                bar=other.bar,
            )
            for other, figures in zip(others, taken, strict=True)
        ],
    )


def _ratios(ours: list[float], its: list[float], inverse: bool) -> list[float]:
    ratios = []
    for at, figure in enumerate(ours):
        ratio = figure / its[min(at, len(its) - 1)]
        ratios.append(1 / ratio if inverse else ratio)
    return ratios


def spread(samples: list[float]) -> tuple[float, float, float]:
    """Return the lowest, the median and the highest sample."""
    return min(samples), median(samples), max(samples)


def machine(folder: Path, note: str) -> Mapping[str, str | int | float]:
    """Return what a figure depends on beside the code, as far as can be known."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "cpu": _cpu(),
        "cpu_count": os.cpu_count() or 0,
        "cpus_usable": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 0,
        "load_average_1m": round(os.getloadavg()[0], 2)
        if hasattr(os, "getloadavg")
        else -1,
        "system": platform.platform(),
        "file_system": file_system(folder) or "unknown",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "library_ours_and_floor": library().name,
        "library_port": f"sqlite3 (SQLite {sqlite3.sqlite_version})",
        **{name: version(name) for name in ("turnstore", "sqlalchemy", "aiosqlite")},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or "unknown"
