"""Files as microagents left them, of all four protocol versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.files.odd_values import compact
from tests.support.transfer.round_trip import make

SCHEMA = (
    "PRAGMA journal_mode = WAL",
    (
        "CREATE TABLE events (\n    id          INTEGER PRIMARY KEY AUTOINCREMENT,\n"
        "    session_id  TEXT    NOT NULL,\n    payload     TEXT    NOT NULL,\n"
        "    created_at  INTEGER NOT NULL\n)"
    ),
    "CREATE INDEX idx_events_session_id ON events(session_id)",
    "PRAGMA user_version = 1",
)
START_MS = 1_770_000_000_000
Event = tuple[str, dict[str, Any]]


def payload(session: str, method: str, params: dict[str, Any], at: int = 0) -> str:
    """A notification as serde writes it, at a second of the day."""
    stamp = f"2026-02-02T03:{at // 60:02}:{at % 60:02}.250Z"
    params = {"session_id": session, **params, "timestamp": stamp}
    envelope = {"jsonrpc": "2.0", "method": method, "params": params}
    return compact(envelope)


def log(session: str, *events: Event | str | bytes) -> list[list[Any]]:
    """Rows of a session: notifications, or payloads as they are."""
    return [
        [
            session,
            payload(session, *each, at=n) if isinstance(each, tuple) else each,
            START_MS + n * 1_500,
        ]
        for n, each in enumerate(events)
    ]


def insert(rows: list[list[Any]]) -> tuple[str, list[list[Any]]]:
    return "INSERT INTO events (session_id, payload, created_at) VALUES (?, ?, ?)", rows


def file(path: Path, *logs: list[list[Any]]) -> Path:
    """A file whose sessions wrote by turns."""
    longest = max(map(len, logs), default=0)
    rows = [each[n] for n in range(longest) for each in logs if n < len(each)]
    return make(path, *SCHEMA, insert(rows))


INIT: Event = (
    "session.init",
    {
        "model": "gpt-5.5",
        "provider": "openai",
        "system": "You help.",
        "init_type": "Start",
    },
)
ESTIMATED = {
    "latency": 812,
    "input_chars": 400,
    "estimated_input_tokens": 100,
    "output_chars": 80,
    "estimated_output_tokens": 20,
}
MEASURED = {
    "latency": 900,
    "input_tokens": 1200,
    "output_tokens": 34,
    "cache_write_tokens": 5,
    "cache_read_tokens": 600,
}


def turn(id: str, **params: Any) -> dict[str, Any]:
    return {"turn_id": id, **params}


PROTOCOL_1: tuple[Event, ...] = (
    INIT,
    ("user.prompt.submit", turn("t1", prompt="List the tests")),
    ("stream.delta", turn("t1", delta="I ", delta_type="Text")),
    ("tool.call", turn("t1", name="ls", input={"path": "."})),
    ("tool.result", turn("t1", result={"Ok": "a.py"}, tool_call_id="c1")),
    (
        "assistant.response",
        turn(
            "t1",
            full_text="One test.",
            tool_calls=[
                {
                    "id": "c2",
                    "call_type": "function",
                    "function": {"name": "cat", "arguments": '{"path": "a.py"}'},
                }
            ],
        ),
    ),
    ("tool.call", turn("t1", name="cat", input={"path": "a.py"})),
    ("tool.result", turn("t1", result={"Err": "no such file"}, tool_call_id="c2")),
    (
        "session.stop",
        {"success": True, "result": "One test.", "error": None, "usage": ESTIMATED},
    ),
)
PROTOCOL_2: tuple[Event, ...] = (
    INIT,
    ("user.prompt.submit", turn("t1", prompt="Go on")),
    ("skill.load", turn("t1", skill_name="testing")),
    ("assistant.task", turn("t1", task_name="run", task_status="InProgress")),
    ("assistant.response", turn("t1", full_text="Done.", tool_calls=None)),
    (
        "session.stop",
        {
            "success": False,
            "result": None,
            "error": "rate limit",
            "usage": ESTIMATED,
            "incomplete_tasks": ["run"],
        },
    ),
)
PROTOCOL_3: tuple[Event, ...] = (
    INIT,
    ("session.fork", {"parent_session_id": "first"}),
    ("user.prompt.submit", turn("t3", prompt="Think")),
    (
        "assistant.response",
        turn(
            "t3",
            content=[
                {"thinking": "Hm.", "signature": "s1"},
                {"text": "I look."},
                {"id": "c7", "name": "ls", "arguments": {"path": "/"}},
            ],
        ),
    ),
    ("tool.call", turn("t3", name="ls", input={"path": "/"})),
    ("tool.result", turn("t3", result={"Ok": "etc"}, tool_call_id="c7")),
    ("assistant.response", turn("t3", content=[{"text": "There is etc."}])),
    (
        "session.stop",
        {
            "success": True,
            "result": [{"text": "There is etc."}],
            "error": None,
            "usage": MEASURED,
            "incomplete_tasks": None,
        },
    ),
)
PROTOCOL_4: tuple[Event, ...] = (
    INIT,
    ("user.prompt.submit", turn("t4", prompt="Both")),
    ("tool.call", turn("t4", name="ls", input={}, tool_call_id="c1")),
    ("tool.any_call", turn("t4", name="ls", input={}, tool_call_id="c1")),
    ("tool.call", turn("t4", name="pwd", input={}, tool_call_id="c2")),
    ("tool.any_call", turn("t4", name="pwd", input={}, tool_call_id="c2")),
    ("tool.result", turn("t4", result={"Ok": "/home"}, tool_call_id="c2")),
    ("tool.result", turn("t4", result={"Ok": "a b"}, tool_call_id="c1")),
    ("tool.any_call", turn("t4", name="ls", input={}, tool_call_id="c1")),
    ("assistant.response", turn("t4", content=[{"text": "Both done."}])),
)


def all_protocols(path: Path) -> Path:
    """All four versions, one after the other in one session, and each in its own."""
    return file(
        path,
        log("all", *PROTOCOL_1, *PROTOCOL_2, *PROTOCOL_3, *PROTOCOL_4),
        log("first", *PROTOCOL_1),
        log("second", *PROTOCOL_2),
        log("third", *PROTOCOL_3),
        log("fourth", *PROTOCOL_4),
    )


def undecodable(path: Path) -> Path:
    """Payloads that are no notification, of no known method, or damaged."""
    return file(
        path,
        log(
            "odd",
            INIT,
            "",
            "null",
            "not json",
            '{"jsonrpc": "2.0"',
            '{"type":"user.prompt_submit","prompt":"of the successor"}',
            '{"jsonrpc":"2.0","method":"session.sleep","params":{}}',
            '{"jsonrpc":"2.0","method":"","params":{}}',
            '{"jsonrpc":"2.0","method":"tool.call","params":[1]}',
            '{"jsonrpc":"2.0","method":"tool.call","params":{"name":5,"input":null}}',
            '{"jsonrpc":"2.0","method":"tool.result","params":{"result":7}}',
            '{"jsonrpc":"2.0","method":"user.prompt.submit","params":{"prompt":[1]}}',
            '{"jsonrpc":"2.0","method":"assistant.response","params":{"content":[1,{}]}}',
            '{"jsonrpc":"2.0","method":"session.stop","params":{"usage":[]}}',
            '{"method": "user.prompt.submit",  "params": {}, "jsonrpc": "2.0"}',
            "[" * 1_000 + "]" * 1_000,
            b"\x00\x01",
            '{"jsonrpc":"2.0","method":"x","params":{"n":' + "9" * 5_000 + "}}",
        ),
        log("only damage", "{"),
    )


def odd_sessions(path: Path) -> Path:
    """Sessions without an init event, of one event, with ids that are no ids here."""
    prompt: Event = ("user.prompt.submit", turn("t", prompt="hello"))
    ids: list[Any] = ["", "../../etc", "a\x00b", "x" * 300, b"\xff", "17", "no init"]
    return make(
        path,
        *SCHEMA,
        insert([[each, payload("s", *prompt), START_MS] for each in ids]),
        insert([["times", payload("s", *prompt), at] for at in (-5, 2**60, "x", 1.5)]),
        insert([["again", payload("again", *prompt), START_MS]] * 3),
        "UPDATE events SET session_id = CAST(x'ff41' AS TEXT) WHERE session_id = '17'",
        "DELETE FROM events WHERE id = 3",
    )


def first_release(path: Path) -> Path:
    """Neither a write-ahead log nor a version."""
    return make(
        path, *SCHEMA[1:3], insert(log("one", *PROTOCOL_1[:3], *PROTOCOL_1[-1:]))
    )


def empty(path: Path) -> Path:
    return file(path)


BUILDERS = {
    each.__name__: each
    for each in (all_protocols, undecodable, odd_sessions, first_release, empty)
}
