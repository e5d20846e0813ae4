"""Throughput over concurrency as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.measure import Comparison, spread


def save(
    path: Path, comparisons: Sequence[Comparison], title: str, footer: str
) -> None:
    """Draw events per second over tasks: ours, the floor and the port; log axes.

    Lines are medians, bands run from the lowest to the highest sample.

    :raises ValueError: no comparison of ``append`` among them.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sides = _sides(comparisons)
    if not sides:
        raise ValueError("a plot needs the workload append")
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, points in sides.items():
        tasks = sorted(points)
        axes.plot(tasks, [median(points[each]) for each in tasks], "o-", label=name)
        lows = [spread(points[each])[0] for each in tasks]
        highs = [spread(points[each])[2] for each in tasks]
        axes.fill_between(tasks, lows, highs, alpha=0.2)
    ticks = sorted(sides["turnstore"])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [f"{each:,}" for each in ticks])
    axes.set_xlabel("concurrent tasks, each awaiting one append at a time")
    axes.set_ylabel("events committed per second")
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.supxlabel(footer, fontsize=7)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _sides(
    comparisons: Sequence[Comparison],
) -> Mapping[str, dict[int, list[float]]]:
    """Return the samples of each side by number of tasks."""
    sides: dict[str, dict[int, list[float]]] = {}
    for each in comparisons:
        if each.workload == "append" and each.tasks is not None:
            sides.setdefault("turnstore", {})[each.tasks] = each.ours
            for other in each.against:
                sides.setdefault(other.name, {})[each.tasks] = other.samples
    return sides
