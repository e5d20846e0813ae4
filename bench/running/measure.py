"""Samples of several sides, taken in turn, and the ratios between them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final, TypeAlias

import msgspec

Sample = Callable[[], float]
"""Does a piece of work and returns its figure, in the unit of its comparison."""

TURNSTORE: Final = "turnstore"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What a ratio is meant to reach. Printed with it, never asserted."""

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
    """One reference of a comparison, measured.

    :param ratios: the subject's figure divided by this one's, one per round.
    """

    name: str
    samples: list[float]
    ratios: list[float]
    goal: Goal | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one case of a workload gave.

    :param subject: the side that is compared with the others.
    :param unit: of every sample, such as ``"events/s"`` or ``"ms"``.
    :param samples: of the subject.
    :param tasks: concurrent callers, if that is what the case varies.
    """

    workload: str
    case: str
    unit: str
    subject: str
    samples: list[float]
    against: list[Against]
    tasks: int | None = None


Comparisons: TypeAlias = Generator[Comparison, None, None]
"""The comparisons of a workload, each given as soon as it is measured."""


class Reference(msgspec.Struct, frozen=True):
    """A side to measure the subject against.

    :param rounds_max: for a slow side: later rounds are compared with its last sample.
    """

    name: str
    sample: Sample
    goal: Goal | None = None
    rounds_max: int | None = None


class LeftOut(Exception):
    """The workload needs something that is not here; the text says what."""


def compare(
    workload: str,
    case: str,
    unit: str,
    sample: Sample,
    *references: Reference,
    rounds: int,
    subject: str = TURNSTORE,
    tasks: int | None = None,
) -> Comparison:
    """Sample every side in turn, ``rounds`` times: the subject, the references, the
    subject again. Interleaving lets a drift of the machine reach all sides alike."""
    samples: list[float] = []
    taken: list[list[float]] = [[] for _ in references]
    for _ in range(rounds):
        samples.append(sample())
        for reference, figures in zip(references, taken, strict=True):
            if reference.rounds_max is None or len(figures) < reference.rounds_max:
                figures.append(reference.sample())
    return Comparison(
        workload=workload,
        case=case,
        unit=unit,
        subject=subject,
        samples=samples,
        tasks=tasks,
        against=[
            Against(
                name=reference.name,
                samples=figures,
                ratios=_ratios(samples, figures),
                goal=reference.goal,
            )
            for reference, figures in zip(references, taken, strict=True)
        ],
    )


def _ratios(samples: list[float], figures: list[float]) -> list[float]:
    """Divide each sample by the figure of its round, or by the last one."""
    last = len(figures) - 1
    return [each / figures[min(at, last)] for at, each in enumerate(samples)]


def direction(unit: str) -> str:
    return "lower is better" if unit == "ms" else "higher is better"
