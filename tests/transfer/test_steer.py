"""How sessions from steer read here, and what becomes of them when they go on."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import steer_files
from round_trip import check_round_trip, connect
from steer_files import (
    DOMAIN,
    EARLY,
    NEW,
    ONE,
    REST,
    TRIGGER,
    TWO,
    SteerFile,
    calls,
    dumps,
    message_of,
    text,
    tool_call,
)

from turnstore import (
    Role,
    SessionStatus,
    SessionStore,
    ToolCallStatus,
    ToolPolicy,
    Usage,
)
from turnstore.transfer import export_file, import_file

pytestmark = pytest.mark.anyio

SOURCE = "steer.sqlite"
CLAUDE = "anthropic/claude-sonnet-4-5"


async def imported(store: SessionStore, path: Path) -> None:
    report = await import_file(store, path, "steer")
    assert report.problems == ()


def rows_of(path: Path, statement: str) -> list[Any]:
    connection = connect(path)
    found: list[Any] = connection.execute(statement).fetchall()
    connection.close()
    return found


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
    assert session.config["tool_config"] == steer_files.TOOL_CONFIG
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
    assert found["m5"].model == steer_files.MODEL
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
    assert [each.model for each in events[3:5]] == [steer_files.MODEL, "Gpt"]


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
    steer_files.domain_session(file, NEW)
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
    steer_files.domain_session(file, NEW)
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
    assert inside["model"] == steer_files.MODEL_ID
    expected = message_of("mine", "m5", role="assistant", content=[text("Mine")])
    assert inside["message"] | {"timestamp": 1753351200} == expected
    await imported(second_file, exported)
    last = (await second_file.messages.list(NEW))[-1]
    assert (last.id, last.content, last.model) == ("mine", "Mine", CLAUDE)


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
