"""Running ``programs/scenarios.py``: one order after another, a kill where wanted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ledger import Ledger
from tests.support.programs import ROOT, command


@dataclass
class Run:
    """What came of one order."""

    status: int
    failures: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)


class Scenarios:
    """The process that runs them."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command("scenarios"),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        ledger: Ledger,
        *,
        lines: int | None = None,
        strike: Callable[[int], None] | None = None,
        **order: Any,
    ) -> Run:
        """Run a scenario to its end.

        :param lines: after which ``strike`` is called with the child's pid; without
            one it is killed.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        run, pid = Run(0), 0
        for heard, line in enumerate(self._process.stdout, 1):
            said, first, second = line.rstrip("\n").split("\t")
            if said == "pid":
                pid = int(first)
            elif said == "end":
                run.status = int(first)
                return run
            elif said == "failed":
                run.failures.append(second)
            elif said == "copied":
                run.copies.append(Path(second))
            else:
                ledger.hear(line)
            # The child's first line may come before the parent's.
            if lines is not None and heard >= lines and pid:
                lines = None
                if strike is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    strike(pid)
        raise AssertionError("the scenarios' process has ended")

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def scenarios(environment: dict[str, str] | None = None) -> Iterator[Scenarios]:
    running = Scenarios(environment)
    try:
        yield running
    finally:
        running.end()
