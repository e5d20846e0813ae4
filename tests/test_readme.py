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
    file = tmp_path / "test_program.py"
    file.write_text(program)
    is_test = "def test_" in program
    asyncio = ["-p", "no:anyio", "-o", "asyncio_mode=auto"]
    asyncio += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        [sys.executable, "-W", "error"]
        + (["-m", "pytest", "-q", *asyncio] if is_test else [])
        + [str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    if is_test:
        assert "1 passed" in done.stdout
    else:
        assert done.stdout == output


def test_the_map_names_every_room() -> None:
    """The architecture section has a line for each room, and for no other."""
    source = Path(__file__).resolve().parents[1] / "src" / "turnstore"
    section = README.split("## Architecture")[1].split("\n## ")[0]
    named = re.findall(r"^([\w]+(?:\.py|/))\s", section, re.MULTILINE)
    rooms = {
        path.name + ("" if path.is_file() else "/")
        for path in source.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert sorted(named) == sorted(rooms - {"__init__.py", "__main__.py"})
