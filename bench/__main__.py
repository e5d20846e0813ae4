"""``python -m bench``: the workloads beside the floor and the plain port."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench import plot, report
from bench.measure import Comparison, machine
from bench.setting import Setting
from bench.workloads import WORKLOADS


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    settings = {
        "durability": given.durability,
        "rounds": given.repeat,
        "quick": given.quick,
    }
    facts = machine(given.dir, given.note)
    for name, value in {**settings, **facts}.items():
        print(f"{name + ':':26}{value}")
    comparisons: list[Comparison] = []
    with asyncio.Runner() as runner:
        setting = Setting(
            runner,
            given.dir,
            durability=given.durability,
            rounds=given.repeat,
            quick=given.quick,
        )
        for name in given.workload or WORKLOADS:
            began_s = perf_counter()
            some = WORKLOADS[name](setting)
            title = f"{name} ({perf_counter() - began_s:.0f} s)"
            report.show(title, some, judged=not given.quick)
            comparisons += some
    if given.json is not None:
        report.save(given.json, settings, facts, comparisons)
    if given.plot is not None:
        title = f"Appending events (durability {given.durability})"
        footer = " | ".join(
            str(facts[name])
            for name in ("cpu", "python", "library_ours_and_floor", "file_system")
        )
        plot.save(given.plot, comparisons, title, f"{footer} | {facts['taken_at']}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "workload", nargs="*", help=f"any of {', '.join(WORKLOADS)}; default all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="needs the workload append"
    )
    parser.add_argument("--quick", action="store_true", help="small counts: no figures")
    parser.add_argument(
        "--durability",
        choices=("normal", "full"),
        default="normal",
        help="of ours, the floor and the port alike",
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds; default 3, with --quick 1"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder for the database files: its disk is measured",
    )
    parser.add_argument("--note", default="", help="kept beside the machine's facts")
    given = parser.parse_args(arguments)
    unknown = [each for each in given.workload if each not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}: {', '.join(WORKLOADS)}")
    if given.plot is not None and given.workload and "append" not in given.workload:
        parser.error("--plot needs the workload append")
    if given.repeat is None:
        given.repeat = 1 if given.quick else 3
    if given.repeat < 1:
        parser.error("--repeat must be 1 or more")
    if not given.dir.is_dir():
        parser.error(f"no folder {given.dir}")
    return given


if __name__ == "__main__":
    main(sys.argv[1:])
