"""Results on the terminal, each as it comes. Plain text, so it reads well in a file."""

from __future__ import annotations

from statistics import median
from typing import Final

from bench.reporting.results import Results
from bench.running.measure import Against, Comparison, direction

WIDTHS: Final = (60, 10, 20, 8, 18, 0)
HEADER: Final = ("", "median", "low to high", "ratio", "low to high", "goal")
LEGEND: Final = """
A line gives the median of the rounds, then the lowest and the highest. Indented below
it is what it is compared with. ratio: the figure above divided by this one, by round.
If 1 is within a ratio's "low to high", the run shows no difference."""


class Table:
    """Prints results.

    :param judged: say of each goal whether it is met.
    """

    def __init__(self, *, judged: bool) -> None:
        self._judged = judged
        self._heading = ""

    def introduce(self, results: Results) -> None:
        for name, value in {**results.settings, **results.machine}.items():
            print(f"{name + ':':20}{value}")
        print(LEGEND, flush=True)

    def show(self, comparison: Comparison) -> None:
        unit = comparison.unit
        heading = f"{comparison.workload}: {unit}, {direction(unit)}"
        if heading != self._heading:
            print()
            _print_line(heading, *HEADER[1:])
            self._heading = heading
        name = f"{comparison.subject}, {comparison.case}"
        _print_line(name, *_figures(comparison.samples))
        for against in comparison.against:
            _print_line(
                f"  {against.name}",
                *_figures(against.samples),
                *_figures(against.ratios),
                self._goal(against),
            )

    def leave_out(self, name: str, reason: str) -> None:
        print(f"\n{name} is left out: {reason}", flush=True)

    def _goal(self, against: Against) -> str:
        if against.goal is None:
            return ""
        if not self._judged:
            return str(against.goal)
        met = against.goal.is_met(median(against.ratios))
        return f"{against.goal} {'met' if met else 'missed'}"


def _print_line(name: str, *cells: str) -> None:
    first, *widths = WIDTHS
    padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=False))
    print("  ".join((name.ljust(first), *padded)).rstrip(), flush=True)


def _figures(samples: list[float]) -> tuple[str, str]:
    """Return the median, and the lowest and the highest of several."""
    low, high = _number(min(samples)), _number(max(samples))
    return _number(median(samples)), f"{low} to {high}" if len(samples) > 1 else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
