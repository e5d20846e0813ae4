"""Files of nocodo and microagents with any cells that SQLite holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.support.files import microagents_files, nocodo_files
from tests.support.transfer.round_trip import make
from turnstore.transfer.microagents import METHODS as METHODS_KNOWN

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "",
        "null",
        "{}",
        "[1.0]",
        "user",
        "pending",
        "17",
        '"x"',
        "1e999",
        " {} ",
        r'"\ud83d"',
        r'{"path": "\ude00"}',
    ]
)
CELLS = (
    TEXTS
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 2_000_000_000)
    | st.floats(allow_nan=False)
    | st.binary(max_size=4)
)
MAYBE = st.none() | CELLS
KEYS = st.none() | st.integers(1, 5)


def rows(make_row: Any, **columns: st.SearchStrategy[Any]) -> Any:
    """Some rows of a table, in sessions 1 to 4 of which 4 is never there."""
    some = st.fixed_dictionaries({}, optional=columns)
    return st.lists(st.tuples(st.integers(1, 4), some), max_size=4).map(
        lambda each: [make_row(of, **given) for of, given in each]
    )


def sessions() -> Any:
    some = st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("agent_name", "provider", "model", "user_prompt"), CELLS),
            **dict.fromkeys(("status", "started_at"), CELLS),
            **dict.fromkeys(("system_prompt", "config", "ended_at"), MAYBE),
            **dict.fromkeys(("result", "error"), MAYBE),
        },
    )
    return st.lists(some, min_size=1, max_size=3).map(
        lambda each: [
            nocodo_files.session(number, **given)
            for number, given in enumerate(each, 1)
        ]
    )


NOCODO = st.fixed_dictionaries(
    {
        "agent_sessions": sessions(),
        "agent_messages": rows(
            lambda of, content="x", **given: nocodo_files.message(of, content, **given),
            **dict.fromkeys(("role", "content", "created_at"), CELLS),
        ),
        "agent_tool_calls": rows(
            nocodo_files.call,
            message_id=KEYS,
            **dict.fromkeys(("tool_call_id", "tool_name", "request", "status"), CELLS),
            **dict.fromkeys(("response", "completed_at", "error_details"), MAYBE),
        ),
        "project_requirements_qna": rows(
            nocodo_files.question,
            tool_call_id=KEYS,
            **dict.fromkeys(("question_id", "question", "response_type"), CELLS),
            **dict.fromkeys(("description", "answer", "answered_at"), MAYBE),
        ),
        "project_settings": rows(
            nocodo_files.setting,
            tool_call_id=KEYS,
            **dict.fromkeys(("setting_key", "setting_name", "setting_type"), CELLS),
            **dict.fromkeys(("description", "setting_value", "updated_at"), MAYBE),
        ),
    }
)


PARAM_NAMES = ["prompt", "content", "full_text", "tool_calls", "name", "input"]
PARAM_NAMES += ["result", "tool_call_id", "turn_id", "usage", "success", "error"]
PARAM_NAMES += ["model", "timestamp", "system"]
PARAMS = st.dictionaries(
    st.sampled_from(PARAM_NAMES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "{}", "c1"]),
        lambda inside: (
            st.lists(inside, max_size=2)
            | st.dictionaries(
                st.sampled_from(["text", "id", "name", "arguments", "Ok", "function"]),
                inside,
                max_size=3,
            )
        ),
        max_leaves=6,
    ),
)
METHODS = st.sampled_from([*sorted(METHODS_KNOWN), "else"])
MICROAGENTS = st.lists(
    st.tuples(
        TEXTS | st.just("one"),
        st.tuples(METHODS, PARAMS).map(
            lambda each: microagents_files.payload("s", *each)
        )
        | CELLS,
        CELLS,
    ),
    max_size=12,
)


def nocodo_file(folder: str, tables: dict[str, list[dict[str, Any]]]) -> Path:
    return make(
        Path(folder) / "nocodo.sqlite",
        "PRAGMA ignore_check_constraints = ON",
        *nocodo_files.SCHEMA,
        *(
            nocodo_files.insert(name, row)
            for name, found in tables.items()
            for row in found
        ),
    )


def microagents_file(folder: str, events: list[tuple[Any, Any, Any]]) -> Path:
    return make(
        Path(folder) / "micro.sqlite",
        *microagents_files.SCHEMA,
        microagents_files.insert([list(each) for each in events]),
    )
