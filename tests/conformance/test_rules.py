"""The rules that hold in every room: opening, ids, numbers, times, errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnstore import (
    InvalidArgument,
    NewEvent,
    NewMessage,
    SchemaTooOld,
    SessionStore,
    StoreClosed,
    StoreError,
    StoreOptions,
    ToolPolicy,
    Usage,
)

pytestmark = pytest.mark.anyio


async def whole(store: SessionStore) -> list[Any]:
    """All that is stored."""
    page = await store.sessions.list(limit=1_000)
    return [
        (await store.sessions.load(each.id), await store.events.list(each.id))
        for each in page.items
    ]


# Opening


async def test_making_a_store_does_no_io(tmp_path: Path) -> None:
    SessionStore(tmp_path / "folder" / "a.db")
    assert os.listdir(tmp_path) == []


async def test_use_before_open_and_after_close_raises_store_closed(
    store_path: Path,
) -> None:
    store = SessionStore(store_path)
    with pytest.raises(StoreClosed):
        await store.sessions.get("a")
    with pytest.raises(StoreClosed):
        await store.sessions.create()
    await store.open()
    await store.sessions.create(id="a")
    await store.close()
    with pytest.raises(StoreClosed):
        await store.sessions.get("a")
    with pytest.raises(StoreClosed):
        await store.events.append("a", "e")
    await store.close()
    with pytest.raises(StoreError):
        await store.open()


async def test_a_second_open_is_a_store_error(store: SessionStore) -> None:
    with pytest.raises(StoreError):
        await store.open()
    assert (await store.sessions.create(id="a")).id == "a"


async def test_check_without_a_file_is_schema_too_old(store_path: Path) -> None:
    store = SessionStore(store_path, StoreOptions(migrate="check"))
    with pytest.raises(SchemaTooOld):
        await store.open()
    await store.close()


@pytest.mark.parametrize("url", ["mysql://host/a", "nonsense", "", 5])
async def test_an_unknown_url_is_an_invalid_argument(url: Any) -> None:
    with pytest.raises(InvalidArgument):
        SessionStore(url)


async def test_statistics_count_what_was_committed(store: SessionStore) -> None:
    before = await store.statistics()
    await asyncio.gather(*(store.sessions.create() for _ in range(5)))
    after = await store.statistics()
    assert after.commands - before.commands == 5
    assert after.batches > before.batches
    assert after.queue_depth == 0


async def test_what_was_written_is_there_when_opened_again(store_path: Path) -> None:
    async with SessionStore(store_path) as store:
        session = await store.sessions.create(title="t", metadata={"a": "b"})
        await store.messages.append(session.id, "user", "x", usage=Usage())
        await store.tool_calls.create(session.id, "t", {})
        await store.events.append(session.id, "e", [1])
        before = await whole(store)
    async with SessionStore(store_path) as store:
        assert await whole(store) == before


# Ids


@pytest.mark.parametrize("wrong", ["", "x" * 256, "a\x00b", "\ud800", 5, b"a", ["a"]])
async def test_an_id_that_is_none_is_refused_everywhere(
    store: SessionStore, wrong: Any
) -> None:
    session = await store.sessions.create(id="s")
    calls: list[Awaitable[Any]] = [
        store.sessions.create(id=wrong),
        store.sessions.create(parent_session_id=wrong),
        store.sessions.get(wrong),
        store.sessions.load(wrong),
        store.sessions.update(wrong, title="t"),
        store.sessions.update("s", active_message_id=wrong),
        store.sessions.delete(wrong),
        store.messages.append(wrong, "user"),
        store.messages.append("s", "user", id=wrong),
        store.messages.append("s", "user", parent_id=wrong),
        store.messages.append("s", "user", idempotency_key=wrong),
        store.messages.append_many("s", [NewMessage(role="user", id=wrong)]),
        store.messages.list(wrong),
        store.messages.branch("s", wrong),
        store.messages.set_active("s", wrong),
        store.messages.last(wrong, "user"),
        store.tool_calls.create("s", "t", {}, id=wrong),
        store.tool_calls.create("s", "t", {}, message_id=wrong),
        store.tool_calls.get("s", wrong),
        store.tool_calls.update("s", wrong, output="x"),
        store.tool_calls.pending(wrong),
        store.events.append(wrong, "e"),
        store.events.append("s", wrong),
        store.events.append("s", "e", idempotency_key=wrong),
        store.events.head(wrong),
        store.events.delete_before(wrong, 1),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    faults = [
        at for at, each in enumerate(outcomes) if type(each) is not InvalidArgument
    ]
    assert [outcomes[at] for at in faults] == []
    assert await store.sessions.get("s") == session
    assert await store.sessions.count() == 1


async def test_an_id_of_1_to_255_characters_is_kept(store: SessionStore) -> None:
    for name in (
        "x",
        "é" * 255,
        "'; DROP TABLE sessions; --",
        '"%s\\',
        "123",
        " ",
        "😀",
    ):
        session = await store.sessions.create(id=name)
        message = await store.messages.append(name, "user", id=name)
        call = await store.tool_calls.create(name, "t", {}, id=name)
        assert (session.id, message.id, call.id) == (name, name, name)
        state = await store.sessions.load(name)
        assert state is not None
        assert (state.messages, state.tool_calls) == ([message], [call])


async def test_ids_that_the_store_makes_are_time_ordered(store: SessionStore) -> None:
    made = []
    for _ in range(5):
        made.append((await store.sessions.create()).id)
        await asyncio.sleep(0.002)
    assert made == sorted(made)
    assert {each[14] for each in made} == {"7"}


async def test_message_and_call_ids_are_unique_in_their_session_only(
    store: SessionStore,
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        assert (await store.messages.append(name, "user", name, id="m")).id == "m"
        await store.tool_calls.create(name, "t", name, id="c", message_id="m")
    await store.tool_calls.update("a", "c", status="completed", output="done")
    other = await store.tool_calls.get("b", "c")
    assert other is not None
    assert (other.status, other.output, other.arguments) == ("pending", None, "b")


async def test_nul_is_refused_in_names_and_keys(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    before = await whole(store)
    wrong: list[Awaitable[Any]] = [
        store.sessions.create(agent_name="a\x00"),
        store.sessions.create(project_root="a\x00"),
        store.sessions.create(metadata={"a\x00": "b"}),
        store.sessions.create(tool_policy=ToolPolicy(tools=frozenset({"a\x00"}))),
        store.sessions.update("s", model="a\x00"),
        store.messages.append("s", "user", name="a\x00"),
        store.messages.append("s", "tool", tool_call_id="a\x00"),
        store.tool_calls.create("s", "a\x00", {}),
        store.tool_calls.create("s", "t", {}, call_id="a\x00"),
        store.events.append("s", "e", model="a\x00"),
        store.events.append("s", "e", turn_id="a\x00"),
    ]
    outcomes = await asyncio.gather(*wrong, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * len(wrong)
    assert await whole(store) == before


# Sequences


async def test_seqs_start_at_1_and_are_consecutive_in_both_series(
    store: SessionStore,
) -> None:
    session = await store.sessions.create()
    assert (session.message_head, session.event_head) == (0, 0)
    assert await store.events.head(session.id) == 0
    for n in range(1, 4):
        assert await store.events.append(session.id, "e") == n
        assert (await store.messages.append(session.id, "user")).seq == n
    read = await store.sessions.get(session.id)
    assert read is not None
    assert (read.message_head, read.event_head) == (3, 3)


# Times


MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
    datetime(2242, 3, 16, 12, 56, 32, 1, tzinfo=UTC),
    datetime(2255, 6, 5, 23, 47, 34, 740_993, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=timezone(timedelta(seconds=-1))),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
async def test_times_come_back_to_the_microsecond(
    store: SessionStore, moment: datetime
) -> None:
    session = await store.sessions.create(created_at=moment)
    session = await store.sessions.update(session.id, ended_at=moment)
    message = await store.messages.append(session.id, "user", created_at=moment)
    call = await store.tool_calls.create(session.id, "t", {}, created_at=moment)
    await store.events.append(session.id, "e", created_at=moment)
    [event] = await store.events.list(session.id)
    [read] = await store.messages.list(session.id)
    times = [session.created_at, session.ended_at, message.created_at, call.created_at]
    times += [event.created_at, read.created_at]
    assert times == [moment] * 6
    assert {each.utcoffset() for each in times if each} == {timedelta(0)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(moments=st.lists(st.datetimes(timezones=st.just(UTC)), min_size=30, max_size=60))
async def test_any_times_come_back(
    store: SessionStore, moments: list[datetime]
) -> None:
    session = await store.sessions.create()
    new = [NewEvent(type="e", created_at=each) for each in moments]
    await store.events.append_many(session.id, new)
    read = await store.events.list(session.id)
    assert [each.created_at for each in read] == moments


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 1, 1),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        "2024-01-01T00:00:00Z",
        0,
    ],
    ids=["naive", "after the year 9999", "before the year 1", "text", "number"],
)
async def test_a_time_that_is_none_is_refused_and_hurts_nobody(
    store: SessionStore, moment: Any
) -> None:
    await store.sessions.create(id="s")
    before = await whole(store)
    wrong: list[Awaitable[Any]] = [
        store.sessions.create(created_at=moment),
        store.sessions.update("s", ended_at=moment),
        store.messages.append("s", "user", created_at=moment),
        store.tool_calls.create("s", "t", {}, created_at=moment),
        store.events.append("s", "e", created_at=moment),
        store.events.append_many("s", [NewEvent(type="e", created_at=moment)]),
    ]
    outcomes = await asyncio.gather(
        *wrong, store.sessions.create(id="good"), return_exceptions=True
    )
    assert [type(each) for each in outcomes[:-1]] == [InvalidArgument] * len(wrong)
    assert not isinstance(outcomes[-1], BaseException)
    await store.sessions.delete("good")
    assert await whole(store) == before


async def test_order_never_depends_on_times(store: SessionStore) -> None:
    session = await store.sessions.create()
    for year in (2030, 2010, 2020):
        moment = datetime(year, 1, 1, tzinfo=UTC)
        await store.messages.append(session.id, "user", year, created_at=moment)
        await store.tool_calls.create(session.id, "t", year, created_at=moment)
        await store.events.append(session.id, "e", year, created_at=moment)
    state = await store.sessions.load(session.id)
    assert state is not None
    assert [each.content for each in state.messages] == [2030, 2010, 2020]
    assert [each.arguments for each in state.tool_calls] == [2030, 2010, 2020]
    events = await store.events.list(session.id)
    assert [each.data for each in events] == [2030, 2010, 2020]
    last = await store.messages.last(session.id, "user")
    assert last is not None and last.content == 2020


# Errors


# What each method can raise, as shown by the tests, is named in its docstring or in
# that of the method which its docstring refers to.
