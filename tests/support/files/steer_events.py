"""A session of the event store, told by events of each kind."""

from __future__ import annotations

from typing import Any

from tests.support.files.steer_tables import (
    MODEL_ID,
    NEW,
    SteerFile,
    calls,
    domain_session,
    dumps,
    message_of,
    text,
    tool_call,
)


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
