"""The command line: copying a whole store into another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner

from turnstore import SessionStore
from turnstore.cli import app


def test_the_command(tmp_path: Path) -> None:
    source, copied = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"

    async def make() -> None:
        async with SessionStore(source) as opened:
            await opened.sessions.create(id="s")
            await opened.messages.append("s", "user", "x")

    async def change() -> None:
        async with SessionStore(copied) as opened:
            await opened.messages.append("s", "user", "y")

    asyncio.run(make())
    runner = CliRunner()
    first = runner.invoke(app, ["copy", source, copied])
    text = "1 session, 1 message, 0 tool calls, 0 events\n"
    assert (first.exit_code, first.output) == (0, text)
    again = runner.invoke(app, ["copy", source, copied])
    text = "0 sessions, 0 messages, 0 tool calls, 0 events, 1 there already\n"
    assert (again.exit_code, again.output) == (0, text)
    asyncio.run(change())
    changed = runner.invoke(app, ["copy", source, copied])
    assert changed.exit_code == 1
    assert changed.stderr == "s: is there and differs\n"
    assert changed.stdout.endswith(", 1 problem\n")
    missing = runner.invoke(app, ["copy", f"sqlite:///{tmp_path}/no.db", copied])
    assert missing.exit_code == 2
