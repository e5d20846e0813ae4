"""How sessions of the store of steer read here."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.files import steer_files
from tests.support.files.steer_tables import (
    EARLY,
    MODEL,
    ONE,
    REST,
    TOOL_CONFIG,
    TRIGGER,
    TWO,
    SteerFile,
    calls,
    text,
    tool_call,
)
from tests.support.transfer.importing_steer import SOURCE, imported
from tests.support.transfer.round_trip import check_round_trip
from turnstore import Role, SessionStatus, SessionStore, ToolCallStatus, ToolPolicy

pytestmark = pytest.mark.anyio


async def test_a_session_s_own_fields(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    session = await store.sessions.get(ONE)

    assert session is not None
    assert session.status is SessionStatus.IDLE
    assert (session.project_root, session.system_prompt) == ("/repo", "Be short.")
    assert session.metadata == {"project": "x", "b": "", "a": "é"}
    assert session.tool_policy == ToolPolicy(
        mode="mixed", tools=frozenset({"bash"}), ask_for_others=False
    )
    assert session.config["tool_config"] == TOOL_CONFIG
    assert session.created_at == datetime(2025, 7, 24, 10, 0, 1, 123456, UTC)
    assert session.updated_at == datetime(2025, 7, 24, 10, 0, 2, tzinfo=UTC)
    assert session.last_model == "Gpt"
    other = await store.sessions.get(TWO)
    assert other is not None and other.status is SessionStatus.RUNNING


async def test_branches_are_branches(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    active = await store.messages.branch(ONE)
    other = await store.messages.branch(ONE, "m3")

    shared = ["m0", "m1", "tool_result_t1"]
    assert [each.id for each in active] == [*shared, "m4", "m5"]
    assert [each.id for each in other] == [*shared, "m3"]
    [root] = await store.messages.branch(ONE, "m6")
    assert root.parent_id is None


async def test_without_parents_each_message_follows_the_one_before(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    assert [each.id for each in await store.messages.branch(TWO)] == [
        "old0",
        "old1",
        "old2",
    ]


async def test_an_active_message_that_is_nowhere_reads_as_the_last(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.visibilities(tmp_path / SOURCE))

    session = await store.sessions.get("remote")

    assert session is not None and session.active_message_id == "ran"


async def test_blocks_become_content_and_calls(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    found = {each.id: each for each in await store.messages.list(ONE)}

    assert found["m0"].content == "List"
    assert found["m1"].content == "I look."
    function = {"name": "bash", "arguments": '{"command":"ls"}'}
    assert found["m1"].tool_calls == [
        {"id": "t1", "type": "function", "function": function}
    ]
    answer = found["tool_result_t1"]
    assert (answer.role, answer.content) == (Role.TOOL, "a b")
    assert (answer.tool_call_id, answer.name) == ("t1", "bash")
    thought, said = found["m5"].content
    assert (thought["type"], said) == ("thought", text("Done."))
    assert found["m5"].model == MODEL
    assert "Yes" in await store.messages.recent_user(10)


async def test_blocks_in_any_other_order_stay_as_they_are(
    store: SessionStore, tmp_path: Path
) -> None:
    file = SteerFile(tmp_path / SOURCE, EARLY, TRIGGER, REST)
    file.session()
    blocks = [*calls(tool_call("t1", a=1)), text("after")]
    file.message("m0", "assistant", blocks)
    file.message("m1", "assistant", calls(tool_call("t2")))
    await imported(store, file.close())

    mixed, only = await store.messages.list(ONE)

    assert mixed.content == blocks
    assert [each["id"] for each in mixed.tool_calls] == ["t1"]
    assert (only.content, only.tool_calls[0]["id"]) == (None, "t2")


async def test_tool_calls_keep_their_status(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    found = {each.id: each for each in await store.tool_calls.list(ONE)}

    done = found["t1"]
    assert (done.status, done.output, done.kind) == ("completed", "a b", "External")
    assert (done.message_id, done.arguments) == ("m1", {"command": "ls"})
    assert done.result == {"tool_name": "unknown", "payload": "a b"}
    failed = found["t_failed"]
    assert (failed.status, failed.error) == (ToolCallStatus.FAILED, "no")
    assert failed.error_details == {"tool_name": "unknown", "message": "no"}
    assert found["t_lost"].kind == "external"
    assert [each.id for each in await store.tool_calls.pending(ONE)] == [
        "t_pending",
        "t_approved",
        "t_executing",
    ]


async def test_unknown_text_is_unknown_and_not_pending(
    store: SessionStore, tmp_path: Path
) -> None:
    file = SteerFile(tmp_path / SOURCE, EARLY, TRIGGER, REST)
    file.run("PRAGMA ignore_check_constraints = ON")
    file.session(status="paused")
    file.message("m0", "developer", [text("said")])
    file.call("c", "waiting")
    await imported(store, file.close())

    session = await store.sessions.get(ONE)
    [message] = await store.messages.list(ONE)
    [call] = await store.tool_calls.list(ONE)

    assert session is not None
    assert (session.status, session.status_raw) == (SessionStatus.UNKNOWN, "paused")
    assert (message.role, message.role_raw) == (Role.UNKNOWN, "developer")
    assert (call.status, call.status_raw) == (ToolCallStatus.UNKNOWN, "waiting")
    assert session.pending_tool_calls == 0


async def test_the_first_event_can_be_read(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, steer_files.store_file(tmp_path / SOURCE))

    events = await store.events.list(ONE)

    assert [each.seq for each in events] == [1, 2, 3, 4, 5, 6]
    assert events[0].type == "session_created"
    assert events[1].data == {
        "type": "message_part",
        "content": "Do",
        "message_id": "m5",
    }
    assert [each.model for each in events[3:5]] == [MODEL, "Gpt"]


async def test_what_is_only_in_the_log_is_read_and_comes_back(
    store: SessionStore, tmp_path: Path
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "copied").mkdir()
    file = SteerFile(tmp_path / "live" / SOURCE, EARLY, TRIGGER, REST)
    file.session()
    file.run("PRAGMA wal_checkpoint(TRUNCATE)")
    steer_files.conversation(file)
    path = tmp_path / "copied" / SOURCE
    for ending in ("", "-wal"):
        shutil.copy(f"{file.path}{ending}", f"{path}{ending}")
    file.close()

    await check_round_trip(store, path, "steer")

    assert len(await store.messages.list(ONE)) == 7
