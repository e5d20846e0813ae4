"""nocodo's files: everything comes back, and reads well while it is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.files import nocodo_files
from tests.support.transfer.round_trip import connect, make
from turnstore.records import Role, SessionFilter, SessionState, SessionStatus
from turnstore.store import SessionStore
from turnstore.transfer import export_file, import_file

pytestmark = pytest.mark.anyio


async def states(store: SessionStore) -> list[SessionState]:
    """Return what was imported, in the order of the file's ids."""
    found = await store.sessions.list(order_by="created_at", descending=False)
    loaded = [await store.sessions.load(each.id) for each in found.items]
    return [each for each in loaded if each is not None]


async def test_a_session_reads_as_one_made_here(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    report = await import_file(store, path)

    [state, _] = sorted(await states(store), key=lambda each: -len(each.messages))

    assert (report.sessions, report.messages, report.tool_calls) == (2, 4, 3)
    session = state.session
    assert (session.agent_name, session.provider, session.model) == (
        "sqlite",
        "anthropic",
        "claude",
    )
    assert session.status is SessionStatus.COMPLETED
    assert session.config == {"type": "sqlite", "db_path": "/a.db"}
    assert (session.result, session.user_prompt) == ("Three tables", "List the tables")
    assert session.created_at.timestamp() == 1_770_000_000
    assert session.ended_at is not None
    assert session.ended_at.timestamp() == 1_770_000_060
    assert [(each.id, each.role) for each in state.messages] == [
        ("1", "user"),
        ("3", "assistant"),
        ("4", "tool"),
    ]
    assert await store.messages.branch(session.id) == state.messages
    [answered, waiting] = state.tool_calls
    assert (answered.id, answered.message_id, answered.call_id) == ("1", "3", "call_1")
    assert answered.arguments == {"sql": "SELECT 1", "n": 1.0}
    assert answered.result == {"rows": [[1]]}
    assert answered.execution_time_ms == 12
    assert [each.id for each in await store.tool_calls.pending(session.id)] == [
        waiting.id
    ]


async def test_the_project_of_an_agent_is_the_project_root(
    store: SessionStore, tmp_path: Path
) -> None:
    config = '{"type":"codebase-analysis","path":"/repo"}'
    path = make(
        tmp_path / "nocodo.sqlite",
        *nocodo_files.SCHEMA,
        nocodo_files.insert("agent_sessions", nocodo_files.session(config=config)),
    )

    await import_file(store, path)

    assert await store.sessions.count(SessionFilter(project_root="/repo")) == 1


async def test_unknown_texts_read_as_unknown_and_are_never_pending(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.unknown_texts(tmp_path / "nocodo.sqlite")

    report = await import_file(store, path)

    sessions = {each.session.status_raw: each for each in await states(store)}
    paused = sessions["paused"]
    assert paused.session.status is SessionStatus.UNKNOWN
    assert [(each.role, each.role_raw) for each in paused.messages] == [
        (Role.UNKNOWN, "phase"),
        (Role.UNKNOWN, None),
    ]
    assert [each.status_raw for each in paused.tool_calls] == [
        "queued",
        "PENDING",
        None,
    ]
    assert paused.session.pending_tool_calls == 1
    pending = await store.tool_calls.pending(paused.session.id)
    assert [each.id for each in pending] == ["3"]
    assert report.reasons == {
        "agent_messages.role: kept as it was": 1,
        "agent_messages.role: unknown text": 3,
        "agent_sessions.status: unknown text": 2,
        "agent_tool_calls.status: unknown text": 2,
    }


async def test_orphans_are_kept_with_the_file_and_reported(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.orphans(tmp_path / "nocodo.sqlite")

    report = await import_file(store, path)

    assert (report.sessions, report.messages, report.tool_calls) == (1, 1, 2)
    assert report.reasons["agent_messages: its session is not there"] == 601
    assert report.reasons["agent_tool_calls: its session is not there"] == 1
    assert report.reasons["agent_tool_calls.message_id: kept as it was"] == 2
    assert report.rows_kept == 601 + 1 + 1 + 2 + 1 + 1


async def test_questions_and_settings_have_their_own_rows(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    await import_file(store, path)
    [state, other] = sorted(await states(store), key=lambda each: -len(each.messages))

    asked = await store.questions.list(state.session.id)
    [plain] = await store.settings.list(state.session.id)
    [secret] = await store.settings.list(other.session.id)

    assert [(each.question_id, each.response_type) for each in asked] == [
        ("q1", "filepath"),
        ("q1", "filepath"),
    ]
    assert (plain.value, plain.secret) == ("hunter2", False)
    assert (secret.value, secret.secret) == ("hunter2", True)
    assert "hunter2" not in repr(secret)


async def test_two_files_with_the_same_ids_make_one(
    store: SessionStore, tmp_path: Path
) -> None:
    first = nocodo_files.ordinary(tmp_path / "first.sqlite")
    second = make(
        tmp_path / "second.sqlite",
        *nocodo_files.SCHEMA,
        nocodo_files.insert(
            "agent_sessions", nocodo_files.session(3, user_prompt="Another")
        ),
        nocodo_files.insert("agent_messages", nocodo_files.message(3, "Another")),
        nocodo_files.insert("agent_tool_calls", nocodo_files.call(3, message_id=1)),
    )
    await import_file(store, first)
    await import_file(store, second)

    await export_file(store, tmp_path / "both.sqlite", "nocodo")

    connection = connect(tmp_path / "both.sqlite")
    rows = connection.execute(
        "SELECT s.user_prompt, m.content FROM agent_tool_calls c "
        "JOIN agent_messages m ON m.id = c.message_id "
        "JOIN agent_sessions s ON s.id = m.session_id ORDER BY s.id"
    ).fetchall()
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM agent_sessions), "
        "(SELECT count(*) FROM agent_messages), "
        "(SELECT count(*) FROM pragma_foreign_key_check)"
    ).fetchone()
    connection.close()
    assert rows == [("List the tables", "Three"), ("Another", "Another")]
    assert counts == (3, 5, 0)
    async with SessionStore("sqlite://") as third:
        report = await import_file(third, tmp_path / "both.sqlite")
    assert (report.sessions, report.messages, report.tool_calls) == (3, 5, 4)


async def test_what_was_changed_here_is_exported_as_it_is_now(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.odd_cells(tmp_path / "nocodo.sqlite")
    await import_file(store, path)
    connection = connect(path)
    [count] = connection.execute("SELECT count(*) FROM agent_messages").fetchone()
    connection.close()
    found = await store.sessions.list(SessionFilter(message_count_min=1))
    [session] = found.items
    await store.sessions.update(session.id, result="better", status="failed")
    added = await store.messages.append(session.id, "user", "more")
    await store.tool_calls.create(session.id, "look", {"a": 1}, message_id=added.id)

    await export_file(store, tmp_path / "out.sqlite", "nocodo")

    connection = connect(tmp_path / "out.sqlite")
    now = connection.execute(
        "SELECT result, status, agent_name, typeof(agent_name), error "
        "FROM agent_sessions WHERE id = 1"
    ).fetchone()
    last = connection.execute(
        "SELECT m.id, m.content, c.request FROM agent_tool_calls c "
        "JOIN agent_messages m ON m.id = c.message_id WHERE c.tool_name = 'look'"
    ).fetchone()
    connection.close()
    assert now == ("better", "failed", b"\x00\xff", "blob", b"\x00\xff")
    assert last == (count + 1, "more", '{"a":1}')


async def test_sessions_made_here_fit_into_an_empty_file(
    store: SessionStore, tmp_path: Path
) -> None:
    session = await store.sessions.create(
        agent_name="coder", provider="p", model="m", title="T", metadata={"k": "v"}
    )
    asked = await store.messages.append(session.id, "user", "hello")
    call = await store.tool_calls.create(
        session.id, "ls", {"path": "."}, call_id="c1", message_id=asked.id
    )
    await store.tool_calls.update(session.id, call.id, status="completed", output="a")
    await store.events.append(session.id, "x", {})

    report = await export_file(store, tmp_path / "out.sqlite", "nocodo")

    assert (report.sessions, report.messages, report.tool_calls) == (1, 1, 1)
    assert report.reasons == {
        "events: no such table": 1,
        "metadata: no such table": 1,
        "sessions.title: no such column": 1,
        "status idle: written as waiting_for_user_input": 1,
    }
    connection = connect(tmp_path / "out.sqlite")
    row = connection.execute(
        "SELECT s.agent_name, s.config, s.status, m.content, c.tool_call_id, "
        "c.request, c.response, c.status FROM agent_sessions s "
        "JOIN agent_messages m ON m.session_id = s.id "
        "JOIN agent_tool_calls c ON c.message_id = m.id"
    ).fetchone()
    connection.close()
    assert row == (
        "coder",
        "null",
        "waiting_for_user_input",
        "hello",
        "c1",
        '{"path":"."}',
        '"a"',
        "completed",
    )
