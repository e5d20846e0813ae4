"""The rules that hold in every room: sequences, order, strict in and lenient out.

What a crash or a loss of power leaves (rule 6) is for a backend's own tests.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    NewEvent,
    NewMessage,
    Role,
    Session,
    SessionNotFound,
    SessionStore,
    ToolCallStatus,
    transfer,
)

# 2. Sequences


async def test_each_session_counts_messages_and_events_from_1(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        for seq in (1, 2, 3):
            assert (await store.messages.append(name, "user")).seq == seq
            assert await store.events.append(name, "e") == seq
        read = await store.sessions.get(name)
        assert read is not None
        assert (read.message_head, read.event_head) == (3, 3)


async def test_a_head_of_0_means_none_yet(
    store: SessionStore, session: Session
) -> None:
    assert (session.message_head, session.event_head) == (0, 0)
    assert await store.events.head("s") == 0


async def test_after_0_means_from_the_start(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", "first")
    await store.events.append("s", "e", "first")
    [message] = await store.messages.list("s", after=0)
    [event] = await store.events.list("s", after=0)
    assert (message.content, event.data) == ("first", "first")


async def test_the_seq_of_a_deleted_event_is_not_used_again(
    store: SessionStore, session: Session
) -> None:
    await store.events.append_many("s", [NewEvent(type="e")] * 3)
    assert await store.events.delete_before("s", 4) == 3
    assert await store.events.head("s") == 3
    assert await store.events.append("s", "e") == 4


async def test_the_seq_of_a_purged_message_is_not_used_again(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many("s", [NewMessage(role="user")] * 3)
    await store.messages.compact("s", "so far", preserve=0)
    assert await store.archive.purge(older_than_days=0) == 3
    assert (await store.messages.append("s", "user")).seq == 5


# 9. Order


async def test_gathered_appends_of_a_task_keep_call_order(store: SessionStore) -> None:
    names = [f"s{n}" for n in range(10)]
    await asyncio.gather(*(store.sessions.create(id=name) for name in names))
    calls = [
        store.events.append(name, "e", n) for n in range(50) for name in reversed(names)
    ]
    assert await asyncio.gather(*calls) == [n + 1 for n in range(50) for _ in names]
    for name in names:
        events = await store.events.list(name)
        assert [each.data for each in events] == [*range(50)]


async def test_gathered_calls_of_several_rooms_keep_call_order(
    store: SessionStore, session: Session
) -> None:
    outcomes: list[Any] = await asyncio.gather(
        store.messages.append("s", "assistant", "calls", id="m"),
        store.tool_calls.create("s", "ls", {}, id="c", message_id="m"),
        store.tool_calls.update("s", "c", status="executing"),
        store.events.append("s", "started", expected_head=0),
        store.tool_calls.update("s", "c", output="", expected_status="executing"),
        store.tool_calls.update(
            "s", "c", status="completed", expected_status="executing"
        ),
        store.messages.append("s", "tool", "result", parent_id="m"),
        store.events.append("s", "ended", expected_head=1),
        store.sessions.update("s", status="completed", active_message_id="m"),
        store.messages.append("s", "user", "branch"),
    )
    assert [outcomes[at].status for at in (1, 2, 4, 5)] == [
        *("pending", "executing", "executing", "completed"),
    ]
    assert outcomes[-1].parent_id == "m"
    read = await store.sessions.get("s")
    assert read is not None
    assert (read.pending_tool_calls, read.tool_call_count) == (0, 1)
    assert (read.event_head, read.message_head) == (2, 3)


async def test_gathered_deletes_and_creates_keep_call_order(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s", title="old")
    await store.messages.append("s", "user", id="m")
    outcomes: list[Any] = await asyncio.gather(
        store.events.append("s", "e"),
        store.sessions.delete("s"),
        store.events.append("s", "e"),
        store.sessions.create(id="s", title="new"),
        store.events.append("s", "e"),
        store.messages.append("s", "user", id="m"),
        store.sessions.delete("s"),
        store.sessions.delete("s"),
        store.sessions.create(id="s", title="newest"),
        store.sessions.update("s", agent_name="a"),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(2), SessionNotFound)
    made, message, newest = outcomes.pop(2), outcomes.pop(3), outcomes.pop(5)
    assert (made.title, message.seq, newest.title) == ("new", 1, "newest")
    read = outcomes.pop()
    assert outcomes == [1, True, 1, True, False]
    assert await store.sessions.get("s") == read
    assert (read.title, read.event_head, read.message_count) == ("newest", 0, 0)


async def test_appends_of_a_started_task_keep_call_order_unawaited(
    store: SessionStore, session: Session
) -> None:
    tasks = [
        asyncio.create_task(store.messages.append("s", "user", n)) for n in range(30)
    ]
    assert [(await task).seq for task in tasks] == [*range(1, 31)]
    messages = await store.messages.list("s")
    assert [each.content for each in messages] == [*range(30)]


# 11. Strict in, lenient out


@pytest.mark.parametrize("text", ["", "User", "critic", "unknown", 5, None])
async def test_unknown_enum_text_is_refused_on_write(
    store: SessionStore, session: Session, text: Any
) -> None:
    call = await store.tool_calls.create("s", "ls", {})
    before = await store.sessions.load("s")
    calls: list[Awaitable[Any]] = [
        store.messages.append("s", text),
        store.messages.append_many("s", [NewMessage(role=text)]),
        store.sessions.create(status=text),
        store.sessions.update("s", status=text),
        store.tool_calls.create("s", "ls", {}, status=text),
        store.tool_calls.update("s", call.id, status=text),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * 6
    assert await store.sessions.load("s") == before


async def test_imported_unknown_text_reads_as_unknown_and_is_never_pending(
    store: SessionStore, tmp_path: Path
) -> None:
    await transfer.import_file(store, foreign_file(tmp_path / "old.sqlite"))
    [session] = (await store.sessions.list()).items
    assert (session.status, session.status_raw) == ("unknown", "paused")
    [message] = await store.messages.list(session.id)
    assert (message.role, message.role_raw) == (Role.UNKNOWN, "phase")
    [call] = await store.tool_calls.list(session.id)
    assert (call.status, call.status_raw) == (ToolCallStatus.UNKNOWN, "queued")
    assert await store.tool_calls.pending(session.id) == []


def foreign_file(path: Path) -> Path:
    """A file of another system, with texts that the enumerations have not."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE agent_sessions
                (id, agent_name, provider, model, user_prompt, started_at, status);
            INSERT INTO agent_sessions
                VALUES (1, 'coder', 'openai', 'gpt-5.5', 'Go on', 0, 'paused');
            CREATE TABLE agent_messages (id, session_id, role, content, created_at);
            INSERT INTO agent_messages VALUES (1, 1, 'phase', 'Planning', 0);
            CREATE TABLE agent_tool_calls
                (id, session_id, tool_call_id, request, status, created_at);
            INSERT INTO agent_tool_calls
                VALUES (1, 1, 'call_1', '{"type": "ls"}', 'queued', 0);
            """
        )
    return path
