"""The command line: listing, showing and counting what a store holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from turnstore.cli import app
from turnstore.cli.show import SHOWN_CHARS_MAX
from turnstore.cli.terminal import plain
from turnstore.store import SessionStore

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))
HOSTILE = (
    "[bold red]not markup[/] [/unopened] :smile: "
    "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\x00\u202etxt.exe\u202c and\ntwo lines"
)
SHOWN = (
    "[bold red]not markup[/] [/unopened] :smile: [2J]0;title31mtxt.exe and\ntwo lines"
)
Run = Callable[..., subprocess.CompletedProcess[str]]
runner = CliRunner()


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def ids(text: str) -> list[str]:
    return [each["id"] for each in json_lines(text)]


def listed(url: str, *options: str) -> list[str]:
    result = runner.invoke(app, ["sessions", "--from", url, "--json", *options])
    assert result.exit_code == 0, result.stderr
    return ids(result.stdout)


def test_sessions_is_a_table_without_colour(turnstore: Run, url: str) -> None:
    result = turnstore("sessions", "--from", url)

    assert (result.returncode, result.stderr) == (0, "")
    head, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head[0] == "id"
    assert [row[:5] for row in rows] == [
        ["sample-stopped", "idle", "2", "3", "1"],
        ["sample-weather", "idle", "5", "7", "2"],
        ["sample-tests", "idle", "9", "12", "3"],
    ]
    assert "\x1b" not in result.stdout


def test_sessions_prints_one_json_object_a_line(url: str) -> None:
    result = runner.invoke(app, ["sessions", "--from", url, "--json", "--limit", "2"])

    first, second = json_lines(result.stdout)
    assert [first["id"], second["id"]] == ["sample-stopped", "sample-weather"]
    assert second["metadata"]["rating"] == "5"
    assert (second["message_count"], second["status"]) == (5, "idle")


def test_sessions_filters_and_orders(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"

    async def fill() -> None:
        async with SessionStore(url) as store:
            create = store.sessions.create
            await create(
                id="a", agent_name="coder", title="Mend", metadata={"k": "1", "j": "="}
            )
            await create(id="b", project_root="/repo", model="small", status="failed")
            await create(id="c", status="running", metadata={"k": "1"})
            await store.messages.append("b", "user", "hello")
            await store.messages.append("a", "user", "hello")
            await store.messages.append("a", "user", "again")

    anyio.run(fill)

    assert listed(url) == ["c", "b", "a"]
    assert listed(url, "--ascending", "--limit", "2") == ["a", "b"]
    assert listed(url, "--agent-name", "coder") == ["a"]
    assert listed(url, "--project-root", "/repo") == ["b"]
    assert listed(url, "--model", "small") == ["b"]
    assert listed(url, "--status", "failed", "--status", "running") == ["c", "b"]
    assert listed(url, "--metadata", "k=1") == ["c", "a"]
    assert listed(url, "--metadata", "k=1", "--metadata", "j==") == ["a"]
    assert listed(url, "--title-contains", "mEND") == ["a"]
    assert listed(url, "--order-by", "message_count") == ["a", "b", "c"]
    assert listed(url, "--agent-name", "nobody") == []


def test_sessions_lists_more_than_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnstore.cli.PAGE_SESSIONS", 2)
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"id": "s{n}", "messages": []}}\n' for n in range(7)))
    url = f"sqlite:///{tmp_path}/store.db"
    runner.invoke(app, ["import", "chat", str(path), "--into", url])

    assert listed(url, "--limit", "5") == ["s6", "s5", "s4", "s3", "s2"]
    assert len(listed(url, "--limit", "100")) == 7


def test_show_prints_the_conversation_with_calls_and_each_answer_once(
    turnstore: Run, url: str
) -> None:
    result = turnstore("show", "sample-tests", "--from", url)

    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    headings = [line for line in lines if line[:1].isdigit()]
    assert headings == [
        "1 system",
        "2 user",
        "3 assistant",
        "5 assistant",
        "7 assistant",
        "9 assistant",
    ]
    assert [line for line in lines if line.startswith("→")] == [
        "→ run_tests (call_1): completed",
        "→ edit_file (call_2): completed",
        "→ run_tests (call_1): completed",
    ]
    assert lines.index("    1 failed, 41 passed") < lines.index("    42 passed")
    assert result.stdout.count("42 passed") == 1
    assert '      "old": "year % 4 == 0",' in lines
    assert "All 42 tests pass now." in lines
    assert "\x1b" not in result.stdout


def test_show_tells_an_unanswered_call(url: str) -> None:
    result = runner.invoke(app, ["show", "sample-stopped", "--from", url])

    assert "→ search_trains (call_1): failed\n    9 o'clock\n" in result.stdout
    assert "  error: unanswered\n" in result.stdout


def test_show_prints_everything_as_json(url: str) -> None:
    result = runner.invoke(app, ["show", "sample-weather", "--from", url, "--json"])

    [state] = json_lines(result.stdout)
    source = json_lines(Path(SAMPLE).read_text(encoding="utf-8"))[1]
    assert state["session"]["id"] == "sample-weather"
    assert [each["content"] for each in state["messages"]] == [
        each["content"] for each in source["messages"]
    ]
    assert [each["arguments"]["city"] for each in state["tool_calls"]] == [
        "Zürich",
        "東京",
    ]


def test_show_shortens_long_answers_and_says_by_how_much(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    long = "x" * (SHOWN_CHARS_MAX + 234)

    async def fill() -> None:
        async with SessionStore(url) as store:
            await store.sessions.create(id="one")
            await store.messages.append("one", "user", long)
            await store.tool_calls.create("one", "look", {"at": 1}, id="t", call_id="c")
            await store.tool_calls.update("one", "t", status="completed", output=long)

    anyio.run(fill)

    shown = runner.invoke(app, ["show", "one", "--from", url]).stdout
    full = runner.invoke(app, ["show", "one", "--from", url, "--full"]).stdout

    # The message is shown whole, the answer is not.
    assert shown.count(long) == 1
    assert f"{'x' * SHOWN_CHARS_MAX}… [234 characters left out]\n" in shown
    assert "tool calls without a message\n→ look (c): completed\n" in shown
    assert full.count(long) == 2
    assert "left out" not in full


def test_hostile_text_is_shown_as_text(turnstore: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"

    async def fill() -> None:
        async with SessionStore(url) as store:
            await store.sessions.create(
                id="one\x1b[31m",
                title=HOSTILE,
                metadata={"key\x1b": HOSTILE},
            )
            session = "one\x1b[31m"
            await store.messages.append(session, "system", [{"text": HOSTILE}, HOSTILE])
            calls = [{"id": "c\x1b", "function": {"name": HOSTILE}}]
            first = await store.messages.append(
                session,
                "assistant",
                HOSTILE,
                tool_calls=calls,
                name="[red]Ada\x1b",
                model="m\x9b",
            )
            await store.tool_calls.create(
                session,
                "[bold]look\x1b",
                HOSTILE,
                id="t",
                call_id="c\x1b",
                message_id=first.id,
            )
            await store.tool_calls.update(session, "t", error=HOSTILE, output=HOSTILE)
            await store.messages.append(
                session, "tool", HOSTILE, tool_call_id="other", name="[i]"
            )
            await store.messages.append(session, "assistant", tool_calls=calls)

    anyio.run(fill)

    shown = turnstore("show", "one\x1b[31m", "--from", url)
    table = turnstore("sessions", "--from", url)

    for result in (shown, table):
        assert (result.returncode, result.stderr) == (0, "")
        assert plain(result.stdout) == result.stdout
        assert "one[31m" in result.stdout
    assert SHOWN in shown.stdout
    assert "3 tool ([i])" in shown.stdout
    assert "2 assistant ([red]Ada · m)" in shown.stdout
    assert "→ [bold]look (c): failed" in shown.stdout
    assert "[bold red]not markup[/] [/unopened] :smile:" in table.stdout


def test_colours_on_a_terminal_come_from_the_program_alone(
    turnstore: Run, url: str
) -> None:
    shown = turnstore("show", "sample-tests", "--from", url, FORCE_COLOR="1")

    assert "\x1b[1;36m3 assistant" in shown.stdout


def test_stats_counts_sessions_by_status(turnstore: Run, url: str) -> None:
    text = turnstore("stats", "--from", url)
    [both] = json_lines(runner.invoke(app, ["stats", "--from", url, "--json"]).stdout)

    assert (text.returncode, text.stderr) == (0, "")
    fields = dict(line.split(maxsplit=1) for line in text.stdout.splitlines() if line)
    assert (fields["idle"], fields["failed"], fields["total"]) == ("3", "0", "3")
    assert "SQLite" in fields["library"]
    assert both["sessions"]["idle"] == both["sessions"]["total"] == 3
    assert both["store"]["library"] == fields["library"]


def test_reading_commands_do_not_write(url: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    before = path.stat()

    for command in (["sessions"], ["show", "sample-tests"], ["stats"]):
        assert runner.invoke(app, [*command, "--from", url]).exit_code == 0

    after = path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
