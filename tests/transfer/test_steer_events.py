"""How sessions of the event store of steer read here, and how they go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.files import steer_files
from tests.support.files.steer_tables import (
    DOMAIN,
    MODEL_ID,
    NEW,
    ONE,
    SteerFile,
    domain_session,
    message_of,
    text,
    tool_call,
)
from tests.support.transfer.importing_steer import CLAUDE, SOURCE, imported, rows_of
from turnstore import SessionStore, ToolCallStatus, Usage
from turnstore.transfer import export_file, import_file

pytestmark = pytest.mark.anyio


async def test_events_tell_a_session_of_the_event_store(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.domain(tmp_path / SOURCE))

    session = await store.sessions.get(NEW)
    listed = await store.messages.list(NEW)

    assert session is not None
    assert (session.title, session.agent_name) == ("First", "normal")
    assert (session.project_root, session.model) == ("/repo", CLAUDE)
    assert (session.system_prompt, session.metadata) == ("Be short.", {"k": "v"})
    assert (session.parent_session_id, session.last_model) == ("parent", CLAUDE)
    assert [(each.id, each.role, each.content) for each in listed] == [
        ("m0", "user", "List"),
        ("m1", "assistant", "I look."),
        ("m2", "tool", "a b"),
        (
            "m3",
            "tool",
            {"Error": {"Execution": {"tool_name": "bash", "message": "no"}}},
        ),
        ("m4", "assistant", "Summary"),
        ("m5", "user", "Go on, please"),
    ]
    assert listed[1].usage == Usage(prompt_tokens=120, completion_tokens=9)
    assert session.usage.prompt_tokens == 120
    todo = await store.todos.get(NEW)
    assert json.loads(todo or "")[0]["content"] == "run"
    assert session.event_head == 23


async def test_events_tell_what_became_of_tool_calls(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.domain(tmp_path / SOURCE))

    done, failed = await store.tool_calls.list(NEW)

    assert (done.status, done.output) == (ToolCallStatus.COMPLETED, "a b")
    assert (done.arguments, done.message_id) == ({"command": "ls"}, "m1")
    assert (failed.status, failed.error) == (ToolCallStatus.FAILED, "denied")


@pytest.mark.parametrize(
    "decision, status",
    [("Approved", "approved"), ("Denied", "denied"), ("Later", "pending")],
)
async def test_a_request_is_open_until_it_is_decided(
    store: SessionStore, tmp_path: Path, decision: str, status: str
) -> None:
    file = SteerFile(tmp_path / SOURCE, DOMAIN)
    domain_session(file, NEW)
    request = {"request_id": "r", "tool_call": tool_call("t1")}
    file.domain_event("approval_requested", {"ApprovalRequested": request})
    decided = {"request_id": "r", "decision": decision, "remember": None}
    file.domain_event("approval_decided", {"ApprovalDecided": decided})
    await imported(store, file.close())

    [call] = await store.tool_calls.list(NEW)

    assert call.status == status


async def test_a_call_id_given_again_is_another_call(
    store: SessionStore, tmp_path: Path
) -> None:
    file = SteerFile(tmp_path / SOURCE, DOMAIN)
    domain_session(file, NEW)
    for number in range(2):
        started = {"id": "t", "name": "bash", "parameters": {"n": number}, "model": "m"}
        file.domain_event("tool_call_started", {"ToolCallStarted": started})
        failed = {"id": "t", "name": "bash", "error": f"e{number}", "model": "m"}
        file.domain_event("tool_call_failed", {"ToolCallFailed": failed})
    await imported(store, file.close())

    found = await store.tool_calls.find(NEW, "t")

    assert [(each.arguments, each.error) for each in found] == [
        ({"n": 0}, "e0"),
        ({"n": 1}, "e1"),
    ]


async def test_a_compaction_there_is_one_here(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.domain(tmp_path / SOURCE))

    context = await store.messages.context(NEW)

    assert [each.id for each in context] == ["m4", "m5"]
    archived = [each.id for each in await store.messages.list(NEW) if each.compacted_at]
    assert archived == ["m0", "m1", "m2", "m3"]


async def test_a_session_in_old_tables_and_new_ones_is_the_older_one(
    store: SessionStore, tmp_path: Path
) -> None:
    path = steer_files.both(tmp_path / SOURCE)

    report = await import_file(store, path)

    assert report.reasons["domain_events: its session is in other tables"] == 1
    assert (await store.messages.list(ONE))[0].content == "List"
    assert len(await store.messages.list(NEW)) == 6


async def test_what_was_added_to_a_session_of_events_is_an_event(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.domain(tmp_path / SOURCE))
    await store.messages.append(NEW, "assistant", "Mine", id="mine", model=CLAUDE)
    exported = tmp_path / "exported"

    await export_file(store, exported, "steer")

    added = "SELECT sequence_num, event_type, event_data FROM domain_events "
    [(number, kind, data)] = rows_of(exported, f"{added} ORDER BY id DESC LIMIT 1")
    assert (number, kind) == (23, "assistant_message_added")
    inside = json.loads(data)["AssistantMessageAdded"]
    assert inside["model"] == MODEL_ID
    expected = message_of("mine", "m5", role="assistant", content=[text("Mine")])
    assert inside["message"] | {"timestamp": 1753351200} == expected
    await imported(second_file, exported)
    last = (await second_file.messages.list(NEW))[-1]
    assert (last.id, last.content, last.model) == ("mine", "Mine", CLAUDE)


async def test_a_fork_of_a_session_of_events_is_one(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    await imported(store, steer_files.domain(tmp_path / SOURCE))
    await store.sessions.fork(NEW, new_id="forked")
    await store.messages.append("forked", "user", "Mine", id="mine")
    exported = tmp_path / "exported"

    await export_file(store, exported, "steer", ["forked"])
    await imported(second_file, exported)

    there = [each.id for each in await second_file.messages.list("forked")]
    assert there == ["m0", "m1", "m2", "m3", "m4", "m5", "mine"]
