"""Files as steer left them: of its store, of its event store, and of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from odd_values import ODD_IDS, ODD_TEXTS, ODD_TIMES, Sql, changed

from turnstore.backends._sqlite_library import library

EARLY = (
    (
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "status TEXT NOT NULL CHECK (status IN ('active', 'inactive')), "
        "metadata TEXT NOT NULL DEFAULT '{}', tool_policy_type TEXT NOT NULL "
        "CHECK (tool_policy_type IN ('always_ask', 'pre_approved', 'mixed')), "
        "pre_approved_tools TEXT NOT NULL DEFAULT '[]', "
        "tool_config TEXT NOT NULL DEFAULT '{}')"
    ),
    "CREATE INDEX idx_sessions_created_at ON sessions(created_at)",
    "CREATE INDEX idx_sessions_status ON sessions(status)",
    (
        "CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, "
        "sequence_num INTEGER NOT NULL, role TEXT NOT NULL "
        "CHECK (role IN ('user', 'assistant', 'system', 'tool')), "
        "content TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    "CREATE INDEX idx_messages_session_id ON messages(session_id, sequence_num)",
    (
        "CREATE TABLE tool_calls (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, "
        "message_id TEXT, tool_name TEXT NOT NULL, parameters TEXT NOT NULL, "
        "status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', "
        "'executing', 'completed', 'failed')), result TEXT, error TEXT, "
        "started_at TIMESTAMP, completed_at TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "FOREIGN KEY (message_id) REFERENCES messages(id) ON DELETE CASCADE)"
    ),
    "CREATE INDEX idx_tool_calls_session_id ON tool_calls(session_id)",
    "CREATE INDEX idx_tool_calls_status ON tool_calls(status)",
    (
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, sequence_num INTEGER NOT NULL, "
        "event_type TEXT NOT NULL, event_data TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    "CREATE INDEX idx_events_created_at ON events(session_id, created_at)",
    (
        "CREATE TABLE session_snapshots (id TEXT PRIMARY KEY, "
        "session_id TEXT NOT NULL, "
        "event_sequence_num INTEGER NOT NULL, snapshot_data TEXT NOT NULL, "
        "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE)"
    ),
)
"""The first five migrations."""

TRIGGER = (
    (
        "CREATE TRIGGER update_sessions_updated_at AFTER UPDATE ON sessions BEGIN "
        "UPDATE sessions SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id; END"
    ),
)
MIGRATIONS = (
    (
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, "
        "description TEXT NOT NULL, "
        "installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "success BOOLEAN NOT NULL, checksum BLOB NOT NULL, "
        "execution_time BIGINT NOT NULL)"
    ),
    (
        "INSERT INTO _sqlx_migrations VALUES (20240101000001, 'create sessions', "
        "'2025-07-24 09:00:00', 1, x'00ff10', 1250000)"
    ),
)
REST = (
    (
        "ALTER TABLE sessions ADD COLUMN workspace_config TEXT NOT NULL "
        """DEFAULT '{"type":"local"}'"""
    ),
    "ALTER TABLE sessions ADD COLUMN system_prompt TEXT",
    "ALTER TABLE messages ADD COLUMN parent_message_id TEXT",
    "CREATE INDEX idx_messages_parent_id ON messages(parent_message_id)",
    "ALTER TABLE tool_calls ADD COLUMN kind TEXT",
    "ALTER TABLE tool_calls ADD COLUMN payload_json TEXT",
    "ALTER TABLE tool_calls ADD COLUMN error_json TEXT",
    "CREATE INDEX idx_tool_calls_kind ON tool_calls(kind)",
    "ALTER TABLE sessions ADD COLUMN active_message_id TEXT",
)
"""What the other migrations of the store add."""

REBUILT = (
    "PRAGMA foreign_keys = OFF",
    "DROP INDEX idx_sessions_status",
    "DROP TRIGGER update_sessions_updated_at",
    "ALTER TABLE sessions DROP COLUMN pre_approved_tools",
    # The column with its CHECK can't be dropped alone.
    "CREATE TABLE sessions_new AS SELECT * FROM sessions",
    "ALTER TABLE sessions_new DROP COLUMN tool_policy_type",
    "DROP TABLE sessions",
    "ALTER TABLE sessions_new RENAME TO sessions",
)
"""As the later migration leaves it, without the policy's columns."""

DOMAIN = (
    (
        "CREATE TABLE domain_sessions (id TEXT PRIMARY KEY, "
        "created_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "updated_at TEXT NOT NULL DEFAULT (datetime('now')), config_json TEXT, "
        "message_count INTEGER NOT NULL DEFAULT 0, last_model TEXT)"
    ),
    (
        "CREATE TABLE domain_events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session_id TEXT NOT NULL, sequence_num INTEGER NOT NULL, "
        "event_type TEXT NOT NULL, event_data TEXT NOT NULL, "
        "created_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "FOREIGN KEY (session_id) REFERENCES domain_sessions(id) ON DELETE CASCADE, "
        "UNIQUE(session_id, sequence_num))"
    ),
    (
        "CREATE INDEX idx_domain_events_session_seq "
        "ON domain_events(session_id, sequence_num)"
    ),
    (
        "CREATE TABLE session_todos (session_id TEXT PRIMARY KEY, "
        "todos_json TEXT NOT NULL, updated_at TEXT NOT NULL DEFAULT (datetime('now')), "
        "FOREIGN KEY (session_id) REFERENCES domain_sessions(id) ON DELETE CASCADE)"
    ),
    "ALTER TABLE domain_sessions ADD COLUMN title TEXT",
)

ONE = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0001"
TWO = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0002"
NEW = "0b9d2f3e-6a7c-4d4e-8f50-1a2b3c4d0003"
MODEL = "Claude3_5Sonnet20241022"
MODEL_ID = {"provider": "anthropic", "id": "claude-sonnet-4-5"}

POLICY = {"type": "mixed", "pre_approved": ["bash"], "ask_for_others": False}
TOOL_CONFIG = {
    "backends": [{"type": "local", "tool_filter": "all"}],
    "visibility": {"type": "all"},
    "approval_policy": POLICY,
    "metadata": {},
    "tools": {"bash": {"approved_patterns": ["git *"]}},
}


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool_call(id: str, name: str = "bash", **parameters: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "parameters": parameters}


def calls(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "tool_call", "tool_call": each} for each in given]


def answer(id: str, payload: str = "ok") -> dict[str, Any]:
    result = {"External": {"tool_name": "bash", "payload": payload}}
    return {"tool_use_id": id, "result": result}


class SteerFile:
    """A file that is being written."""

    def __init__(self, path: Path, *schema: Sequence[str]) -> None:
        self.path = path
        self.connection = library().module.connect(str(path), isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        for statements in schema:
            self.run(*statements)
        self.seconds = 0
        self.heads: dict[tuple[str, Any], int] = {}

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement)

    def close(self) -> Path:
        self.connection.close()
        return self.path

    def time(self, fraction: str = ".123456789") -> str:
        """As bound by the store."""
        self.seconds += 1
        minutes, seconds = divmod(self.seconds, 60)
        return f"2025-07-24T10:{minutes:02}:{seconds:02}{fraction}+00:00"

    def plain_time(self) -> str:
        """As CURRENT_TIMESTAMP."""
        return self.time("")[:19].replace("T", " ")

    def insert(self, table: str, **values: Any) -> None:
        slots = [each if isinstance(each, Sql) else "?" for each in values.values()]
        given = [each for each in values.values() if not isinstance(each, Sql)]
        statement = (
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(slots)})"
        )
        self.connection.execute(statement, given)

    def next(self, table: str, session: Any) -> int:
        place = (table, repr(session))
        self.heads[place] = self.heads.get(place, -1) + 1
        return self.heads[place]

    def session(self, id: Any = ONE, **values: Any) -> None:
        values = {
            "created_at": self.time(),
            "updated_at": self.plain_time(),
            "status": "inactive",
            "metadata": "{}",
            "tool_policy_type": "always_ask",
            "pre_approved_tools": "[]",
            "tool_config": dumps({"approval_policy": {"type": "always_ask"}}),
            **values,
        }
        values = {name: each for name, each in values.items() if each is not ...}
        self.insert("sessions", id=id, **values)

    def message(
        self, id: Any, role: Any, content: Any, session: Any = ONE, **values: Any
    ) -> None:
        if isinstance(content, list | dict):
            content = dumps(content)
        values = {
            "sequence_num": self.next("messages", session),
            "created_at": self.time(),
            **values,
        }
        self.insert(
            "messages", id=id, session_id=session, role=role, content=content, **values
        )

    def call(self, id: Any, status: str, session: Any = ONE, **values: Any) -> None:
        values = {"tool_name": "bash", "parameters": '{"command":"ls"}', **values}
        self.insert("tool_calls", id=id, session_id=session, status=status, **values)

    def event(
        self,
        type: Any,
        session: Any = ONE,
        data: Any = None,
        sequence_num: Any = None,
        **rest: Any,
    ) -> None:
        if data is None:
            data = dumps({"type": type, **rest})
        if sequence_num is None:
            sequence_num = self.next("events", session)
        self.insert(
            "events",
            session_id=session,
            sequence_num=sequence_num,
            event_type=type,
            event_data=data,
            created_at=self.time(),
        )

    def domain_event(
        self, type: Any, variant: Any, session: Any = NEW, sequence_num: Any = None
    ) -> None:
        if sequence_num is None:
            sequence_num = self.next("domain_events", session)
        is_raw = isinstance(variant, str | bytes)
        self.insert(
            "domain_events",
            session_id=session,
            sequence_num=sequence_num,
            event_type=type,
            event_data=variant if is_raw else dumps(variant),
            created_at=self.plain_time(),
        )


def message_of(id: str, parent: str | None, **data: Any) -> dict[str, Any]:
    return {
        "timestamp": 1753351200,
        "id": id,
        "parent_message_id": parent,
        "data": data,
    }


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


def domain_sessions(file: SteerFile) -> None:
    config = {
        "workspace": {"type": "local", "path": "/repo"},
        "tool_config": {"visibility": "all"},
        "system_prompt": "Be short.",
        "primary_agent_id": "normal",
        "default_model": MODEL_ID,
        "title": "First",
        "metadata": {"k": "v"},
    }
    file.insert(
        "domain_sessions",
        id=NEW,
        created_at=file.plain_time(),
        updated_at=file.time(),
        config_json=dumps(config),
        message_count=5,
        last_model="anthropic/claude-sonnet-4-5",
        title="First",
    )
    for kind, variant in turn_events(config):
        file.domain_event(kind, variant)
    file.insert(
        "session_todos",
        session_id=NEW,
        todos_json='[{"id":"1","content":"run","status":"pending"}]',
        updated_at=file.plain_time(),
    )
    # Nothing but its row.
    domain_session(file, "bare")


def turn_events(config: Any) -> list[tuple[str, Any]]:
    """A turn with two calls, one of them failed; a compaction; what came after."""
    asking = [text("I look."), *calls(tool_call("t1", command="ls"), tool_call("t2"))]
    summary = message_of("m4", None, role="assistant", content=[text("Summary")])
    edited = message_of("m5", "m4", role="user", content=[text("Go on, please")])
    result = {"External": {"tool_name": "bash", "payload": "a b"}}
    usage = {"input_tokens": 120, "output_tokens": 9, "total_tokens": 129}
    return [
        (
            "session_created",
            {
                "SessionCreated": {
                    "config": config,
                    "metadata": {"k": "v"},
                    "parent_session_id": "parent",
                }
            },
        ),
        added("user", message_of("m0", None, role="user", content=[text("List")])),
        (
            "operation_started",
            {"OperationStarted": {"op_id": "o", "kind": "AgentLoop"}},
        ),
        added(
            "assistant",
            message_of("m1", "m0", role="assistant", content=asking),
            model=MODEL_ID,
        ),
        (
            "llm_usage_updated",
            {"LlmUsageUpdated": {"op_id": "o", "model": MODEL_ID, "usage": usage}},
        ),
        (
            "approval_requested",
            {"ApprovalRequested": {"request_id": "r", "tool_call": tool_call("t1")}},
        ),
        (
            "approval_decided",
            {
                "ApprovalDecided": {
                    "request_id": "r",
                    "decision": "Approved",
                    "remember": None,
                }
            },
        ),
        (
            "tool_call_started",
            {
                "ToolCallStarted": {
                    "id": "t1",
                    "name": "bash",
                    "parameters": {"command": "ls"},
                    "model": MODEL_ID,
                }
            },
        ),
        (
            "tool_call_completed",
            {
                "ToolCallCompleted": {
                    "id": "t1",
                    "name": "bash",
                    "result": result,
                    "model": MODEL_ID,
                }
            },
        ),
        added(
            "tool",
            message_of("m2", "m1", role="tool", tool_use_id="t1", result=result),
        ),
        (
            "tool_call_started",
            {
                "ToolCallStarted": {
                    "id": "t2",
                    "name": "bash",
                    "parameters": {},
                    "model": MODEL_ID,
                }
            },
        ),
        (
            "tool_call_failed",
            {
                "ToolCallFailed": {
                    "id": "t2",
                    "name": "bash",
                    "error": "denied",
                    "model": MODEL_ID,
                }
            },
        ),
        added(
            "tool",
            message_of(
                "m3",
                "m2",
                role="tool",
                tool_use_id="t2",
                result={"Error": {"Execution": {"tool_name": "bash", "message": "no"}}},
            ),
        ),
        ("operation_completed", {"OperationCompleted": {"op_id": "o"}}),
        added("assistant", summary, model=MODEL_ID),
        (
            "compact_result",
            {
                "CompactResult": {
                    "result": {"result_type": "success", "summary": "Summary"},
                    "trigger": "Auto",
                }
            },
        ),
        (
            "conversation_compacted",
            {
                "ConversationCompacted": {
                    "record": {
                        "id": "k",
                        "summary_message_id": "m4",
                        "compacted_head_message_id": "m3",
                        "previous_active_message_id": "m3",
                        "model": "claude-sonnet-4-5",
                        "created_at": 1753351300,
                    }
                }
            },
        ),
        added("user", message_of("m5", "m4", role="user", content=[text("Go on")])),
        ("message_updated", {"MessageUpdated": {"message": edited}}),
        ("workspace_changed", '"WorkspaceChanged"'),
        ("error", {"Error": {"message": "no"}}),
        ("of_a_later_release", {"OfALaterRelease": [1, 2.50, {"a": None}]}),
        ("error", "not JSON"),
    ]


def added(role: str, message: dict[str, Any], **rest: Any) -> tuple[str, Any]:
    name = f"{role.title()}MessageAdded"
    return f"{role}_message_added", {name: {"message": message, **rest}}


ODD_JSON: tuple[Any, ...] = (
    "",
    "null",
    "{}",
    "[]",
    "5",
    '"text"',
    "not JSON",
    '[ {"type": "text", "text": "spaced"} ]',
    '[{"text":"turned","type":"text"}]',
    '[{"type":"text","text":"twice","text":"over"}]',
    '[{"type":"text","text":"more","cache":true}]',
    '[{"type":"text","text":5}]',
    '[{"type":"text","text":"\\ud800"}]',
    '[{"type":"text","text":"\\u0041\\u0000"}]',
    '[{"type":"tool_call","tool_call":{"id":"x","name":"n","parameters":{"n":1.0e2}}}]',
    '[{"type":"tool_call","tool_call":{"id":"x","name":"n","parameters":[]}},{"type":"text","text":"after"}]',
    '[{"type":"tool_call","tool_call":5},{"type":"tool_call"}]',
    '{"tool_use_id":"x","result":{"External":{"payload":123456789012345678901}}}',
    '{"result":{},"tool_use_id":"x"}',
    '{"tool_use_id":5,"result":null}',
    '{"type":"message_complete","model":{"provider":"p","id":"m"}}',
    '{"type":"message_complete","model":"bad\\u0000model"}',
    '{"type":"a","type":"b"}',
    b"[]",
    Sql("CAST(x'5bff5d' AS TEXT)"),
    Sql("1.5"),
)


def odd_rows(path: Path) -> Path:
    """Every value that a column of the store can hold and should not."""
    file = SteerFile(path, EARLY, TRIGGER, REST)
    file.run("PRAGMA foreign_keys = OFF", "PRAGMA ignore_check_constraints = ON")
    file.session()
    for number, given in enumerate(ODD_IDS):
        file.session(given)
        of = "" if given is None else given
        file.message(f"of {number}", "user", [text("of it")], of)
        file.message(given, "user", [text("odd id")])
        file.call(given, "completed", message_id=given)
        file.event("session_saved", of)
        file.session(f"parent {number}", active_message_id=given)
        file.message(f"child {number}", "user", [text("of")], parent_message_id=given)
    for number, value in enumerate(ODD_JSON):
        for role in ("user", "assistant", "tool"):
            file.message(f"{role} {number}", role, value)
        file.event("message_complete", data=value)
        file.call(
            f"json {number}",
            "completed",
            parameters=value,
            payload_json=value,
            error_json=value,
        )
        file.session(
            f"json {number}",
            metadata=value,
            tool_config=value,
            workspace_config=value,
            pre_approved_tools=value,
        )
    for number, value in enumerate(ODD_TEXTS):
        given = "" if value is None else value
        file.session(f"text {number}", status=given, system_prompt=value)
        file.session(f"policy {number}", tool_policy_type=given)
        file.message(f"role {number}", given, [text("said")])
        file.call(
            f"text {number}",
            given,
            tool_name=given,
            result=value,
            error=value,
            kind=value,
        )
        file.event(given, data="{}")
    for number, value in enumerate(ODD_TIMES):
        given = "" if value is None else value
        file.session(f"time {number}", created_at=given, updated_at=given)
        file.message(f"time {number}", "user", [text("t")], created_at=given)
        file.call(f"time {number}", "completed", started_at=value, completed_at=value)
    file.session(TWO)
    for at, number in enumerate(ODD_NUMBERS):
        file.message(f"n {at}", "user", [text("n")], TWO, sequence_num=number)
        file.event("error", TWO, sequence_num=number)
    file.call("of nobody", "pending", "gone")
    file.message("orphan", "user", [text("orphan")], "gone too")
    file.event("error", "gone as well")
    file.insert(
        "session_snapshots",
        id=None,
        session_id="gone",
        event_sequence_num=0,
        snapshot_data="x",
    )
    return file.close()


ODD_NUMBERS: tuple[Any, ...] = (5, 2, -1, 2**62, 1.5, "x")


def odd_events(path: Path) -> Path:
    """Events of every shape that their readers could take for a known one."""
    file = SteerFile(path, EARLY, TRIGGER, REST, DOMAIN)
    file.run("PRAGMA foreign_keys = OFF", "BEGIN")
    config = {"workspace": {"type": "local", "path": "/repo"}, "default_model": "m"}
    config |= {"primary_agent_id": "a", "metadata": {"k": "v"}, "system_prompt": "s"}
    events = turn_events(config)
    domain_session(file, NEW)
    for kind, variant in events:
        file.domain_event(kind, variant)
        for each in changed(variant):
            file.domain_event(kind, each)
    for number, each in enumerate(changed(config)):
        domain_session(file, f"config {number}", config_json=dumps(each))
        created = {"SessionCreated": {"config": each, "metadata": {}}}
        file.domain_event("session_created", created, f"config {number}")
    for number, given in enumerate(ODD_IDS):
        domain_session(file, given)
        file.domain_event(*events[1], "" if given is None else given)
        domain_session(file, f"odd id {number}")
        said = message_of("m", None, role="user", content=[text("of it")])
        if isinstance(given, str) and not isinstance(given, Sql):
            said = message_of(given, given, role="user", content=[text("of it")])
        file.domain_event(*added("user", said), f"odd id {number}")
    for number, value in enumerate(ODD_JSON):
        domain_session(file, f"json {number}", config_json=value)
        file.insert("session_todos", session_id=f"json {number}", todos_json=value)
        file.domain_event("error", value)
    for number, value in enumerate(ODD_TEXTS):
        domain_session(file, f"text {number}", title=value, last_model=value)
        file.domain_event("" if value is None else value, {})
    for number, value in enumerate(ODD_TIMES):
        given = "" if value is None else value
        domain_session(file, f"time {number}", created_at=given, updated_at=given)
    for number, count in enumerate((-1, 5, 2**62, 1.5, "x")):
        domain_session(file, f"count {number}", message_count=count)
    domain_session(file, TWO)
    for number in ODD_NUMBERS:
        file.domain_event("error", {"Error": {"message": "m"}}, TWO, number)
    file.domain_event(*events[1], "gone")
    file.insert("session_todos", session_id="gone too", todos_json="[]")
    file.session()
    message = message_of("m0", "m1", role="assistant", content=[text("x")])
    for number, content in enumerate(
        ([text("x"), *calls(tool_call("t", a=1))], answer("t"), [text("x")])
    ):
        for at, each in enumerate(changed(content)):
            for role in ("user", "assistant", "tool"):
                file.message(f"{role} {number} {at}", role, dumps(each))
    for each in changed(
        {"message": message, "usage": {"input_tokens": 1}, "model": MODEL_ID}
    ):
        file.event("message_complete", data=dumps(each))
    for number, each in enumerate(changed(TOOL_CONFIG)):
        file.session(f"tools {number}", tool_config=dumps(each))
    file.run("COMMIT")
    return file.close()


def domain_session(file: SteerFile, id: Any, **values: Any) -> None:
    now = file.plain_time()
    values = {"created_at": now, "updated_at": now, **values}
    file.insert("domain_sessions", id=id, **values)


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
