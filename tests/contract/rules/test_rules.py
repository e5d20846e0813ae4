"""The rules that hold in every room: ids, sequences, times, order.

What a crash or a loss of power leaves (rule 6) is for a backend's own tests.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from turnstore import (
    InvalidArgument,
    NewEvent,
    NewMessage,
    Role,
    Session,
    SessionStore,
    ToolCallStatus,
    transfer,
)

GOOD_IDS: Final = ["x", " ", "x" * 255, "é" * 255, "'; DROP TABLE sessions; --", '"%\\']
WRONG_IDS: Final[list[Any]] = ["", "x" * 256, "a\x00b", "\ud800", 5, b"a", ["a"]]
EAST: Final = timezone(timedelta(hours=5, minutes=45))


# 1. Ids


async def test_ids_that_the_store_makes_are_uuids_of_version_7(
    store: SessionStore, session: Session
) -> None:
    made = await store.sessions.create()
    message = await store.messages.append("s", "user")
    call = await store.tool_calls.create("s", "ls", {})
    versions = {UUID(each.id).version for each in (made, message, call)}
    assert versions == {7}


async def test_ids_that_the_store_makes_are_time_ordered(store: SessionStore) -> None:
    made = [(await store.sessions.create()).id for _ in range(20)]
    milliseconds = [each[:13] for each in made]
    assert milliseconds == sorted(milliseconds)
    assert len(set(made)) == 20


@pytest.mark.parametrize("id", GOOD_IDS, ids=range(len(GOOD_IDS)))
async def test_the_caller_may_give_an_id_of_1_to_255_characters(
    store: SessionStore, id: str
) -> None:
    session = await store.sessions.create(id=id)
    message = await store.messages.append(id, "user", id=id)
    call = await store.tool_calls.create(id, "ls", {}, id=id)
    assert (session.id, message.id, call.id) == (id, id, id)
    assert await store.tool_calls.get(id, id) == call


@pytest.mark.parametrize("id", WRONG_IDS, ids=range(len(WRONG_IDS)))
async def test_another_id_is_an_invalid_argument(
    store: SessionStore, session: Session, id: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(id=id),
        store.sessions.get(id),
        store.messages.append("s", "user", id=id),
        store.tool_calls.create("s", "ls", {}, id=id),
        store.events.append(id, "e"),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * 5
    assert await store.sessions.get("s") == session


async def test_a_message_id_is_unique_within_its_session_only(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        await store.messages.append(name, "user", name, id="m")
    [message] = await store.messages.list("a")
    assert (message.id, message.content) == ("m", "a")


async def test_a_tool_call_id_is_unique_within_its_session_only(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        await store.tool_calls.create(name, "ls", {}, id="c")
    await store.tool_calls.update("a", "c", status="completed")
    other = await store.tool_calls.get("b", "c")
    assert other is not None and other.status == "pending"


async def test_a_call_id_may_repeat_within_a_session(
    store: SessionStore, session: Session
) -> None:
    calls = [
        await store.tool_calls.create("s", name, {}, call_id="call_1")
        for name in ("first", "second")
    ]
    assert await store.tool_calls.find("s", "call_1") == calls


async def test_calls_pair_with_results_by_position(
    store: SessionStore, session: Session
) -> None:
    asked = [{"id": "call_1"}]
    for answer in ("first", "second"):
        await store.messages.append("s", "assistant", tool_calls=asked)
        await store.messages.append("s", "tool", answer, tool_call_id="call_1")
    await store.messages.append("s", "tool", "orphan", tool_call_id="call_1")
    context = await store.messages.context("s")
    assert [each.content for each in context] == [None, "first", None, "second"]


# 2. Sequences


async def test_each_session_counts_messages_and_events_from_1(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        for seq in (1, 2, 3):
            assert (await store.messages.append(name, "user")).seq == seq
            assert await store.events.append(name, "e") == seq


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


# 3. Times


@pytest.mark.parametrize(
    "given",
    [
        datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(2024, 2, 29, 12, tzinfo=EAST),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2255, 6, 5, 23, 47, 34, 740_993, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=str,
)
async def test_times_come_back_to_the_microsecond_in_utc(
    store: SessionStore, given: datetime
) -> None:
    await store.sessions.create(id="s", created_at=given)
    await store.messages.append("s", "user", created_at=given)
    await store.tool_calls.create("s", "ls", {}, created_at=given)
    await store.events.append("s", "e", created_at=given)
    state = await store.sessions.load("s")
    assert state is not None
    [event] = await store.events.list("s")
    read: list[Any] = [state.session, *state.messages, *state.tool_calls, event]
    assert [each.created_at for each in read] == [given] * 4
    assert {each.created_at.utcoffset() for each in read} == {timedelta(0)}


async def test_times_that_the_store_gives_are_utc(
    store: SessionStore, session: Session
) -> None:
    ended = await store.sessions.update("s", status="completed")
    assert ended.ended_at is not None
    times = [session.created_at, session.updated_at, ended.ended_at]
    assert {each.utcoffset() for each in times} == {timedelta(0)}


async def test_order_never_depends_on_times(
    store: SessionStore, session: Session
) -> None:
    for year in (2030, 2010, 2020):
        at = datetime(year, 1, 1, tzinfo=UTC)
        await store.messages.append("s", "user", year, created_at=at)
        await store.tool_calls.create("s", "ls", year, created_at=at)
        await store.events.append("s", "e", year, created_at=at)
    state = await store.sessions.load("s")
    assert state is not None
    assert [each.content for each in state.messages] == [2030, 2010, 2020]
    assert [each.arguments for each in state.tool_calls] == [2030, 2010, 2020]
    events = await store.events.list("s")
    assert [each.data for each in events] == [2030, 2010, 2020]


# 9. Order


async def test_gathered_appends_of_a_task_keep_call_order(store: SessionStore) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await store.sessions.create(id=name)
    calls = [store.events.append(name, "e", n) for n in range(40) for name in names]
    assert await asyncio.gather(*calls) == [n + 1 for n in range(40) for _ in names]
    for name in names:
        events = await store.events.list(name)
        assert [each.data for each in events] == [*range(40)]


async def test_gathered_calls_of_several_rooms_keep_call_order(
    store: SessionStore, session: Session
) -> None:
    await asyncio.gather(
        store.messages.append("s", "assistant", id="m"),
        store.tool_calls.create("s", "ls", {}, id="c", message_id="m"),
        store.tool_calls.update("s", "c", status="executing"),
        store.events.append("s", "started", expected_head=0),
        store.tool_calls.update("s", "c", output="", expected_status="executing"),
        store.events.append("s", "ended", expected_head=1),
    )
    assert await store.events.head("s") == 2


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


@pytest.mark.parametrize("text", ["", "User", "developer", "unknown", 5, None])
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
