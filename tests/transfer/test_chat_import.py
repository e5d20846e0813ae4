"""What an import of the chat format keeps, on the bundled sample and on real
transcripts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.chat_files import SAMPLE, conversation, imported, write
from turnstore.records import SessionState, ToolCall
from turnstore.store import SessionStore
from turnstore.transfer import ImportReport, import_file
from turnstore.transfer.chat.formats import CHAT

TRANSCRIPTS = (
    Path(__file__).parents[3] / "shared" / "data" / "airline-transcripts.jsonl"
)
FIELDS = ("content", "tool_calls", "tool_call_id", "name", "model")


def calling(*ids: str, content: Any = None) -> dict[str, Any]:
    """An assistant's message; the arguments number the calls of the message."""
    calls = [
        {
            "id": each,
            "type": "function",
            "function": {"name": "look", "arguments": f'{{"n": {n}}}'},
        }
        for n, each in enumerate(ids)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answer(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


async def state_of(store: SessionStore, session_id: str) -> SessionState:
    state = await store.sessions.load(session_id)
    assert state is not None
    return state


async def restored(store: SessionStore, session_id: str) -> dict[str, Any]:
    """Put an imported object together again from what was stored."""
    state = await state_of(store, session_id)
    data = {
        event.data["message_id"]: event.data
        for event in await store.events.list(session_id)
        if event.type != "tool_call.started"
    }
    messages = []
    for message in state.messages:
        placed = {name: getattr(message, name) for name in FIELDS}
        given = {name: value for name, value in placed.items() if value is not None}
        extra = data[message.id].get("extra", {})
        messages.append({"role": str(message.role), **given, **extra})
    source = state.session.config["import"]
    rest = {
        key: json.loads(value) if key in source["json_keys"] else value
        for key, value in state.session.metadata.items()
    }
    own_id = {} if session_id.startswith("chat-") else {"id": session_id}
    return {**own_id, **rest, "messages": messages}


def source_calls(source: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Each call's provider id, name and arguments, in order."""
    return [
        (call["id"], call["function"]["name"], parsed(call["function"]["arguments"]))
        for message in source["messages"]
        for call in message.get("tool_calls") or []
    ]


def parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


async def check_equal_to_source(store: SessionStore, path: Path) -> None:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            source = json.loads(line)
            assert await restored(store, source["id"]) == source
            state = await state_of(store, source["id"])
            calls = [
                (each.call_id, each.name, each.arguments) for each in state.tool_calls
            ]
            assert calls == source_calls(source)


async def test_sample_comes_back_equal(store: SessionStore) -> None:
    report = await import_file(store, SAMPLE)

    assert report == ImportReport(
        sessions=3, messages=16, tool_calls=6, events=22, formats={CHAT: 3}
    )
    await check_equal_to_source(store, SAMPLE)


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the transcripts are not here")
async def test_real_transcripts_come_back_equal(store: SessionStore) -> None:
    report = await import_file(store, TRANSCRIPTS)

    assert report == ImportReport(
        sessions=100,
        messages=2658,
        tool_calls=572,
        events=3230,
        formats={CHAT: 100},
    )
    await check_equal_to_source(store, TRANSCRIPTS)
    answers = 0
    async for each in all_calls(store):
        assert each.status == "completed"
        answers += each.output is not None
    assert answers == 572


async def all_calls(store: SessionStore) -> AsyncIterator[ToolCall]:
    page = await store.sessions.list(limit=1_000)
    for session in page.items:
        for call in await store.tool_calls.list(session.id):
            yield call


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the transcripts are not here")
async def test_real_answers_belong_to_the_message_before(store: SessionStore) -> None:
    await import_file(store, TRANSCRIPTS)

    with TRANSCRIPTS.open(encoding="utf-8") as lines:
        for line in lines:
            source = json.loads(line)
            # In this file each call is followed at once by its answer.
            answers = [m["content"] for m in source["messages"] if m["role"] == "tool"]
            calls = await store.tool_calls.list(source["id"])
            assert [each.output for each in calls] == answers


async def test_repeated_ids_are_paired_by_position(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(
        store,
        tmp_path / "a.jsonl",
        conversation(
            calling("x", "y", "x"),
            answer("y", "first y"),
            answer("x", "first x"),
            answer("x", "second x"),
            calling("x"),
            calling("x"),
            answer("x", "of the latest"),
            answer("x", "late, of the one before"),
            answer("x", "of none"),
            answer("z", "of none"),
        ),
    )

    calls = (await state_of(store, "one")).tool_calls
    assert [(each.call_id, each.message_id, each.output) for each in calls] == [
        ("x", "m1", "first x"),
        ("y", "m1", "first y"),
        ("x", "m1", "second x"),
        ("x", "m5", "late, of the one before"),
        ("x", "m6", "of the latest"),
    ]
    answered = [
        (event.data["message_id"], event.data["tool_call_id"])
        for event in await store.events.list("one", types=["tool_call.completed"])
    ]
    assert answered == [
        ("m2", "t2"),
        ("m3", "t1"),
        ("m4", "t3"),
        ("m7", "t5"),
        ("m8", "t4"),
        ("m9", None),
        ("m10", None),
    ]


async def test_an_unanswered_call_waits_for_nobody(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(
        store,
        tmp_path / "a.jsonl",
        conversation(calling("a", "b"), answer("b", [{"type": "text", "text": "hi"}])),
    )

    first, second = (await state_of(store, "one")).tool_calls
    assert (first.status, first.error, first.output) == ("failed", "unanswered", None)
    assert (second.status, second.error) == ("completed", None)
    assert (second.output, second.result) == (None, [{"type": "text", "text": "hi"}])
    assert first.completed_at is not None and second.completed_at is not None
    assert not await store.tool_calls.has_pending("one")


async def test_events_follow_the_messages(store: SessionStore, tmp_path: Path) -> None:
    own_model = {"role": "assistant", "content": "done", "model": "large"}
    source = conversation(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "go"},
        calling("a", "b"),
        answer("a", "1"),
        own_model,
        model="small",
    )
    await imported(store, tmp_path / "a.jsonl", source)

    events = await store.events.list("one")
    assert [(event.type, event.model) for event in events] == [
        ("message.complete", None),
        ("message.complete", None),
        ("message.complete", "small"),
        ("tool_call.started", "small"),
        ("tool_call.started", "small"),
        ("tool_call.completed", None),
        ("message.complete", "large"),
    ]
    session = (await state_of(store, "one")).session
    assert (session.model, session.last_model) == ("small", "large")
    assert await restored(store, "one") == source


async def test_what_has_no_place_is_kept(store: SessionStore, tmp_path: Path) -> None:
    source = conversation(
        {"role": "system", "content": None, "name": None, "": 0},
        {"role": "user", "content": [], "name": "Ada", "weight": 0.5},
        {**calling("a"), "refusal": None, "audio": {"id": "x"}, "function_call": {}},
        {**answer("a", {"n": 10**30}), "tool_calls": None, "message_id": "own"},
        {"role": "assistant"},
        {"role": "assistant", "content": "", "tool_calls": []},
        text="0",
        number=0,
        float=0.0,
        nothing=None,
        true=True,
        list=[1, "2"],
        model=["not", "text"],
        json_text='{"a": 1}',
        title="NUL \x00 and \x1b[31m red \u202e",
    )

    report = await imported(store, tmp_path / "a.jsonl", source)

    assert report.problems == ()
    back = await restored(store, "one")
    assert back == source
    assert [type(back[key]) for key in ("text", "number", "float", "true")] == [
        str,
        int,
        float,
        bool,
    ]
    assert "content" not in back["messages"][4]
    assert (await state_of(store, "one")).session.metadata["number"] == "0"


@pytest.mark.parametrize("own_id", [None, 5, "", "x" * 256, "a\x00b", ["x"]])
async def test_an_object_without_a_valid_id_gets_a_stable_one(
    store: SessionStore, tmp_path: Path, own_id: Any
) -> None:
    source = {"id": own_id, "messages": [{"role": "user", "content": "hello"}]}
    path = write(tmp_path / "a.jsonl", source)

    assert (await import_file(store, path)).sessions == 1
    assert (await import_file(store, path)).sessions_skipped == 1

    [session] = (await store.sessions.list()).items
    assert session.id.startswith("chat-")
    assert await restored(store, session.id) == source


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        ('{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("12345678901234567890123", 12345678901234567890123),
        ("null", None),
        ("", ""),
        ("9 o'clock", "9 o'clock"),
        ('{"a": NaN}', '{"a": NaN}'),
        ("1e999", "1e999"),
        ("[" * 201 + "]" * 201, "[" * 201 + "]" * 201),
        ("[" * 100_000, "[" * 100_000),
        ({"a": 1}, {"a": 1}),
    ],
)
async def test_arguments_are_json_where_the_text_is(
    store: SessionStore, tmp_path: Path, arguments: Any, stored: Any
) -> None:
    message = calling("a")
    message["tool_calls"][0]["function"]["arguments"] = arguments

    report = await imported(store, tmp_path / "a.jsonl", conversation(message))

    assert report.problems == ()
    state = await state_of(store, "one")
    assert state.tool_calls[0].arguments == stored
    assert state.messages[0].tool_calls == message["tool_calls"]


async def test_a_custom_tool_call_is_one_too(
    store: SessionStore, tmp_path: Path
) -> None:
    call = {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    message = {"role": "assistant", "tool_calls": [call]}

    await imported(store, tmp_path / "a.jsonl", conversation(message))

    [stored] = (await state_of(store, "one")).tool_calls
    assert (stored.name, stored.arguments) == ("sql", "SELECT 1")
