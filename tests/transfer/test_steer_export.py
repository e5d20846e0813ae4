"""What of this store is written for steer, and what steer would read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.files import steer_files
from tests.support.files.steer_tables import (
    EARLY,
    ONE,
    REST,
    TRIGGER,
    SteerFile,
    dumps,
    text,
)
from tests.support.transfer.importing_steer import SOURCE, imported, rows_of
from turnstore import SessionStatus, SessionStore, ToolPolicy
from turnstore.transfer import export_file

pytestmark = pytest.mark.anyio


async def test_events_after_a_gap_follow_what_was_there(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.deleted_events(tmp_path / SOURCE))
    data = {"type": "session_saved", "session_id": ONE}
    assert await store.events.append(ONE, "session_saved", data) == 6
    exported = tmp_path / "exported"

    await export_file(store, exported, "steer")

    numbers = f"SELECT sequence_num FROM events WHERE session_id = '{ONE}' ORDER BY 1"
    assert rows_of(exported, numbers) == [(n,) for n in (2, 3, 5, 6, 7, 8)]


async def test_what_was_added_here_is_written_too(
    store: SessionStore, tmp_path: Path
) -> None:
    path = steer_files.store_file(tmp_path / SOURCE)
    await imported(store, path)
    await store.messages.append(ONE, "user", "More", id="mine")
    await store.tool_calls.create(
        ONE, "bash", {"command": "pwd"}, id="t_mine", message_id="mine"
    )
    await store.tool_calls.update(ONE, "t_pending", status="denied")
    await store.events.append(ONE, "of_mine", {"type": "of_mine"})
    await store.sessions.update(ONE, metadata={"z": "1", "a": "2"})
    exported = tmp_path / "exported"

    report = await export_file(store, exported, "steer")

    message = "SELECT sequence_num, content, parent_message_id FROM messages "
    assert rows_of(exported, f"{message} WHERE id = 'mine'") == [
        (7, dumps([text("More")]), "m5")
    ]
    found = "SELECT message_id, parameters, status FROM tool_calls WHERE id = '{}'"
    assert rows_of(exported, found.format("t_mine")) == [
        ("mine", '{"command":"pwd"}', "pending")
    ]
    assert rows_of(exported, found.format("t_pending"))[0][2] == "denied"
    assert report.reasons["events: of no type that steer knows"] == 1
    session = f"SELECT metadata, active_message_id FROM sessions WHERE id = '{ONE}'"
    assert rows_of(exported, session) == [('{"a":"2","z":"1"}', None)]


async def test_a_session_of_this_store_reads_the_same_after_steer(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    policy = ToolPolicy(mode="pre_approved", tools=frozenset({"b", "a"}))
    session = await store.sessions.create(
        id="mine",
        project_root="/repo",
        system_prompt="Be short.",
        status="running",
        tool_policy=policy,
        metadata={"k": "v"},
    )
    function = {"name": "Read", "arguments": '{"path":"a"}'}
    call = {"id": "c1", "type": "function", "function": function}
    await store.messages.append(session.id, "user", "Read a", id="u")
    await store.messages.append(session.id, "assistant", "So", tool_calls=[call])
    await store.messages.append(
        session.id, "tool", "text", tool_call_id="c1", name="Read"
    )
    await store.messages.append(session.id, "user", [text("a"), text("b")])
    await store.messages.append(session.id, "user", "No, b", parent_id="u")
    await store.tool_calls.create(session.id, "Read", {"path": "a"}, call_id="c1")
    data = {"type": "workspace_changed"}
    await store.events.append(session.id, "workspace_changed", data)
    exported = tmp_path / "exported"

    report = await export_file(store, exported, "steer")
    await imported(second_file, exported)

    assert (report.sessions, report.messages, report.events) == (1, 5, 1)
    again = await second_file.sessions.get("mine")
    assert again is not None
    assert (again.project_root, again.system_prompt) == ("/repo", "Be short.")
    assert (again.status, again.tool_policy) == (SessionStatus.RUNNING, policy)
    assert again.metadata == {"k": "v"}
    names = ("id", "role", "content", "tool_calls", "tool_call_id", "name", "parent_id")
    there = await second_file.messages.list("mine")
    for here, read in zip(await store.messages.list("mine"), there, strict=True):
        assert [getattr(here, name) for name in names] == [
            getattr(read, name) for name in names
        ]
    [called] = await second_file.tool_calls.list("mine")
    assert (called.name, called.arguments) == ("Read", {"path": "a"})
    [event] = await second_file.events.list("mine")
    assert (event.type, event.data) == ("workspace_changed", data)


async def test_ids_that_another_session_has_are_written_as_others(
    store: SessionStore, tmp_path: Path
) -> None:
    for session in ("a", "b"):
        await store.sessions.create(id=session)
        await store.messages.append(session, "user", "x", id="m")
        await store.messages.append(session, "user", "y", id="n")
        await store.tool_calls.create(session, "bash", {}, id="t", message_id="m")
    exported = tmp_path / "exported"

    await export_file(store, exported, "steer")

    assert rows_of(exported, "SELECT id, parent_message_id FROM messages") == [
        ("m", None),
        ("n", "m"),
        ("b/m", None),
        ("b/n", "b/m"),
    ]
    assert rows_of(exported, "SELECT id, message_id FROM tool_calls") == [
        ("t", "m"),
        ("b/t", "b/m"),
    ]


async def test_a_system_message_is_written_as_one_that_steer_can_read(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="mine")
    await store.messages.append("mine", "system", "Be short.")
    await store.messages.append("mine", "user", "Hello")
    await store.messages.compact("mine", "Summary", preserve=1)
    exported = tmp_path / "exported"

    report = await export_file(store, exported, "steer")

    roles = rows_of(exported, "SELECT role FROM messages ORDER BY sequence_num")
    assert roles == [("user",), ("user",), ("assistant",)]
    assert report.reasons["messages.role: system written as user"] == 1


async def test_two_files_go_into_one(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))
    file = SteerFile(tmp_path / "other.sqlite", EARLY, TRIGGER, REST)
    file.session("other", active_message_id="m1")
    file.message("m0", "user", [text("Hello")], "other")
    file.message("m1", "user", [text("You")], "other", parent_message_id="m0")
    file.message("m2", "user", [text("You")], "other", parent_message_id="m0")
    file.event("session_saved", "other", session_id="other")
    await imported(store, file.close())
    exported = tmp_path / "exported"

    await export_file(store, exported, "steer")
    await imported(second_file, exported)

    assert await second_file.messages.list(ONE) == await store.messages.list(ONE)
    branch = await second_file.messages.branch("other")
    assert [each.content for each in branch] == ["Hello", "You"]
