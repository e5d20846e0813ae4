"""Appends per second over concurrent tasks, as a picture for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import log10
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import TYPE_CHECKING, Final

import msgspec

from bench.references import PLAIN, RAW_SQLITE
from bench.reporting.results import Results
from bench.running.measure import TURNSTORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Mapping[int, list[float]]
"""The samples of each number of tasks."""

FOOTER_WIDTH: Final = 140
"""Characters of a line that fit the figure."""
LABEL_GAP: Final = 0.1
"""Between two labels, as a part of the axis."""


class Theme(msgspec.Struct, frozen=True, kw_only=True):
    suffix: str
    page: str
    text: str
    grid: str
    colors: Mapping[str, str]


class Style(msgspec.Struct, frozen=True):
    line: str
    marker: str
    width: float
    figures_at: int
    """Points above the line; below if negative."""


THEMES: Final = (
    Theme(
        suffix="",
        page="#ffffff",
        text="#1f2328",
        grid="#d8dee4",
        colors={RAW_SQLITE: "#b35900", TURNSTORE: "#0059b3", PLAIN: "#59636e"},
    ),
    Theme(
        suffix="-dark",
        page="#0d1117",
        text="#e6edf3",
        grid="#30363d",
        colors={RAW_SQLITE: "#f0a04b", TURNSTORE: "#58a6ff", PLAIN: "#9aa4af"},
    ),
)
STYLES: Final = {
    RAW_SQLITE: Style("--", "^", 1.8, 9),
    TURNSTORE: Style("-", "o", 2.6, -17),
    PLAIN: Style("-.", "s", 1.8, 9),
}


def missing() -> str | None:
    """Say what is missing for a picture, if something is."""
    if find_spec("matplotlib") is None:
        return "matplotlib is not installed"
    return None


def save(path: Path, results: Results) -> list[Path]:
    """Draw the workload ``append`` on log axes, once for each theme.

    :returns: the files, none if there is nothing of ``append`` among the results.
    """
    sides = _sides(results)
    if not sides:
        return []
    paths = []
    for theme in THEMES:
        paths.append(path.with_name(f"{path.stem}{theme.suffix}{path.suffix}"))
        _draw(paths[-1], sides, results, theme)
    return paths


def _sides(results: Results) -> dict[str, dict[int, list[float]]]:
    sides: dict[str, dict[int, list[float]]] = {}
    for each in results.comparisons:
        if each.workload == "append" and each.tasks is not None:
            sides.setdefault(each.subject, {})[each.tasks] = each.samples
            for against in each.against:
                sides.setdefault(against.name, {})[each.tasks] = against.samples
    return sides


def _draw(
    path: Path, sides: Mapping[str, Points], results: Results, theme: Theme
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(10, 6.2),
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
        facecolor=theme.page,
    )
    axes = figure.subplots()
    for name, points in sides.items():
        _line(axes, points, STYLES[name], theme.colors[name])
    _scale(axes, sorted(sides[TURNSTORE]), theme)
    for name, points in sides.items():
        _write_medians(axes, points, STYLES[name].figures_at, theme, name)
    _name_lines(axes, sides, theme)
    axes.set_title(
        "Appending events to SQLite, one per call",
        loc="left",
        pad=28,
        color=theme.text,
        fontsize=14,
        weight="bold",
    )
    axes.annotate(
        _subtitle(results),
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 12),
        textcoords="offset points",
        color=theme.text,
    )
    figure.supxlabel(
        _footer(results), x=0.01, ha="left", color=theme.text, fontsize=8.5
    )
    figure.savefig(path, dpi=160)


def _line(axes: Axes, points: Points, style: Style, color: str) -> None:
    tasks = sorted(points)
    axes.fill_between(
        tasks,
        [min(points[each]) for each in tasks],
        [max(points[each]) for each in tasks],
        color=color,
        alpha=0.25,
        linewidth=0,
    )
    axes.plot(
        tasks,
        [median(points[each]) for each in tasks],
        linestyle=style.line,
        marker=style.marker,
        linewidth=style.width,
        color=color,
    )


def _scale(axes: Axes, tasks: Sequence[int], theme: Theme) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_facecolor(theme.page)
    axes.margins(y=0.1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(tasks, [f"{each:,}" for each in tasks])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("concurrent tasks, each awaiting one append at a time (log scale)")
    axes.set_ylabel("events committed per second (log scale)")
    axes.grid(visible=True, which="major", color=theme.grid, linewidth=0.8)
    axes.minorticks_off()
    axes.tick_params(colors=theme.text, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.text)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(theme.text)


def _name_lines(axes: Axes, sides: Mapping[str, Points], theme: Theme) -> None:
    """Write the name of each line at its right end, apart from its neighbours."""
    low, high = (log10(each) for each in axes.get_ylim())
    ends = {name: median(points[max(points)]) for name, points in sides.items()}
    at = -1.0
    for name, end in sorted(ends.items(), key=lambda each: each[1]):
        at = max((log10(end) - low) / (high - low), at + LABEL_GAP)
        axes.annotate(
            name.replace(", ", ",\n"),
            xy=(1, at),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=theme.colors[name],
            weight="bold" if name == TURNSTORE else "normal",
        )


def _write_medians(
    axes: Axes, points: Points, offset: int, theme: Theme, name: str
) -> None:
    from matplotlib.patheffects import withStroke

    for tasks in sorted(points):
        middle = median(points[tasks])
        axes.annotate(
            f"{middle:,.0f}",
            xy=(tasks, middle),
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=theme.colors[name],
            path_effects=[withStroke(linewidth=3, foreground=theme.page)],
        )


def _subtitle(results: Results) -> str:
    rounds = results.settings["rounds"]
    spread = (
        "one round, no spread"
        if rounds == 1
        else f"line: median of {rounds} rounds, band: lowest to highest"
    )
    quick = "; quick run, not a measurement" if results.is_quick else ""
    return f"higher is better; {spread}{quick}"


def _footer(results: Results) -> str:
    """Return what was done, where and with which versions."""
    machine, settings = results.machine, results.settings
    lines = (
        (
            "events of about 250 bytes",
            f"durability {settings['durability']}",
            f"{machine['cpu']}, {machine['cpus_usable']} CPUs",
            str(machine["file_system"]),
            str(machine["taken_at"])[:10],
            str(machine["note"]),
        ),
        (
            f"turnstore {machine['turnstore']}",
            f"turnstore and raw SQLite on {machine['sqlite']}",
            f"plain SQLAlchemy on {machine['sqlite_of_plain']}",
        ),
        (f"SQLAlchemy {machine['sqlalchemy']}", str(machine["python"])),
    )
    joined = (" · ".join(part for part in line if part) for line in lines)
    return "\n".join(fill(line, FOOTER_WIDTH) for line in joined)
