"""The command line: on real files, in this process and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

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
RunPython = Callable[..., subprocess.CompletedProcess[str]]
runner = CliRunner()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that holds the bundled sample."""
    url = f"sqlite:///{tmp_path}/store.db"
    assert runner.invoke(app, ["import", "chat", SAMPLE, "--into", url]).exit_code == 0
    return url


def turnstore(
    *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program; it has no terminal."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "turnstore", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        env={**os.environ, **environment},
    )


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def ids(text: str) -> list[str]:
    return [each["id"] for each in json_lines(text)]


def listed(url: str, *options: str) -> list[str]:
    result = runner.invoke(app, ["sessions", "--from", url, "--json", *options])
    assert result.exit_code == 0, result.stderr
    return ids(result.stdout)


def test_import_says_what_was_added_and_again_adds_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new folder/store.db"

    first = turnstore("import", "chat", SAMPLE, "--into", url)
    second = turnstore("import", "chat", SAMPLE, "--into", url)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "3 sessions, 16 messages, 6 tool calls, 22 events\n"
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == (
        "0 sessions, 0 messages, 0 tool calls, 0 events, 3 sessions there already\n"
    )


def test_import_prints_bad_lines_and_takes_the_rest(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    path = tmp_path / "bad.jsonl"
    good = {"id": "good", "messages": [{"role": "user", "content": "hello"}]}
    bad = {"messages": [{"role": "\x1b[31mjudge"}]}
    path.write_text(f"{json.dumps(bad)}\n{json.dumps(good)}\n{{\n")

    result = runner.invoke(app, ["import", "chat", str(path), "--into", url])

    assert result.exit_code == 1
    assert result.stdout == (
        "1 session, 1 message, 0 tool calls, 1 event, 2 lines left out\n"
    )
    first, third = result.stderr.splitlines()
    assert first.startswith(f"{path}:1: messages[0]: role must be one of")
    assert third.startswith(f"{path}:3: not JSON")
    assert "\x1b" not in result.stderr
    assert listed(url) == ["good"]


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


def test_an_error_of_the_store_is_one_line(url: str) -> None:
    missing = runner.invoke(app, ["show", "no\x1b\nsuch", "--from", url])
    status = runner.invoke(app, ["sessions", "--from", url, "--status", "sleeping"])
    no_file = turnstore("sessions", "--from", "sqlite:///missing/store.db")
    no_database = turnstore("sessions", "--from", f"sqlite:///{SAMPLE}")

    assert missing.stderr == "turnstore: no session 'no\\x1b\\nsuch'\n"
    assert status.exit_code == no_file.returncode == no_database.returncode == 2
    for stderr in (status.stderr, no_file.stderr, no_database.stderr):
        assert stderr.startswith("turnstore: ")
        assert stderr.count("\n") == 1


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
        timeout=30,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)

    assert child.returncode == 0
    assert "importing" in shown and "\x1b" in shown
    assert child.stdout.startswith(b"3 sessions, 16 messages")


def test_sample_prints_a_file_that_can_be_imported(tmp_path: Path) -> None:
    printed = turnstore("sample", PYTHONIOENCODING="ascii")

    assert printed.returncode == 0
    assert printed.stdout.encode() == Path(SAMPLE).read_bytes()
    path = tmp_path / "sample.jsonl"
    path.write_text(printed.stdout, encoding="utf-8")
    again = runner.invoke(app, ["import", "chat", str(path), "--into", "sqlite://"])
    assert (again.exit_code, again.stdout[:10]) == (0, "3 sessions")


def test_sessions_is_a_table_without_colour(url: str) -> None:
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
    url: str,
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


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
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


def test_colours_on_a_terminal_come_from_the_program_alone(url: str) -> None:
    shown = turnstore("show", "sample-tests", "--from", url, FORCE_COLOR="1")

    assert "\x1b[1;36m3 assistant" in shown.stdout


def test_stats_counts_sessions_by_status(url: str) -> None:
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


def test_the_default_store_is_in_the_home_folder(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    nothing = turnstore("sessions", **home)
    assert (nothing.returncode, list(tmp_path.iterdir())) == (2, [])

    added = turnstore("import", "chat", SAMPLE, **home)
    assert (added.returncode, added.stderr) == (0, "")
    assert (tmp_path / ".turnstore" / "sessions.db").exists()
    assert len(ids(turnstore("sessions", "--json", **home).stdout)) == 3


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, run_python: RunPython
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


def test_importing_the_package_loads_no_command_line(run_python: RunPython) -> None:
    code = (
        "import sys, turnstore, turnstore.transfer; "
        "print([each for each in ('typer', 'click', 'rich') if each in sys.modules])"
    )
    result = run_python(code)

    assert result.stdout == "[]\n", result.stderr
