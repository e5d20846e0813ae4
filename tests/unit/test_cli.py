"""The command line: usage, importing and errors, in this process and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.patience import LIMIT_S
from turnstore.cli import app

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))
Run = Callable[..., subprocess.CompletedProcess[str]]
runner = CliRunner()


def test_import_says_what_was_added_and_again_adds_nothing(
    turnstore: Run, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/new folder/store.db"

    first = turnstore("import", "chat", SAMPLE, "--into", url)
    second = turnstore("import", "chat", SAMPLE, "--into", url)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == (
        "Recognised: OpenAI chat format.\n"
        "3 sessions, 16 messages, 6 tool calls, 22 events\n"
    )
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == (
        "Recognised: OpenAI chat format.\n"
        "0 sessions, 0 messages, 0 tool calls, 0 events, 3 sessions there already\n"
    )


def test_import_prints_bad_lines_and_takes_the_rest(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    path = tmp_path / "bad.jsonl"
    good = {"id": "good", "messages": [{"role": "user", "content": "hello"}]}
    bad = {"messages": [{"role": "user", "content": {"\x1b[31m": 5}}, 7]}
    path.write_text(f"{json.dumps(bad)}\n{json.dumps(good)}\n{{\n")

    result = runner.invoke(app, ["import", "chat", str(path), "--into", url])

    assert result.exit_code == 1
    assert result.stdout == (
        "Recognised: OpenAI chat format.\n"
        "1 session, 1 message, 0 tool calls, 1 event, 2 lines left out\n"
    )
    first, third = result.stderr.splitlines()
    assert first.startswith(f"{path}:1: messages[1]: not an object")
    assert third.startswith(f"{path}:3: not JSON")
    assert "\x1b" not in result.stderr
    kept = runner.invoke(app, ["sessions", "--from", url, "--json"]).stdout
    assert [json.loads(line)["id"] for line in kept.splitlines()] == ["good"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "chat", "missing.jsonl", "--into", "sqlite://"],
        ["import", "chat", ".", "--into", "sqlite://"],
        ["import", "chat", SAMPLE, "--into", "mysql://host/db"],
        ["import", "chat", SAMPLE, "--into", "sqlite:////dev/null/x/store.db"],
        ["import", "csv", SAMPLE],
        ["sessions", "--from", "sqlite:///missing/store.db"],
        ["sessions", "--from", f"sqlite:///{SAMPLE}"],
        ["show", "one", "--from", "sqlite:///missing/store.db"],
        ["stats", "--from", "sqlite:///missing/store.db"],
        ["sessions", "--order-by", "title"],
        ["sessions", "--metadata", "key"],
        ["sessions", "--limit", "0"],
        ["unknown"],
    ],
)
def test_wrong_usage_and_errors_of_the_store_end_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    result = runner.invoke(app, arguments)

    assert result.exit_code == 2
    assert result.stderr != ""
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_store_is_one_line(turnstore: Run, url: str) -> None:
    missing = runner.invoke(app, ["show", "no\x1b\nsuch", "--from", url])
    status = runner.invoke(app, ["sessions", "--from", url, "--status", "sleeping"])
    no_file = turnstore("sessions", "--from", "sqlite:///missing/store.db")
    no_database = turnstore("sessions", "--from", f"sqlite:///{SAMPLE}")

    assert missing.stderr == "turnstore: no session 'no\\x1b\\nsuch'\n"
    assert status.exit_code == no_file.returncode == no_database.returncode == 2
    for stderr in (status.stderr, no_file.stderr, no_database.stderr):
        assert stderr.startswith("turnstore: ")
        assert stderr.count("\n") == 1


def test_an_interrupted_command_ends_with_code_130(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(source: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("turnstore.cli._count", interrupted)

    result = runner.invoke(app, ["stats", "--from", url])

    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_import_shows_a_bar_on_a_terminal(tmp_path: Path) -> None:
    import pty

    url = f"sqlite:///{tmp_path}/store.db"
    ours, theirs = pty.openpty()
    child = subprocess.run(
        [sys.executable, "-m", "turnstore", "import", "chat", SAMPLE, "--into", url],
        check=False,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=LIMIT_S,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)

    assert child.returncode == 0
    assert "importing" in shown and "\x1b" in shown
    assert child.stdout.startswith(b"Recognised: OpenAI chat format.\n3 sessions, 16")


def test_sample_prints_a_file_that_can_be_imported(
    turnstore: Run, tmp_path: Path
) -> None:
    printed = turnstore("sample", PYTHONIOENCODING="ascii")

    assert printed.returncode == 0
    assert printed.stdout.encode() == Path(SAMPLE).read_bytes()
    path = tmp_path / "sample.jsonl"
    path.write_text(printed.stdout, encoding="utf-8")
    again = runner.invoke(app, ["import", "chat", str(path), "--into", "sqlite://"])
    assert again.exit_code == 0 and "\n3 sessions, " in again.stdout


def test_the_default_store_is_in_the_home_folder(
    turnstore: Run, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    nothing = turnstore("sessions", **home)
    assert (nothing.returncode, list(tmp_path.iterdir())) == (2, [])

    added = turnstore("import", "chat", SAMPLE, **home)
    assert (added.returncode, added.stderr) == (0, "")
    assert (tmp_path / ".turnstore" / "sessions.db").exists()
    assert len(turnstore("sessions", "--json", **home).stdout.splitlines()) == 3


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, run_python: Run
) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "from turnstore.__main__ import main; main()"
    )
    result = run_python(code)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "turnstore's command line needs: pip install 'turnstore[cli]'\n"
    )


def test_importing_the_package_loads_no_command_line(run_python: Run) -> None:
    code = (
        "import sys, turnstore, turnstore.transfer; "
        "print([each for each in ('click', 'rich') if each in sys.modules])"
    )
    result = run_python(code)

    assert result.stdout == "[]\n", result.stderr
