"""Files of steer with every value that they can hold and should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.files.odd_values import ODD_IDS, ODD_TEXTS, ODD_TIMES, Sql, changed
from tests.support.files.steer_events import added, turn_events
from tests.support.files.steer_tables import (
    DOMAIN,
    EARLY,
    MODEL_ID,
    NEW,
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
