"""The command line: importing conversations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.files.chat_files import SAMPLE, conversation
from turnstore.cli import app

HI = {"role": "user", "content": "hi"}
DONE = "3 sessions, 16 messages, 6 tool calls, 22 events\n"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def run(*arguments: Any, input: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments], input=input)


@pytest.mark.parametrize("command", [("chat",), ()])
@pytest.mark.parametrize("is_packed", [False, True])
def test_standard_input_is_read(
    url: str, command: tuple[str, ...], is_packed: bool
) -> None:
    data = SAMPLE.read_bytes()
    given = gzip.compress(data) if is_packed else data

    first = run("import", *command, "-", "--into", url, input=given)
    again = run("import", *command, "-", "--into", url, input=given)

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.stdout == f"Recognised: OpenAI chat format.\n{DONE}"
    assert "3 sessions there already" in again.stdout


@pytest.mark.parametrize("command", [("chat",), ()])
def test_a_folder_is_read(tmp_path: Path, url: str, command: tuple[str, ...]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json.gz").write_bytes(gzip.compress(SAMPLE.read_bytes()))
    (folder / "b.json").write_text(json.dumps([HI, HI], indent=2))

    result = run("import", *command, folder, "--into", url)

    assert result.exit_code == 0
    assert result.stdout.startswith(
        "Recognised: OpenAI chat format, list of messages.\n4 sessions, 18 messages"
    )


def test_problems_are_told_in_ten_lines_of_each_kind(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a.jsonl"
    lines = ["text"] * 1_030 + ["{}"] * 12 + [json.dumps(conversation(HI))]
    path.write_text("\n".join(lines))

    result = run("import", "chat", path, "--into", url)

    assert result.exit_code == 1
    told = result.stderr.splitlines()
    assert len(told) == 22
    assert told[0] == f"{path}:1: not JSON: neither an object nor a list"
    assert told[10] == "and 1020 more: not JSON"
    assert told[21] == "and 2 more: no conversation"
    assert "1 session, 1 message, 0 tool calls, 1 event, 1042 lines left out" in (
        result.stdout
    )


def test_what_is_kept_aside_is_told_in_ten_lines(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a.jsonl"
    messages = [{"role": f"role {n}", "content": "x"} for n in range(14)]
    path.write_text(json.dumps(conversation(*messages)))

    result = run("import", "chat", path, "--into", url)

    assert result.exit_code == 0
    told = result.stdout.splitlines()[2:]
    assert told[0] == "         1 role role 0: reads as unknown"
    assert told[10:] == ["and 4 more"]


def test_larger_payloads_are_taken_when_asked_for(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a.jsonl"
    large = {"role": "user", "content": "x" * 20_000_000}
    path.write_text(json.dumps(conversation(large)))

    refused = run("import", "chat", path, "--into", url)
    taken = run(
        "import", "chat", path, "--into", url, "--payload-bytes-max", 30_000_000
    )
    wrong = run("import", "chat", path, "--into", url, "--payload-bytes-max", 0)

    assert (refused.exit_code, taken.exit_code, wrong.exit_code) == (1, 0, 2)
    assert "payload_bytes_max is 16777216" in refused.stderr
    assert "1 session, 1 message" in taken.stdout
    assert "payload_bytes_max" in wrong.stderr


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))

    result = run("import", "chat", path, "--into", url)

    assert result.exit_code == 2
    assert result.stderr == f"turnstore: {path} is not text\n"


def test_half_a_character_is_shown_and_printed_as_json(
    tmp_path: Path, url: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(conversation({"role": "developer", "content": "cut \ud83d"}, HI))
    )
    assert run("import", path, "--into", url).exit_code == 0

    shown = run("show", "one", "--from", url)
    printed = run("show", "one", "--from", url, "--json")

    assert "1 developer\ncut \n" in shown.stdout
    assert json.loads(printed.stdout)["messages"][0]["content"] == "cut \ud83d"
