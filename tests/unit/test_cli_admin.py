"""The command line: backing up and checking a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from turnstore.cli import app

runner = CliRunner()


def sessions(url: str) -> str:
    result = runner.invoke(app, ["sessions", "--from", url, "--json"])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_backup_makes_a_store_and_prints_nothing(url: str, tmp_path: Path) -> None:
    result = runner.invoke(app, ["backup", f"{tmp_path}/copy.db", "--from", url])
    assert (result.exit_code, result.output) == (0, "")
    assert sessions(f"sqlite:///{tmp_path}/copy.db") == sessions(url) != ""


def test_backup_refuses_what_is_there(url: str, tmp_path: Path) -> None:
    there = tmp_path / "there.sqlite"
    there.write_text("kept")
    result = runner.invoke(app, ["backup", str(there), "--from", url])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there.sqlite is there already" in result.stderr
    assert there.read_text() == "kept"


def test_backup_and_check_make_no_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    for arguments in (["backup", f"{tmp_path}/copy.db"], ["check"]):
        result = runner.invoke(app, [*arguments, "--from", url])
        assert result.exit_code == 2
        assert result.stderr.startswith("turnstore: ")
    assert os.listdir(tmp_path) == []


def test_check_of_a_sound_store_prints_nothing(url: str) -> None:
    result = runner.invoke(app, ["check", "--from", url])
    assert (result.exit_code, result.output) == (0, "")


def test_check_prints_a_problem_a_line(
    url: str, tmp_path: Path, connect: Callable[[Path], Any]
) -> None:
    connect(tmp_path / "store.db").execute(
        "UPDATE session_heads SET message_count = 99, event_head = 0"
    )
    result = runner.invoke(app, ["check", "--from", url])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 6
    assert "session 'sample-tests': message_count is 99" in result.stdout
    assert result.stderr == "turnstore: 6 problems\n"


def test_check_repairs(
    url: str, tmp_path: Path, connect: Callable[[Path], Any]
) -> None:
    connection = connect(tmp_path / "store.db")
    connection.execute("UPDATE messages SET content = '{' WHERE seq = 1")
    arguments = ["check", "--from", url]
    found = runner.invoke(app, arguments)
    assert found.exit_code == 1
    assert "content is not JSON" in found.stdout
    mended = runner.invoke(app, [*arguments, "--repair"])
    assert mended.exit_code == 1
    assert "the row was set aside" in mended.stdout
    assert "counted anew" in mended.stdout
    again = runner.invoke(app, arguments)
    assert (again.exit_code, again.output) == (0, "")
    kept = "SELECT row FROM source_rows WHERE system = 'damaged'"
    assert '"text":"{"' in connection.execute(kept).fetchone()[0]
