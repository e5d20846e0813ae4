"""How sessions from koda read here, and what becomes of them when they go on."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import koda_files
from tests.support.files.koda_tables import ADDED, FIRST, HINT, ONE, TWO, KodaFile
from tests.support.transfer.round_trip import check_round_trip, connect, dump
from turnstore import (
    InvalidArgument,
    Role,
    SessionFilter,
    SessionStore,
    ToolCallStatus,
    Usage,
)
from turnstore.transfer import export_file, import_file

pytestmark = pytest.mark.anyio

SOURCE = "koda.sqlite"


async def imported(store: SessionStore, path: Path) -> None:
    report = await import_file(store, path, "koda")
    assert report.problems == ()


async def contents(store: SessionStore, session: str = ONE) -> list[Any]:
    return [each.content for each in await store.messages.context(session)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rows_of(path: Path, statement: str) -> list[Any]:
    connection = connect(path)
    found: list[Any] = connection.execute(statement).fetchall()
    connection.close()
    return found


async def test_a_summary_stands_before_what_was_kept_and_the_log_in_its_order(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.twice_compacted(tmp_path / SOURCE))

    tail = ["m13", "m14", "m15", "m16", "m17"]
    assert await contents(store) == ["second summary", HINT, *tail]
    listed = await store.messages.list(ONE)
    first, second = (["first summary", HINT], ["second summary", HINT])
    assert [each.content for each in listed] == [
        *(f"m{number}" for number in range(1, 11)),
        *first,
        *(f"m{number}" for number in range(11, 17)),
        *second,
        "m17",
    ]
    assert [each.content for each in listed if each.is_summary] == first + second


async def test_messages_tell_when_they_were_archived(
    store: SessionStore, tmp_path: Path
) -> None:
    path = koda_files.twice_compacted(tmp_path / SOURCE)
    times = dict(rows_of(path, "SELECT id, compacted_at FROM messages"))
    await imported(store, path)

    for message in await store.messages.list(ONE):
        time = times[int(message.id)]
        assert message.compacted_at == (time and at(time))


async def test_a_hint_is_not_the_last_answer(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.twice_compacted(tmp_path / SOURCE))

    last = await store.messages.last(ONE, "assistant")

    assert last is not None and last.content == "m16"


async def test_a_compaction_can_be_taken_back(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.twice_compacted(tmp_path / SOURCE))

    taken = await store.messages.uncompact(ONE)

    assert taken is not None and taken.archived == 8
    kept = [f"m{number}" for number in range(7, 18)]
    assert await contents(store) == ["first summary", HINT, *kept]


async def test_a_summary_whose_messages_were_purged_stands_before_the_rest(
    store: SessionStore, tmp_path: Path
) -> None:
    file = KodaFile(tmp_path / SOURCE, FIRST, ADDED)
    file.session()
    for number in range(6):
        file.message("user", f"m{number}")
    file.compact("summary", 2)
    file.connection.execute("DELETE FROM messages WHERE compacted_at IS NOT NULL")
    await imported(store, file.close())

    assert await contents(store) == ["summary", HINT, "m4", "m5"]


async def test_a_gap_in_what_is_archived_shows_more_rather_than_less(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.odd_compactions(tmp_path / SOURCE))

    assert await contents(store) == ["summary", HINT, "m3", "m4", "m5", "m6"]
    assert await contents(store, TWO) == ["a", "b", "c", "d"]


async def test_a_system_message_before_an_answer_is_no_summary(
    store: SessionStore, tmp_path: Path
) -> None:
    file = KodaFile(tmp_path / SOURCE, FIRST, ADDED)
    file.session()
    file.message("user", "m0")
    file.message("system", "Be short.", created_at="2025-03-04 10:00:00")
    file.message(
        "assistant",
        "Yes.",
        created_at="2025-03-04 10:00:00",
        prompt_tokens=5,
        completion_tokens=1,
    )
    await imported(store, file.close())

    assert await contents(store) == ["m0", "Be short.", "Yes."]


async def test_calls_are_in_chat_format_and_tool_calls_with_their_answers(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.added(tmp_path / SOURCE))

    [asking] = [each for each in await store.messages.list(ONE) if each.tool_calls]
    assert asking.tool_calls[1] == {
        "id": "c2",
        "type": "function",
        "function": {"name": "Grep", "arguments": '{"pattern":"def test"}'},
        "thought_signature": "c2ln",
    }
    calls = await store.tool_calls.list(ONE)
    assert [(each.call_id, each.name, each.output) for each in calls] == [
        ("c1", "List", "a.py\nb.py"),
        ("c2", "Grep", "12 matches"),
    ]
    assert calls[1].arguments == {"pattern": "def test"}
    assert {each.status for each in calls} == {ToolCallStatus.COMPLETED}
    assert {each.message_id for each in calls} == {asking.id}


async def test_a_repeated_call_id_is_answered_by_position(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.repeated_calls(tmp_path / SOURCE))

    calls = await store.tool_calls.list(ONE)

    assert [(each.call_id, each.output, each.error) for each in calls] == [
        ("call_0", "answer 3", None),
        ("call_0", "answer 6", None),
        ("call_0", None, "unanswered"),
        ("x", "x first", None),
        ("x", None, None),
    ]
    assert not await store.tool_calls.has_pending(ONE)


async def test_usage_is_koda_s_own_sum(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, koda_files.added(tmp_path / SOURCE))

    assert await store.usage.session(ONE) == Usage(
        prompt_tokens=250, completion_tokens=25, api_calls=2
    )
    assert await store.usage.by_agent(TWO) == {
        "explorer": Usage(
            prompt_tokens=7,
            cache_read_tokens=3,
            cache_creation_tokens=2,
            thinking_tokens=1,
            api_calls=1,
        )
    }


async def test_metadata_and_the_todo_list(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, koda_files.added(tmp_path / SOURCE))

    session = await store.sessions.get(ONE)

    assert session is not None and session.metadata == {"color": "blue", "empty": ""}
    assert await store.todos.get(ONE) == "- [ ] run"


async def test_a_session_s_own_fields(store: SessionStore, tmp_path: Path) -> None:
    await imported(store, koda_files.later(tmp_path / SOURCE))

    page = await store.sessions.list(SessionFilter(title_contains="TESTS"))

    [session] = page.items
    assert (session.id, session.title, session.project_root) == (ONE, "Tests", "/repo")
    assert (session.agent_name, session.config) == ("koda", {"mode": "auto"})
    assert session.created_at == at("2025-03-04 10:00:01")
    last = await store.messages.last(ONE, "assistant")
    assert last is not None and session.updated_at >= last.created_at
    events = await store.events.list(ONE)
    assert [(each.type, each.data) for each in events] == [
        ("tool_start", {"name": "List", "n": 1.0}),
        ("sub_agent", "not JSON"),
    ]


async def test_a_role_of_no_name_is_unknown(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.first(tmp_path / SOURCE))

    [phase] = [
        each for each in await store.messages.list(ONE) if each.role is Role.UNKNOWN
    ]

    assert (phase.role_raw, phase.content) == ("phase", "Planning")
    assert "Planning" not in await contents(store)


async def test_messages_whose_session_is_gone_make_one(
    store: SessionStore, tmp_path: Path
) -> None:
    path = koda_files.odd_rows(tmp_path / SOURCE)

    report = await import_file(store, path)

    assert report.reasons["sessions: no row for its messages"] == 1
    listed = await store.messages.list("gone")
    assert [each.content for each in listed] == ["orphan", "orphan"]
    assert report.reasons["session_metadata: its session is not there"] == 1


async def test_what_is_only_in_the_log_is_read_and_comes_back(
    store: SessionStore, tmp_path: Path
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "copied").mkdir()
    file = KodaFile(tmp_path / "live" / SOURCE, FIRST, ADDED)
    file.session()
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    koda_files.conversation(file)
    path = tmp_path / "copied" / SOURCE
    for ending in ("", "-wal"):
        shutil.copy(f"{file.path}{ending}", f"{path}{ending}")
    file.close()

    await check_round_trip(store, path, "koda")

    assert len(await store.messages.list(ONE)) == 5


async def test_what_was_added_here_follows_what_was_imported(
    store: SessionStore, tmp_path: Path
) -> None:
    path = koda_files.added(tmp_path / SOURCE)
    await imported(store, path)
    session = await store.sessions.create(id="mine", title="Mine")
    await store.messages.append(session.id, "user", "mine")
    calls = [{"id": "c9", "type": "function", "function": {"name": "Read"}}]
    usage = Usage(prompt_tokens=3, completion_tokens=4)
    await store.messages.append(
        ONE, "assistant", None, tool_calls=calls, usage=usage, agent_name="a"
    )
    await store.messages.append(ONE, "tool", [{"a": 1}], tool_call_id="c9")
    await store.sessions.update(ONE, metadata={"color": "red"})

    exported = tmp_path / "exported"
    report = await export_file(store, exported, "koda")

    highest = max(rows_of(path, "SELECT id FROM messages"))[0]
    found = rows_of(
        exported,
        "SELECT role, content, tool_calls, tool_call_id, prompt_tokens, agent_name "
        f"FROM messages WHERE id > {highest} ORDER BY session_id DESC, id",
    )
    call = '[{"id":"c9","function_name":"Read","arguments":null}]'
    assert found == [
        ("user", "mine", None, None, None, None),
        ("assistant", None, call, None, 3, "a"),
        ("tool", '[{"a":1}]', None, "c9", None, None),
    ]
    assert set(rows_of(exported, "SELECT key, value FROM session_metadata")) == {
        ("color", "red"),
        ("todo", "- [ ] run"),
    }
    assert report.reasons["sessions.title: the file's table has no such column"] == 1
    before = dump(path)["messages"]
    assert [each for each in dump(exported)["messages"] if each[0] <= highest] == before


async def test_a_compaction_made_here_is_one_there(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.twice_compacted(tmp_path / SOURCE))
    await store.messages.compact(ONE, "third summary", preserve=2)
    await store.messages.append(ONE, "user", "m18")
    exported = tmp_path / "exported"

    await export_file(store, exported, "koda")

    active = "SELECT content FROM messages WHERE compacted_at IS NULL ORDER BY id"
    kept = [("m16",), ("m17",), ("third summary",), ("m18",)]
    assert rows_of(exported, active) == kept
    await imported(second_file, exported)
    assert len(await second_file.messages.list(ONE)) == 23


async def test_a_session_of_this_store_reads_the_same_after_koda(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    session = await store.sessions.create(
        id="mine",
        agent_name="coder",
        project_root="/repo",
        title="Mine",
        metadata={"k": "v"},
        created_at=at("2025-03-04 10:00:00"),
    )
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "Read", "arguments": '{"path":"a"}'},
    }
    usage = Usage(prompt_tokens=3, completion_tokens=4, thinking_tokens=5)
    await store.messages.append(session.id, "user", "Read a")
    await store.messages.append(
        session.id, "assistant", "", tool_calls=[call], usage=usage
    )
    await store.messages.append(session.id, "tool", "text", tool_call_id="c1")
    await store.events.append(session.id, "note", {"n": [1, None]})
    exported = tmp_path / "exported"

    report = await export_file(store, exported, "koda")
    await imported(second_file, exported)

    assert (report.sessions, report.messages, report.events) == (1, 3, 1)
    again = await second_file.sessions.get("mine")
    assert again is not None
    assert (again.agent_name, again.project_root) == ("coder", "/repo")
    assert (again.title, again.metadata) == ("Mine", {"k": "v"})
    assert again.usage == (await store.usage.session("mine"))
    for name in ("role", "content", "tool_calls", "tool_call_id"):
        assert [getattr(each, name) for each in await store.messages.list("mine")] == [
            getattr(each, name) for each in await second_file.messages.list("mine")
        ]
    [called] = await second_file.tool_calls.list("mine")
    assert (called.arguments, called.output) == ({"path": "a"}, "text")
    [event] = await second_file.events.list("mine")
    assert (event.type, event.data) == ("note", {"n": [1, None]})
    complete = "SELECT role FROM messages WHERE completed_at IS NOT NULL"
    assert rows_of(exported, complete) == [("assistant",)]


async def test_two_files_with_the_same_ids_go_into_one(
    store: SessionStore, second_file: SessionStore, tmp_path: Path
) -> None:
    await imported(store, koda_files.later(tmp_path / SOURCE))
    file = KodaFile(tmp_path / "other.sqlite", FIRST, ADDED)
    file.session("other")
    koda_files.conversation(file, "other")
    file.insert("session_metadata", session_id="other", key="todo", value="x")
    await imported(store, file.close())
    exported = tmp_path / "exported"

    await export_file(store, exported, "koda")
    await imported(second_file, exported)

    assert await second_file.messages.list(ONE) == await store.messages.list(ONE)
    for name in ("content", "tool_calls", "usage", "created_at"):
        assert [
            getattr(each, name) for each in await second_file.messages.list("other")
        ] == [getattr(each, name) for each in await store.messages.list("other")]
    assert await second_file.todos.get("other") == "x"


async def test_a_file_of_another_system_is_refused(
    store: SessionStore, tmp_path: Path
) -> None:
    path = koda_files.first(tmp_path / SOURCE)

    with pytest.raises(InvalidArgument, match="no steer file"):
        await import_file(store, path, "steer")

    assert (await store.sessions.list()).items == []
