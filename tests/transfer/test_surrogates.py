"""Half of a character that was cut, and the role developer, on the way to other systems
and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.files import nocodo_files
from tests.support.transfer.round_trip import check_round_trip, connect, make
from turnstore import SessionStore
from turnstore.transfer import FORMATS, copy_store, export_file, import_file
from turnstore.transfer.files import cells

CUT = "cut \ud83d"
PAYLOAD: Any = {"\udfff": [CUT, "\ude00", "😀"]}


async def filled(store: SessionStore) -> None:
    await store.sessions.create(id="s", config={"mode": CUT})
    await store.messages.append("s", "developer", "be brief")
    await store.messages.append("s", "user", CUT)
    chat_call = {"id": "c", "type": "function"}
    chat_call["function"] = {"name": "ls", "arguments": PAYLOAD}  # type: ignore[assignment]
    asked = await store.messages.append("s", "assistant", tool_calls=[chat_call])
    call = await store.tool_calls.create(
        "s", "ls", PAYLOAD, call_id="c", message_id=asked.id
    )
    await store.tool_calls.update("s", call.id, status="completed", output=CUT)
    await store.messages.append("s", "tool", PAYLOAD, tool_call_id="c")
    await store.events.append("s", "e", PAYLOAD)
    await store.sessions.update("s", result=PAYLOAD)


async def test_a_copy_keeps_them(
    store: SessionStore, second_file: SessionStore
) -> None:
    await filled(store)

    report = await copy_store(store, second_file)

    assert report.problems == ()
    assert await second_file.sessions.load("s") == await store.sessions.load("s")
    assert await second_file.events.list("s") == await store.events.list("s")


@pytest.mark.parametrize("system", [each for each in FORMATS if each != "chat"])
async def test_other_systems_get_a_mark_in_their_place(
    store: SessionStore, second_file: SessionStore, tmp_path: Path, system: str
) -> None:
    await filled(store)
    path = tmp_path / "out"

    report = await export_file(store, path, system)

    assert "messages.role: developer written as system" in report.reasons or (
        system == "microagents"
    )
    connection = connect(path)
    texts = "\n".join(
        cell
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for row in connection.execute(f"SELECT * FROM {table}")
        for cell in row
        if isinstance(cell, str)
    )
    connection.close()
    assert "cut \ufffd" in texts or r"cut \ud83d" in texts
    assert "developer" not in texts
    again = await import_file(second_file, path)
    assert (again.sessions, again.problems) == (1, ())


async def test_json_with_escapes_of_them_comes_in_as_json(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    make(
        path,
        'UPDATE agent_tool_calls SET request = \'{"path": "cut \\ud83d"}\'',
        'UPDATE agent_sessions SET config = \'{"path": "/\\ud83d"}\'',
    )

    await check_round_trip(store, path, "nocodo")

    [*listed] = (await store.sessions.list()).items
    assert {each.project_root for each in listed} == {None}
    for session in listed:
        assert session.config == {"path": "/\ud83d"}
        for call in await store.tool_calls.list(session.id):
            assert call.arguments == {"path": CUT}


@pytest.mark.parametrize("cell", ["a\x00", "\ud83d", 5, None, b"a"])
def test_no_name(cell: Any) -> None:
    assert cells.name(cell) is None
