"""The command line: moving files in and out."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from tests.support.files import nocodo_files
from tests.support.transfer.round_trip import dump, make
from turnstore import transfer
from turnstore.cli import app
from turnstore.store import SessionStore

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))
runner = CliRunner()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that holds the bundled sample."""
    url = f"sqlite:///{tmp_path}/store.db"

    async def fill() -> None:
        async with SessionStore(url) as store:
            await transfer.import_file(store, SAMPLE)

    anyio.run(fill)
    return url


def run(*arguments: Any) -> Any:
    return runner.invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("command", [("nocodo",), ()])
def test_a_database_goes_in_and_comes_out(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    url = f"sqlite:///{tmp_path}/store.db"
    out = tmp_path / "out.sqlite"

    first = run("import", *command, path, "--into", url)
    again = run("import", *command, path, "--into", url)
    exported = run("export", "nocodo", out, "--from", url)

    assert first.exit_code == again.exit_code == exported.exit_code == 0
    assert first.stdout == (
        "2 sessions, 4 messages, 3 tool calls, 0 events, 5 rows kept aside\n"
        "         5 refinery_schema_history: no place of its own\n"
    )
    assert again.stdout == (
        "0 sessions, 0 messages, 0 tool calls, 0 events, 2 sessions there already\n"
    )
    assert exported.stdout == (
        "2 sessions, 4 messages, 3 tool calls, 0 events, 5 rows restored\n"
    )
    assert dump(out) == dump(path)
    printed = first.output + again.output + exported.output
    assert "hunter2" not in printed


def test_a_chat_file_is_recognised_too(tmp_path: Path) -> None:
    result = run("import", SAMPLE, "--into", f"sqlite:///{tmp_path}/store.db")

    assert result.stdout == (
        "Recognised: OpenAI chat format.\n"
        "3 sessions, 16 messages, 6 tool calls, 22 events\n"
    )


def test_some_sessions_are_exported(url: str, tmp_path: Path) -> None:
    listed = run("sessions", "--from", url, "--json", "--limit", "1").stdout
    name = json.loads(listed)["id"]

    result = run("export", "chat", tmp_path / "out", "--from", url, "--session", name)

    assert result.exit_code == 0
    [line] = (tmp_path / "out").read_text().splitlines()
    assert json.loads(line)["id"] == name


def test_what_cannot_be_held_is_told(url: str, tmp_path: Path) -> None:
    result = run("export", "nocodo", tmp_path / "out", "--from", url)

    assert result.exit_code == 0
    assert "22 events: no such table" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "nocodo", SAMPLE, "--into", "sqlite://"],
        ["import", "missing", "--into", "sqlite://"],
        ["export", "nocodo", SAMPLE],
        ["export", "csv", "out"],
        ["export", "chat", "missing/out"],
        ["export", "chat", "out", "--session", "missing"],
        ["export", "chat", "out", "--from", "sqlite:///missing.db"],
    ],
)
def test_what_cannot_be_done_ends_with_code_2_and_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if arguments[0] == "export" and "--from" not in arguments:
        arguments = [*arguments, "--from", url]

    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stderr != ""
    assert "Traceback" not in result.stderr
    assert list(folder.iterdir()) == []


def test_a_session_that_is_there_from_elsewhere_is_told_with_code_1(
    url: str, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    run("import", path, "--into", url)
    make(path, nocodo_files.insert("agent_messages", nocodo_files.message(3, "later")))

    result = run("import", path, "--into", url)

    assert result.exit_code == 1
    assert "1 session left out" in result.stdout
    assert "is there already, as it was at an earlier import" in result.stderr


def test_every_format_has_both_commands() -> None:
    for name in transfer.FORMATS:
        assert run("import", name, "--help").exit_code == 0
        assert run("export", name, "--help").exit_code == 0
