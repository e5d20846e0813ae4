"""microagents' files: every event comes back, and tells of messages and calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import microagents_files
from tests.support.files.microagents_files import INIT, MEASURED, file, log, turn
from tests.support.transfer.round_trip import check_round_trip, connect
from turnstore.records import SessionState, ToolCallStatus, Usage
from turnstore.store import SessionStore
from turnstore.transfer import export_file, import_file

pytestmark = pytest.mark.anyio


async def load(store: SessionStore, session_id: str) -> SessionState:
    state = await store.sessions.load(session_id)
    assert state is not None
    return state


async def imported(store: SessionStore, path: Path, *events: Any) -> SessionState:
    await import_file(store, file(path, log("one", *events)))
    return await load(store, "one")


def told(state: SessionState) -> list[tuple[str, Any, list[str], str | None]]:
    """Each message's role, content, the ids of its calls and what it answers."""
    return [
        (
            str(each.role),
            each.content,
            [call["id"] for call in each.tool_calls or []],
            each.tool_call_id,
        )
        for each in state.messages
    ]


async def test_each_row_is_an_event_with_its_payload(
    store: SessionStore, tmp_path: Path
) -> None:
    state = await imported(
        store, tmp_path / "micro.sqlite", *microagents_files.PROTOCOL_1
    )

    events = await store.events.list("one")

    assert [each.type for each in events] == [
        method for method, _ in microagents_files.PROTOCOL_1
    ]
    assert events[1].data["params"]["prompt"] == "List the tests"
    assert events[1].turn_id == "t1"
    assert events[1].created_at.timestamp() == microagents_files.START_MS / 1000 + 1.5
    assert state.session.event_head == len(events)


async def test_calls_of_the_first_protocol_take_the_ids_of_their_results(
    store: SessionStore, tmp_path: Path
) -> None:
    state = await imported(
        store, tmp_path / "micro.sqlite", *microagents_files.PROTOCOL_1
    )

    assert told(state) == [
        ("user", "List the tests", [], None),
        ("assistant", None, ["c1"], None),
        ("tool", "a.py", [], "c1"),
        ("assistant", "One test.", ["c2"], None),
        ("tool", "no such file", [], "c2"),
    ]
    assert await store.messages.context("one") == state.messages
    [ok, bad] = state.tool_calls
    assert (ok.name, ok.arguments, ok.output) == ("ls", {"path": "."}, "a.py")
    assert (ok.status, ok.call_id) == (ToolCallStatus.COMPLETED, "c1")
    assert (bad.status, bad.error) == (ToolCallStatus.FAILED, "no such file")
    assert (bad.name, bad.arguments) == ("cat", {"path": "a.py"})
    session = state.session
    assert (session.status, session.result) == ("completed", "One test.")
    assert (session.model, session.provider) == ("gpt-5.5", "openai")
    assert (session.system_prompt, session.user_prompt) == (
        "You help.",
        "List the tests",
    )
    # Estimates are no usage.
    assert session.usage == Usage()


async def test_how_a_session_failed_is_told(
    store: SessionStore, tmp_path: Path
) -> None:
    state = await imported(
        store, tmp_path / "micro.sqlite", *microagents_files.PROTOCOL_2
    )

    assert (state.session.status, state.session.error) == ("failed", "rate limit")
    assert told(state)[-1] == ("assistant", "Done.", [], None)


async def test_parts_of_the_third_protocol_are_content_and_calls(
    store: SessionStore, tmp_path: Path
) -> None:
    state = await imported(
        store, tmp_path / "micro.sqlite", *microagents_files.PROTOCOL_3
    )

    parts = [{"thinking": "Hm.", "signature": "s1"}, {"text": "I look."}]
    assert told(state) == [
        ("user", "Think", [], None),
        ("assistant", parts, ["c7"], None),
        ("tool", "etc", [], "c7"),
        ("assistant", "There is etc.", [], None),
    ]
    assert len(state.tool_calls) == 1
    assert state.session.parent_session_id == "first"
    assert state.session.usage == Usage(
        prompt_tokens=MEASURED["input_tokens"],
        completion_tokens=MEASURED["output_tokens"],
        cache_read_tokens=MEASURED["cache_read_tokens"],
        cache_creation_tokens=MEASURED["cache_write_tokens"],
        api_calls=1,
    )
    by_model = await store.usage.by_model("one")
    assert by_model["gpt-5.5"].prompt_tokens == MEASURED["input_tokens"]


async def test_a_call_that_is_told_twice_is_one_and_one_that_is_repeated_is_two(
    store: SessionStore, tmp_path: Path
) -> None:
    state = await imported(
        store, tmp_path / "micro.sqlite", *microagents_files.PROTOCOL_4
    )

    assert [(each.call_id, each.output, each.error) for each in state.tool_calls] == [
        ("c1", "a b", None),
        ("c2", "/home", None),
        ("c1", None, "unanswered"),
    ]
    assert state.session.pending_tool_calls == 0
    # No result: the session was still going on.
    assert state.session.status == "idle"


async def test_order_is_that_of_the_rows_whatever_the_clocks_say(
    store: SessionStore, tmp_path: Path
) -> None:
    path = file(
        tmp_path / "micro.sqlite",
        log(
            "one",
            INIT,
            ("user.prompt.submit", turn("t", prompt="first")),
            ("user.prompt.submit", turn("t", prompt="second")),
        ),
    )
    connection = connect(path)
    connection.execute(
        "UPDATE events SET created_at = created_at - 100000 WHERE id = 3"
    )
    connection.close()

    await check_round_trip(store, path, "microagents")

    state = await load(store, "one")
    assert [each.content for each in state.messages] == ["first", "second"]
    assert state.messages[1].created_at < state.messages[0].created_at


async def test_damaged_payloads_are_reported_and_skipped_by_readers(
    store: SessionStore, tmp_path: Path
) -> None:
    path = microagents_files.undecodable(tmp_path / "micro.sqlite")

    report = await import_file(store, path)

    assert report.sessions == 2
    assert report.reasons["events.payload: no JSON"] == 7
    assert report.reasons["events.payload: kept as it was"] == 7
    assert report.reasons["events.payload: unknown method"] == 1
    events = await store.events.list("odd")
    assert [each.type for each in events][:6] == [
        "session.init",
        "unknown",
        "unknown",
        "unknown",
        "unknown",
        "user.prompt_submit",
    ]
    assert [each.data for each in events[1:5]] == [None] * 4


async def test_what_was_added_here_is_told_in_events(
    store: SessionStore, tmp_path: Path
) -> None:
    path = tmp_path / "micro.sqlite"
    await imported(store, path, *microagents_files.PROTOCOL_4)
    await store.messages.append("one", "user", "And now?")
    calls = [{"id": "c9", "type": "function", "function": {"name": "ls"}}]
    await store.messages.append("one", "assistant", "Wait.", tool_calls=calls)
    await store.messages.append("one", "tool", "b", tool_call_id="c9")

    await export_file(store, tmp_path / "out.sqlite", "microagents")

    connection = connect(tmp_path / "out.sqlite")
    rows = connection.execute("SELECT id, payload FROM events ORDER BY id").fetchall()
    connection.close()
    fresh = [json.loads(text) for _, text in rows[len(microagents_files.PROTOCOL_4) :]]
    assert [each["method"] for each in fresh] == [
        "user.prompt.submit",
        "assistant.response",
        "tool.any_call",
        "tool.result",
    ]
    assert fresh[0]["params"]["prompt"] == "And now?"
    assert fresh[3]["params"]["result"] == {"Ok": "b"}
    async with SessionStore("sqlite://") as second:
        await import_file(second, tmp_path / "out.sqlite")
        state = await load(second, "one")
    assert told(state)[-3:] == [
        ("assistant", "Wait.", [], None),
        ("assistant", None, ["c9"], None),
        ("tool", "b", [], "c9"),
    ]


async def test_a_session_made_here_is_a_log_of_the_last_protocol(
    store: SessionStore, tmp_path: Path
) -> None:
    session = await store.sessions.create(
        id="mine", model="m", provider="p", system_prompt="S"
    )
    await store.messages.append(session.id, "user", "hello")
    used = Usage(prompt_tokens=7, completion_tokens=2)
    await store.messages.append(session.id, "assistant", "hi", usage=used)
    await store.sessions.update(session.id, status="completed", result="hi")
    await store.events.append(session.id, "mine.own", {"a": 1})

    report = await export_file(store, tmp_path / "out.sqlite", "microagents")

    assert report.reasons == {"events: no notifications of the protocol": 1}
    connection = connect(tmp_path / "out.sqlite")
    rows = connection.execute("SELECT session_id, payload FROM events ORDER BY id")
    found = [(name, json.loads(text)) for name, text in rows]
    version = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert [(name, each["method"]) for name, each in found] == [
        ("mine", "session.init"),
        ("mine", "user.prompt.submit"),
        ("mine", "assistant.response"),
        ("mine", "session.stop"),
    ]
    assert found[3][1]["params"]["usage"]["input_tokens"] == 7
    assert version == (1,)
