"""The command: what it keeps when interrupted, and what it does without a package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from bench.references import PLAIN, RAW_SQLITE
from bench.reporting import plot, results
from bench.reporting.table import Table
from bench.running.measure import Comparison, Goal, Reference, compare

ROOT: Final = Path(__file__).resolve().parents[1]
MACHINE: Final = dict.fromkeys(
    (
        *("taken_at", "note", "cpu", "cpus_usable", "file_system", "python"),
        *("sqlite", "sqlite_of_plain", "turnstore", "sqlalchemy"),
    ),
    "some",
)
WITHOUT: Final = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))
from bench.command import main
sys.exit(main(sys.argv[1:]))
"""


def run_without(modules: str, *arguments: str) -> str:
    """Run the command in a process that can't import these modules."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, modules, *arguments],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout


def comparison() -> Comparison:
    figures = iter([100.0, 300.0, 200.0])
    return compare(
        "append",
        "8 tasks",
        "events/s",
        lambda: next(figures),
        Reference(RAW_SQLITE, lambda: 400, Goal(at_least=0.45)),
        Reference(PLAIN, lambda: 10, rounds_max=1),
        rounds=3,
        tasks=8,
    )


def some_results(*comparisons: Comparison) -> results.Results:
    return results.Results(
        settings={"durability": "normal", "rounds": 3, "quick": False},
        machine={**MACHINE},
        comparisons=list(comparisons),
    )


def test_an_interrupted_run_keeps_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(file)]
    child = subprocess.Popen(
        [*command, "append_many", "append", "listing"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("turnstore, 8 tasks"):
            break
    os.kill(child.pid, signal.SIGINT)
    rest, _ = child.communicate()
    assert child.returncode == 130, rest
    assert "Traceback" not in rest
    kept: dict[str, Any] = json.loads(file.read_bytes())
    assert [each["workload"] for each in kept["comparisons"][:2]] == [
        "append_many",
        "append",
    ]
    assert kept["is_complete"] is False
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("asyncpg,psutil", "not installed: asyncpg, psutil"),
        ("tests", "the folder tests/ of the checkout is not importable"),
    ],
)
def test_what_is_missing_is_said_and_left_out(module: str, reason: str) -> None:
    shown = run_without(module, "--quick", "postgres", "postgres_listing", "indexes")
    assert f"\npostgres is left out: {reason}" in shown
    assert f"\npostgres_listing is left out: {reason}" in shown
    assert "turnstore, without the indexes" in shown


def test_without_matplotlib_the_picture_is_left_out(tmp_path: Path) -> None:
    picture = str(tmp_path / "out.png")
    shown = run_without("matplotlib", "--quick", "append", "--plot", picture)
    assert "the picture is left out: matplotlib is not installed" in shown
    assert "turnstore, 2,048 tasks" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_picture_for_light_and_one_for_dark_pages(tmp_path: Path) -> None:
    drawn = plot.save(tmp_path / "out.svg", some_results(comparison()))
    assert [each.name for each in drawn] == ["out.svg", "out-dark.svg"]
    light, dark = (each.read_text() for each in drawn)
    assert "#0d1117" in dark
    assert "#0d1117" not in light


def test_no_picture_without_appends(tmp_path: Path) -> None:
    assert plot.save(tmp_path / "out.svg", some_results()) == []


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    saved = some_results(comparison())
    results.save(tmp_path / "out.json", saved)
    assert results.load(tmp_path / "out.json") == saved


def test_a_ratio_is_of_its_round_or_of_the_last_one_taken() -> None:
    raw, plain = comparison().against
    assert raw.ratios == [0.25, 0.75, 0.5]
    assert plain.samples == [10]
    assert plain.ratios == [10, 30, 20]


def test_a_table_names_the_sides_and_judges_the_goal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Table(judged=True).show(comparison())
    heading, subject, raw, plain = capsys.readouterr().out.strip().splitlines()
    assert heading.startswith("append: events/s, higher is better")
    assert subject.split() == ["turnstore,", "8", "tasks", "200", "100", "to", "300"]
    assert raw.startswith(f"  {RAW_SQLITE} ")
    assert raw.endswith("0.5        0.25 to 0.75  >= 0.45 met")
    assert plain.startswith(f"  {PLAIN} ")
