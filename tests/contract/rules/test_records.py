"""Records: immutable, by keyword, by value, and whole when they are read back."""

from __future__ import annotations

import operator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
import pytest

from turnstore import (
    CompactedStatistics,
    Compaction,
    Event,
    Message,
    NewEvent,
    NewMessage,
    Page,
    Question,
    RecoveryReport,
    Role,
    Session,
    SessionFilter,
    SessionState,
    SessionStatus,
    SessionStore,
    Setting,
    ToolCall,
    ToolCallStatus,
    ToolPolicy,
    Usage,
)

AT: Final = datetime(2024, 2, 29, 12, 30, 15, 123_456, tzinfo=UTC)
LATER: Final = datetime(2025, 1, 1, tzinfo=UTC)
JSON: Final = {"z": [1, 2.5, None, True], "a": {"": "é\x00"}}
USAGE: Final = Usage(
    prompt_tokens=1,
    completion_tokens=2,
    cache_read_tokens=3,
    cache_creation_tokens=4,
    thinking_tokens=5,
    api_calls=6,
)
POLICY: Final = ToolPolicy(
    mode="mixed", tools=frozenset({"ls", "cat"}), ask_for_others=False
)
SESSION: Final[dict[str, Any]] = {
    "user_id": "ada",
    "agent_name": "coder",
    "project_root": "/repo",
    "title": "A title",
    "provider": "openai",
    "model": "gpt-5.5",
    "system_prompt": "Be brief.",
    "user_prompt": "List the failing tests",
    "status": "running",
    "config": JSON,
    "tool_policy": POLICY,
    "metadata": {"team": "storage", "empty": ""},
    "parent_session_id": "another",
}
MESSAGE: Final[dict[str, Any]] = {
    "id": "m",
    "role": "tool",
    "content": JSON,
    "tool_calls": [{"id": "call_1", "function": JSON}],
    "tool_call_id": "call_0",
    "name": "ls",
    "usage": USAGE,
    "agent_name": "coder",
    "model": "gpt-5.5",
    "parent_id": "root",
    "created_at": AT,
}
TOOL_CALL: Final[dict[str, Any]] = {
    "id": "c",
    "call_id": "call_1",
    "message_id": "root",
    "name": "ls",
    "arguments": JSON,
    "kind": "builtin",
    "status": "executing",
    "created_at": AT,
}
OUTCOME: Final[dict[str, Any]] = {
    "status": "failed",
    "output": "two lines\n",
    "result": JSON,
    "error": "exit 1",
    "error_details": [JSON],
    "execution_time_ms": 1_234,
    "kind": "mcp",
}
EVENT: Final[dict[str, Any]] = {
    "type": "message.complete",
    "data": JSON,
    "model": "gpt-5.5",
    "turn_id": "turn-1",
    "created_at": AT,
}
QUESTION: Final[dict[str, Any]] = {
    "question_id": "q",
    "question": "Which\x00one? 😀",
    "description": "One of two",
    "response_type": "choice",
    "default": JSON,
    "options": ["a", JSON, 10**30],
}
SETTING: Final[dict[str, Any]] = {
    "setting_key": "k",
    "setting_name": "Key",
    "description": "A key",
    "setting_type": "password",
    "value": JSON,
    "secret": True,
}
A_SESSION: Final = Session(id="s", created_at=AT, updated_at=AT)
RECORDS: Final[list[Any]] = [
    A_SESSION,
    POLICY,
    Message(id="m", session_id="s", seq=1, role=Role.USER, created_at=AT),
    ToolCall(id="c", session_id="s", name="ls", created_at=AT),
    Event(session_id="s", seq=1, type="e", created_at=AT),
    NewEvent(**EVENT),
    NewMessage(**MESSAGE),
    USAGE,
    Page(items=[A_SESSION]),
    SessionState(session=A_SESSION, messages=[], tool_calls=[]),
    SessionFilter(agent_name="coder"),
    Question(**QUESTION),
    Setting(**SETTING),
    Compaction(archived=0, summary_message=None, boundary_seq=1, created_at=None),
    CompactedStatistics(message_count=0, session_count=0, size_bytes=0, oldest=None),
    RecoveryReport(sessions=[A_SESSION], tool_calls=[]),
]
every_record = pytest.mark.parametrize(
    "record", RECORDS, ids=lambda record: type(record).__name__
)
ENUMS: Final[dict[type[StrEnum], list[str]]] = {
    SessionStatus: [
        "idle",
        "running",
        "waiting_for_user_input",
        "completed",
        "failed",
        "interrupted",
    ],
    Role: ["system", "developer", "user", "assistant", "tool"],
    ToolCallStatus: [
        "pending",
        "approved",
        "denied",
        "executing",
        "completed",
        "failed",
    ],
}
every_enum = pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__struct_fields__}


@every_record
def test_a_record_does_not_change(record: Any) -> None:
    for name, value in fields(record).items():
        with pytest.raises(AttributeError):
            setattr(record, name, value)


@every_record
def test_a_record_is_slotted(record: Any) -> None:
    assert not hasattr(record, "__dict__")
    with pytest.raises(AttributeError):
        record.another = 1


@every_record
def test_a_record_is_made_by_keyword(record: Any) -> None:
    values = list(fields(record).values())
    with pytest.raises(TypeError):
        type(record)(*values)


@every_record
def test_a_record_is_compared_by_value(record: Any) -> None:
    again = type(record)(**fields(record))
    assert again == record and again is not record
    for name in fields(record):
        assert type(record)(**{**fields(record), name: object()}) != record


@every_enum
def test_an_enum_has_the_documented_texts(kind: type[StrEnum]) -> None:
    assert [str(each) for each in kind if each != "unknown"] == ENUMS[kind]


@every_enum
def test_a_member_equals_its_text(kind: type[StrEnum]) -> None:
    assert issubclass(kind, StrEnum)
    for text in ENUMS[kind]:
        assert kind(text) == text and isinstance(kind(text), str)


@every_enum
def test_unknown_text_is_no_member(kind: type[StrEnum]) -> None:
    texts: list[Any] = ["something else", "", 5, None, "Unknown"]
    for each in texts:
        with pytest.raises(ValueError, match=f"is not a valid {kind.__name__}"):
            kind(each)
    assert kind("unknown") is kind["UNKNOWN"]


@every_enum
def test_unknown_text_of_a_row_is_decoded_as_unknown(kind: type[StrEnum]) -> None:
    assert msgspec.json.decode('"something else"', type=kind) is kind["UNKNOWN"]


def test_usage_adds_field_by_field() -> None:
    total = USAGE + USAGE
    assert fields(total) == {name: 2 * n for name, n in fields(USAGE).items()}
    assert sum([USAGE, USAGE], Usage()) == total


def test_usage_adds_to_nothing_else() -> None:
    with pytest.raises(TypeError):
        operator.add(USAGE, 1)


def test_a_tool_policy_asks_always_unless_told() -> None:
    expected = ToolPolicy(mode="always_ask", tools=frozenset(), ask_for_others=True)
    assert ToolPolicy() == expected


async def test_every_field_of_a_session(store: SessionStore) -> None:
    made = await store.sessions.create(id="s", created_at=AT, **SESSION)
    ends: dict[str, Any] = {"result": JSON, "error": "exit 1", "ended_at": LATER}
    await store.messages.append("s", "user", id="m", usage=USAGE)
    await store.events.append("s", "e", model="newest")
    await store.tool_calls.create("s", "ls", {})
    await store.sessions.update("s", active_message_id="m", **ends)
    read = await store.sessions.get("s")
    assert read is not None and read.updated_at >= made.updated_at
    given = {**SESSION, **ends, "id": "s", "created_at": AT}
    kept: dict[str, Any] = {
        "active_message_id": "m",
        "message_count": 1,
        "message_head": 1,
        "event_head": 1,
        "tool_call_count": 1,
        "pending_tool_calls": 1,
        "last_model": "newest",
        "usage": USAGE,
        "status_raw": None,
    }
    left = {"updated_at": read.updated_at}
    assert fields(read) == {**given, **kept, **left}


async def test_every_field_of_a_session_by_update(
    store: SessionStore, session: Session
) -> None:
    made = await store.sessions.update("s", **SESSION)
    assert {name: getattr(made, name) for name in SESSION} == SESSION
    assert await store.sessions.get("s") == made
    assert (await store.sessions.list()).items == [made]


async def test_every_field_of_a_message(store: SessionStore, session: Session) -> None:
    await store.messages.append("s", "user", id="root")
    made = await store.messages.append("s", **MESSAGE)
    left = {"role_raw": None, "compacted_at": None, "is_summary": False}
    assert fields(made) == {**MESSAGE, **left, "session_id": "s", "seq": 2}
    assert (await store.messages.list("s"))[1] == made


async def test_every_field_of_a_new_message(
    store: SessionStore, session: Session
) -> None:
    assert MESSAGE.keys() == set(NewMessage.__struct_fields__)
    await store.messages.append("s", "user", id="root")
    [made] = await store.messages.append_many("s", [NewMessage(**MESSAGE)])
    assert {name: getattr(made, name) for name in MESSAGE} == MESSAGE
    assert (await store.messages.list("s"))[1] == made


async def test_every_field_of_a_tool_call(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", id="root")
    made = await store.tool_calls.create("s", **TOOL_CALL)
    assert {name: getattr(made, name) for name in TOOL_CALL} == TOOL_CALL
    ended = await store.tool_calls.update("s", "c", **OUTCOME)
    times = {name: getattr(ended, name) for name in ("started_at", "completed_at")}
    assert None not in times.values()
    given = {**TOOL_CALL, **OUTCOME, "session_id": "s", "status_raw": None}
    assert fields(ended) == {**given, **times}
    assert await store.tool_calls.get("s", "c") == ended
    assert await store.tool_calls.list("s") == [ended]


async def test_every_field_of_an_event(store: SessionStore, session: Session) -> None:
    await store.events.append("s", **EVENT)
    [read] = await store.events.list("s")
    assert fields(read) == {**EVENT, "session_id": "s", "seq": 1}


async def test_every_field_of_a_new_event(
    store: SessionStore, session: Session
) -> None:
    assert EVENT.keys() == set(NewEvent.__struct_fields__)
    await store.events.append_many("s", [NewEvent(**EVENT)])
    [read] = await store.events.list("s")
    assert {name: getattr(read, name) for name in EVENT} == EVENT


async def test_every_field_of_a_question(store: SessionStore, session: Session) -> None:
    call = await store.tool_calls.create("s", "ask", {})
    before = datetime.now(UTC) - timedelta(seconds=1)
    [made] = await store.questions.store("s", [Question(**QUESTION)], call.id)
    assert await store.questions.list("s") == [made]
    assert made.created_at is not None and made.created_at > before
    await store.questions.answer("s", {"q": JSON})
    [read] = await store.questions.list("s")
    times = {name: getattr(read, name) for name in ("created_at", "answered_at")}
    assert None not in times.values()
    kept = {"answer": JSON, "tool_call_id": call.id, **times}
    assert fields(read) == {**QUESTION, **kept}


async def test_every_field_of_a_setting(store: SessionStore, session: Session) -> None:
    call = await store.tool_calls.create("s", "ask", {})
    [read] = await store.settings.store("s", [Setting(**SETTING)], call.id)
    assert await store.settings.list("s") == [read]
    times = {name: getattr(read, name) for name in ("created_at", "answered_at")}
    assert times["created_at"] == times["answered_at"] is not None
    assert fields(read) == {**SETTING, "tool_call_id": call.id, **times}


@pytest.mark.parametrize("mode", ["always_ask", "pre_approved", "mixed"])
async def test_every_field_of_a_tool_policy(store: SessionStore, mode: Any) -> None:
    for ask in (True, False):
        policy = ToolPolicy(mode=mode, tools=POLICY.tools, ask_for_others=ask)
        made = await store.sessions.create(tool_policy=policy)
        read = await store.sessions.get(made.id)
        assert read is not None and read.tool_policy == policy


@pytest.mark.parametrize("name", Usage.__struct_fields__)
async def test_every_field_of_usage(
    store: SessionStore, session: Session, name: str
) -> None:
    given = Usage(**{"api_calls": 1, name: 10**12})
    await store.messages.append("s", "assistant", usage=given)
    [message] = await store.messages.list("s")
    assert message.usage == given
    assert await store.usage.session("s") == given
