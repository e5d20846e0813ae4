"""The command: runs workloads, shows each result as it comes, and keeps it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.reporting import plot
from bench.reporting.results import Results, load, save
from bench.reporting.table import Table
from bench.running.machine import machine
from bench.running.measure import Comparison, LeftOut
from bench.running.setting import Setting
from bench.workloads import WORKLOADS

EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    given = _parse(arguments)
    if given.replot is not None:
        _draw(given.plot, load(given.replot))
        return 0
    results = Results(
        settings={
            "durability": given.durability,
            "rounds": given.repeat,
            "quick": given.quick,
        },
        machine=machine(given.dir, given.note),
    )
    try:
        _measure(given, results)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {len(results.comparisons)} comparisons are kept")
    if given.json is not None:
        save(given.json, results)
        print(f"\nall samples: {given.json}")
    if given.plot is not None:
        _draw(given.plot, results)
    return 0 if results.is_complete else EXIT_INTERRUPTED


def _measure(given: argparse.Namespace, results: Results) -> None:
    """Run the workloads; show each result and save it before the next is measured."""
    table = Table(judged=not given.quick)
    table.introduce(results)
    with asyncio.Runner() as runner:
        setting = Setting(
            runner,
            given.dir,
            durability=given.durability,
            rounds=given.repeat,
            quick=given.quick,
        )
        signal.signal(signal.SIGINT, setting.interrupt)
        for name in given.workload or WORKLOADS:
            try:
                for comparison in _comparisons(name, setting):
                    table.show(comparison)
                    results.comparisons.append(comparison)
                    if given.json is not None:
                        save(given.json, results)
            except LeftOut as reason:
                table.leave_out(name, str(reason))
                results.left_out[name] = str(reason)
    results.is_complete = True


def _comparisons(name: str, setting: Setting) -> Iterator[Comparison]:
    # Closed on an interrupt too, so that stores and servers end before the event loop.
    with closing(WORKLOADS[name](setting)) as comparisons:
        yield from comparisons


def _draw(path: Path, results: Results) -> None:
    drawn = plot.save(path, results)
    if not drawn:
        print("the picture is left out: there are no results of append")
    for each in drawn:
        print(f"picture: {each}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare turnstore with raw drivers and with plain SQLAlchemy.",
    )
    parser.add_argument(
        "workload", nargs="*", help=f"any of {', '.join(WORKLOADS)}; default all"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep all samples, as they come"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw the workload append, for light and for dark pages",
    )
    parser.add_argument(
        "--replot", type=Path, metavar="FILE", help="draw what --json kept, do not run"
    )
    parser.add_argument("--quick", action="store_true", help="small counts: no figures")
    parser.add_argument(
        "--durability",
        choices=("normal", "full"),
        default="normal",
        help="of turnstore and of what it is compared with",
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds; default 3, with --quick 1"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder for the SQLite files: its disk is measured",
    )
    parser.add_argument("--note", default="", help="kept with the machine's facts")
    given = parser.parse_args(arguments)
    if (fault := _fault(given)) is not None:
        parser.error(fault)
    if given.repeat is None:
        given.repeat = 1 if given.quick else 3
    if given.plot is not None and (missing := plot.missing()) is not None:
        print(f"the picture is left out: {missing}")
        given.plot = None
    return given


def _fault(given: argparse.Namespace) -> str | None:
    """Say what is wrong with the arguments before minutes are spent."""
    unknown = [each for each in given.workload if each not in WORKLOADS]
    if unknown:
        return f"no workload {', '.join(unknown)}: {', '.join(WORKLOADS)}"
    if given.plot is not None and given.workload and "append" not in given.workload:
        return "--plot needs the workload append"
    if given.replot is not None and given.plot is None:
        return "--replot needs --plot"
    if given.repeat is not None and given.repeat < 1:
        return "--repeat must be 1 or more"
    if not given.dir.is_dir():
        return f"no folder {given.dir}"
    for path in (given.json, given.plot):
        if path is not None and not path.parent.is_dir():
            return f"no folder {path.parent}"
    return None
