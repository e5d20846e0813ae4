"""Files as steer left them: of its store, of its event store, and of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.files.steer_events import domain_sessions
from tests.support.files.steer_odd_files import odd_events, odd_rows
from tests.support.files.steer_tables import (
    DOMAIN,
    EARLY,
    MIGRATIONS,
    MODEL,
    ONE,
    REBUILT,
    REST,
    TOOL_CONFIG,
    TRIGGER,
    TWO,
    SteerFile,
    answer,
    calls,
    domain_session,
    dumps,
    message_of,
    text,
    tool_call,
)


def conversation(file: SteerFile) -> None:
    """A call answered, then two branches of which the second is active."""
    file.message("m0", "user", [text("List")])
    file.message(
        "m1",
        "assistant",
        [text("I look."), *calls(tool_call("t1", command="ls"))],
        parent_message_id="m0",
    )
    file.message("tool_result_t1", "tool", answer("t1", "a b"), parent_message_id="m1")
    file.message("m3", "user", [text("No")], parent_message_id="tool_result_t1")
    file.message("m4", "user", [text("Yes")], parent_message_id="tool_result_t1")
    file.message(
        "m5",
        "assistant",
        [
            {
                "type": "thought",
                "thought": {"thought_type": "signed", "text": "hm", "signature": "s"},
            },
            text("Done."),
        ],
        parent_message_id="m4",
    )
    file.message("m6", "user", [text("A new root")], created_at=file.plain_time())


def store_file(path: Path) -> Path:
    """All eleven migrations, each table in use."""
    file = SteerFile(path, EARLY, TRIGGER, REST, MIGRATIONS)
    file.session(
        metadata=dumps({"project": "x", "b": "", "a": "é"}),
        tool_policy_type="mixed",
        pre_approved_tools='["bash"]',
        tool_config=dumps(TOOL_CONFIG),
        workspace_config='{"type":"local","path":"/repo"}',
        system_prompt="Be short.",
        active_message_id="m5",
    )
    conversation(file)
    file.call(
        "t1",
        "completed",
        result="a b",
        payload_json=dumps({"tool_name": "unknown", "payload": "a b"}),
        kind="External",
        started_at=file.time(".5"),
        completed_at=file.time(),
    )
    for status in ("pending", "approved", "denied", "executing"):
        file.call(f"t_{status}", status, kind="external")
    file.call(
        "t_failed",
        "failed",
        kind="error",
        error="no",
        error_json=dumps({"tool_name": "unknown", "message": "no"}),
        completed_at=file.plain_time(),
    )
    # The failure whose text was lost, and an error kept as success.
    file.call("t_lost", "failed", kind=None)
    file.call("t_error", "completed", kind="Error", result="no")
    for kind in ("search", "file_list", "todo_write", "fetch", "agent", "Bash"):
        file.call(f"t_{kind}", "completed", kind=kind, result="", payload_json="null")
    file.event(
        "session_created",
        session_id=ONE,
        metadata={"model": MODEL, "created_at": "2025-07-24T10:00:00Z", "metadata": {}},
    )
    for part in ("Do", "ne"):
        file.event("message_part", content=part, message_id="m5")
    file.event(
        "message_complete",
        message=message_of("m5", "m4", role="assistant", content=[text("Done.")]),
        usage=None,
        metadata={},
        model=MODEL,
    )
    file.event(
        "tool_call_failed", tool_call_id="t9", error="no", metadata={}, model="Gpt"
    )
    file.event("workspace_changed")
    file.insert(
        "session_snapshots",
        id="snapshot",
        session_id=ONE,
        event_sequence_num=5,
        snapshot_data='{"messages":[]}',
        created_at=file.plain_time(),
    )
    # No parents anywhere: written before there were branches.
    file.session(TWO, status="active", created_at=file.plain_time())
    for number in range(3):
        file.message(f"old{number}", "user", [text(f"old {number}")], TWO)
    return file.close()


def visibilities(path: Path) -> Path:
    """Both shapes of what is tagged inside, and a default that can't be decoded."""
    file = SteerFile(path, EARLY, TRIGGER, REST)
    for number, visibility in enumerate(
        (
            {"type": "all"},
            "all",
            {"type": "whitelist", "tools": ["a"]},
            {"whitelist": ["a"]},
        )
    ):
        file.session(f"v{number}", tool_config=dumps({"visibility": visibility}))
    file.session(
        "remote",
        workspace_config=dumps(
            {
                "type": "remote",
                "agent_address": "h:1",
                "auth": {"Bearer": {"token": "t"}},
            }
        ),
        tool_policy_type="pre_approved",
        pre_approved_tools='["a", "b"]',
        active_message_id="nowhere",
    )
    command = {"command_type": "compact"}
    for number, response in enumerate(
        (
            None,
            {"response_type": "text", "text": "x"},
            {"response_type": "compact", "result_type": "success", "success": "s"},
        )
    ):
        file.message(
            f"app{number}",
            "user",
            [{"type": "app_command", "command": command, "response": response}],
            "remote",
        )
    file.message(
        "ran",
        "user",
        [
            {
                "type": "command_execution",
                "command": "ls",
                "stdout": "a",
                "stderr": "",
                "exit_code": 0,
            },
            text("see"),
        ],
        "remote",
    )
    return file.close()


def early(path: Path) -> Path:
    """After five migrations, with the thread column that came and went."""
    file = SteerFile(path, EARLY, TRIGGER)
    file.run(
        "ALTER TABLE messages ADD COLUMN thread_id TEXT",
        "ALTER TABLE messages ADD COLUMN parent_message_id TEXT",
    )
    file.session()
    file.message("m0", "user", [text("a")], thread_id="t")
    file.message("m1", "assistant", [text("b")], thread_id="t", parent_message_id="m0")
    file.call("c", "pending")
    return file.close()


def rebuilt(path: Path) -> Path:
    file = SteerFile(path, EARLY, TRIGGER, REST)
    file.session(tool_config=dumps(TOOL_CONFIG), active_message_id="m4")
    conversation(file)
    file.run(*REBUILT)
    return file.close()


def deleted_events(path: Path) -> Path:
    """Gaps at the start and in the middle, and a log that began anew."""
    file = SteerFile(path, EARLY, TRIGGER, REST)
    for session in (ONE, TWO):
        file.session(session)
        for number in range(8):
            file.event("message_part", session, content=str(number), message_id="m")
    file.run(
        f"DELETE FROM events WHERE session_id = '{ONE}' AND sequence_num IN (0, 1, 4)",
        f"DELETE FROM events WHERE session_id = '{TWO}'",
    )
    file.heads.clear()
    file.event("session_saved", TWO, session_id=TWO)
    file.event("session_saved", TWO, session_id=TWO)
    return file.close()


def domain(path: Path) -> Path:
    """The event store alone."""
    file = SteerFile(path, DOMAIN)
    domain_sessions(file)
    return file.close()


def both(path: Path) -> Path:
    """Old tables and new ones, a session of which is in both."""
    file = SteerFile(path, EARLY, TRIGGER, REST, MIGRATIONS, DOMAIN)
    file.session(workspace_config='{"type":"local","path":"/repo"}')
    conversation(file)
    file.event("session_saved", session_id=ONE)
    domain_sessions(file)
    domain_session(file, ONE)
    file.domain_event(
        "user_message_added",
        {
            "UserMessageAdded": {
                "message": message_of("n0", None, role="user", content=[text("Newer")])
            }
        },
        ONE,
    )
    return file.close()


def large(path: Path, sessions: int = 20, rows: int = 120) -> Path:
    file = SteerFile(path, EARLY, TRIGGER, REST)
    file.run("BEGIN")
    for session in range(sessions):
        file.session(f"s{session:03}")
    for row in range(rows):
        for session in range(sessions):
            name = f"s{session:03}"
            file.message(f"{name} {row}", "user", [text("x" * 50)], name)
            file.event("message_part", name, content="x" * 50, message_id="m")
    file.run("COMMIT")
    return file.close()


def empty(path: Path) -> Path:
    return SteerFile(path, EARLY, TRIGGER, REST, MIGRATIONS).close()


BUILDERS: dict[str, Callable[[Path], Path]] = {
    each.__name__: each
    for each in (
        store_file,
        visibilities,
        early,
        rebuilt,
        deleted_events,
        domain,
        both,
        odd_rows,
        odd_events,
        large,
        empty,
    )
}
