"""Comparisons as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.measure import Against, Comparison, spread

COLUMNS: Final = ("case", "ours", "beside", "its", "ratio", "low to high", "bar")
WIDTH_MIN: Final = 140


def show(title: str, comparisons: Sequence[Comparison], *, judged: bool) -> None:
    """Print a table: a row for each side that ours was measured against.

    :param judged: say beside a bar whether it is met.
    """
    rows = [row for each in comparisons for row in _rows(each, judged)]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _show_plainly(title, rows)
        return
    table = Table(title=title, title_justify="left")
    for at, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if at in (0, 2) else "right")
    for row in rows:
        table.add_row(*row)
    # Piped into a file it would be folded to 80 columns.
    Console(width=max(Console().width, WIDTH_MIN)).print(table)


def _show_plainly(title: str, rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}")
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _rows(comparison: Comparison, judged: bool) -> Iterator[tuple[str, ...]]:
    case, ours = comparison.case, _figure(median(comparison.ours), comparison.unit)
    for against in comparison.against:
        low, middle, high = spread(against.ratios)
        yield (
            case,
            ours,
            against.name,
            _figure(median(against.samples), comparison.unit),
            f"{_number(middle)}{' times less' if against.inverse else ''}",
            f"{_number(low)} to {_number(high)}",
            _bar(against, middle if judged else None),
        )
        case = ours = ""


def _bar(against: Against, ratio: float | None) -> str:
    if against.bar is None:
        return ""
    if ratio is None:
        return str(against.bar)
    return f"{against.bar} {'met' if against.bar.is_met(ratio) else 'missed'}"


def _figure(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def save(
    path: Path,
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
    comparisons: Sequence[Comparison],
) -> None:
    """Write every sample, with the settings and the machine they were taken on."""
    content = {"settings": settings, "machine": machine, "comparisons": comparisons}
    encoded = msgspec.json.encode(content)
    path.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
