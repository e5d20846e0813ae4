"""Every example of the README runs and prints what it says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import LIMIT_S

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
PROGRAM = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
PROGRAMS = PROGRAM.findall(README)


def test_there_are_programs() -> None:
    assert PROGRAMS


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_it_says(
    program: str, output: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout == output


def test_the_map_names_every_module() -> None:
    """The architecture section has a line for each module, and for no other."""
    source = Path(__file__).resolve().parents[1] / "src" / "turnstore"
    section = README.split("## Architecture")[1].split("\n## ")[0]
    named = set(re.findall(r"^\s*([\w/]+\.py|\w+/)\s", section, re.MULTILINE))
    there = {
        path.name
        for path in [*source.glob("*.py"), *source.glob("backends/*.py")]
        if path.stem not in ("__init__", "__main__")
    } | {"backends/", "transfer/", "cli/", "testing/"}
    assert {name for name in named if name != "__init__.py"} == there
