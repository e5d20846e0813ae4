"""What an import of the chat format promises, on the bundled sample and on real
transcripts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from turnstore import transfer
from turnstore.errors import InvalidArgument, ReadOnlyStore
from turnstore.options import StoreOptions
from turnstore.records import Event, SessionFilter, SessionState, ToolCall
from turnstore.store import SessionStore
from turnstore.transfer import ImportReport, import_file

pytestmark = pytest.mark.anyio

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))
TRANSCRIPTS = (
    Path(__file__).parents[3] / "shared" / "data" / "airline-transcripts.jsonl"
)
FIELDS = ("content", "tool_calls", "tool_call_id", "name", "model")


def conversation(*messages: Any, **rest: Any) -> dict[str, Any]:
    return {"id": "one", **rest, "messages": list(messages)}


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


def write(path: Path, *objects: Any) -> Path:
    """Write lines: text as it is, anything else as JSON."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in objects]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


async def imported(store: SessionStore, path: Path, *objects: Any) -> ImportReport:
    return await import_file(store, write(path, *objects), "chat")


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


def types(events: Iterable[Event]) -> list[str]:
    return [event.type for event in events]


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

    assert report == ImportReport(sessions=3, messages=16, tool_calls=6, events=22)
    await check_equal_to_source(store, Path(SAMPLE))


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the transcripts are not here")
async def test_real_transcripts_come_back_equal(store: SessionStore) -> None:
    report = await import_file(store, TRANSCRIPTS)

    assert report == ImportReport(
        sessions=100, messages=2658, tool_calls=572, events=3230
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


async def test_again_adds_nothing(store: SessionStore, tmp_path: Path) -> None:
    no_id = {"messages": [{"role": "user", "content": "hello"}]}
    path = write(tmp_path / "a.jsonl", conversation(calling("c")), no_id)
    first = await import_file(store, path)
    before = await store.sessions.list()
    # The same content, written with other white space.
    write(
        path,
        json.dumps(conversation(calling("c")), indent=None),
        json.dumps(no_id, separators=(",", ":")),
    )

    second = await import_file(store, path)

    assert (first.sessions, first.sessions_skipped) == (2, 0)
    assert second == ImportReport(sessions_skipped=2)
    assert await store.sessions.list() == before


async def test_a_stopped_import_is_completed(
    store: SessionStore, tmp_path: Path
) -> None:
    objects = [{**conversation(calling("c")), "id": f"s{n}"} for n in range(100)]
    await imported(store, tmp_path / "part.jsonl", *objects[:40])

    report = await imported(store, tmp_path / "all.jsonl", *objects)

    assert (report.sessions, report.sessions_skipped) == (60, 40)
    assert await store.sessions.count(SessionFilter()) == 100


async def test_two_imports_at_once_add_each_line_once(
    store: SessionStore, tmp_path: Path
) -> None:
    import anyio

    objects = [{**conversation(calling("c")), "id": f"s{n}"} for n in range(50)]
    path = write(tmp_path / "a.jsonl", *objects)
    reports: list[ImportReport] = []

    async def one() -> None:
        reports.append(await import_file(store, path))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)

    assert sum(each.sessions for each in reports) == 50
    assert sum(each.sessions_skipped for each in reports) == 50
    assert all(each.problems == () for each in reports)


async def test_a_line_twice_in_a_file_is_skipped(
    store: SessionStore, tmp_path: Path
) -> None:
    one = conversation({"role": "user", "content": "hello"})

    report = await imported(store, tmp_path / "a.jsonl", one, one)

    assert report == ImportReport(sessions=1, messages=1, events=1, sessions_skipped=1)


async def test_another_conversation_under_a_taken_id_is_reported(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="theirs")
    one = conversation({"role": "user", "content": "hello"})
    other = conversation({"role": "user", "content": "bye"})

    report = await imported(
        store, tmp_path / "a.jsonl", one, other, {**one, "id": "theirs"}
    )

    assert (report.sessions, report.sessions_skipped) == (1, 0)
    assert [each.line for each in report.problems] == [2, 3]
    assert "other content" in report.problems[0].reason
    assert (await state_of(store, "one")).messages[0].content == "hello"
    assert (await state_of(store, "theirs")).messages == []


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


def with_call(call: Any) -> dict[str, Any]:
    return conversation({"role": "assistant", "tool_calls": [call]})


BAD_LINES: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not JSON"),
    "not UTF-8 escapes": ('{"id":"one","messages":[],"a":"\\ud800"}', "not JSON"),
    "too deep": ("[" * 100_000, "not JSON"),
    "array": ("[]", "not a JSON object"),
    "no messages": ('{"id": "one"}', "no list of messages"),
    "messages no list": ('{"messages": {}}', "no list of messages"),
    "message no object": (conversation("hello"), "messages[0]: not an object"),
    "no role": (conversation({"content": "hello"}), "messages[0]: role must be"),
    "unknown role": (
        conversation(
            {"role": "user", "content": "fine"}, {"role": "judge", "content": "no"}
        ),
        "messages[1]: role must be one of system, user, assistant, tool: 'judge'",
    ),
    "role no text": (conversation({"role": ["user"]}), "role must be"),
    "name": (conversation({"role": "user", "name": 5}), "name must be text"),
    "NUL in a name": (conversation({"role": "user", "name": "a\x00"}), "NUL"),
    "calls no list": (
        conversation({"role": "assistant", "tool_calls": "x"}),
        "tool_calls must be a list",
    ),
    "calls of a user": (
        conversation({**calling("a"), "role": "user"}),
        "tool_calls in a message of role user",
    ),
    "calls of a tool": (
        conversation({**calling("a"), "role": "tool"}),
        "tool_calls in a message of role tool",
    ),
    "call no object": (with_call(5), "tool_calls[0] must be an object"),
    "call id": (with_call({"id": 5, "function": {"name": "f"}}), "id must be text"),
    "call without function": (with_call({"id": "a"}), "function must be an object"),
    "call without name": (
        with_call({"id": "a", "function": {}}),
        "function.name must be text",
    ),
    "metadata key": (conversation(**{"k" * 256: "x"}), "1 to 255 characters"),
    "deep content": (
        conversation({"role": "user", "content": json.loads("[" * 201 + "]" * 201)}),
        "200 levels",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
async def test_a_bad_line_is_reported_and_the_rest_goes_in(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    bad, reason = BAD_LINES[name]
    good = {**conversation(calling("c")), "id": "good"}
    path = tmp_path / "a.jsonl"

    report = await imported(store, path, "", bad, good)

    assert (report.sessions, report.messages, report.tool_calls) == (1, 1, 1)
    [problem] = report.problems
    assert (problem.file, problem.line) == (str(path), 2)
    assert reason in problem.reason
    assert "\n" not in str(problem)
    assert [each.id for each in (await store.sessions.list()).items] == ["good"]


async def test_a_payload_that_is_too_large_is_a_problem_of_its_line(
    tmp_path: Path,
) -> None:
    large = conversation({"role": "user", "content": "x" * 2_000})
    small = {**conversation({"role": "user", "content": "x"}), "id": "small"}
    options = StoreOptions(payload_bytes_max=1_000)

    async with SessionStore(tmp_path / "store.db", options) as store:
        report = await imported(store, tmp_path / "a.jsonl", large, small)

        assert (report.sessions, [each.line for each in report.problems]) == (1, [1])
        assert "2002 bytes" in report.problems[0].reason
        assert await store.sessions.get("one") is None


async def test_a_line_that_is_too_long_is_passed_over(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps(conversation({"role": "user", "content": "hello"}))
    monkeypatch.setattr(transfer, "LINE_BYTES_MAX", len(line))
    one_more = line.replace("hello", "hello!").replace("one", "two")
    longer = line.replace("hello", "hello!" * 1_000)

    report = await imported(store, tmp_path / "a.jsonl", one_more, longer, line)

    assert [each.line for each in report.problems] == [1, 2]
    assert report.problems[0].reason == f"more than {len(line)} bytes"
    assert (report.sessions, report.messages) == (1, 1)


async def test_the_last_line_needs_no_end_and_a_byte_order_mark_is_no_content(
    store: SessionStore, tmp_path: Path
) -> None:
    line = json.dumps(conversation({"role": "user", "content": "hello"}))
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n" + b'{"messages": []}'
    )

    report = await import_file(store, path)

    assert (report.sessions, report.problems) == (2, ())


async def test_progress_is_told_after_each_batch(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH_LINES", 2)
    objects = [{**conversation(calling("c")), "id": f"s{n}"} for n in range(5)]
    path = write(tmp_path / "a.jsonl", *objects)
    size_bytes = path.stat().st_size
    told: list[tuple[int, int]] = []

    report = await import_file(
        store, path, on_progress=lambda done, total: told.append((done, total))
    )

    assert report.sessions == 5
    assert [total for _, total in told] == [size_bytes] * 3
    done = [each for each, _ in told]
    assert done == sorted(set(done)) and done[-1] == size_bytes


async def test_what_is_no_known_format_is_refused(
    store: SessionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", '{"rows": []}', "text")

    with pytest.raises(InvalidArgument, match="known are chat"):
        await import_file(store, path)
    with pytest.raises(InvalidArgument, match="unknown format 'csv': known are chat"):
        await import_file(store, path, "csv")
    with pytest.raises(FileNotFoundError):
        await import_file(store, tmp_path / "missing.jsonl", "chat")
    assert await store.sessions.count(SessionFilter()) == 0


async def test_a_format_is_recognised_behind_bad_lines(
    store: SessionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", "", "{", {"messages": []})

    report = await import_file(store, path)

    assert (report.sessions, [each.line for each in report.problems]) == (1, [2])


async def test_an_error_of_the_store_ends_the_import(tmp_path: Path) -> None:
    async with SessionStore(tmp_path / "store.db"):
        pass
    options = StoreOptions(read_only=True)
    async with SessionStore(tmp_path / "store.db", options) as store:
        with pytest.raises(ReadOnlyStore):
            await import_file(store, SAMPLE)
