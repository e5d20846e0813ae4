"""Times in every room: what comes back, what is refused, and that none orders rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnstore import (
    InvalidArgument,
    NewEvent,
    NewMessage,
    Session,
    SessionFilter,
    SessionStore,
)

MOMENTS: Final = [
    datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
    datetime(2242, 3, 16, 12, 56, 32, 1, tzinfo=UTC),
    datetime(2255, 6, 5, 23, 47, 34, 740_993, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=timezone(timedelta(seconds=-1))),
]
NO_TIMES: Final[dict[str, Any]] = {
    "naive": datetime(2024, 1, 1),
    "after the year 9999": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    "before the year 1": datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    "far after": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    "far before": datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    "text": "2024-01-01T00:00:00Z",
    "a number": 0,
}


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
async def test_times_come_back_to_the_microsecond_in_utc(
    store: SessionStore, moment: datetime
) -> None:
    await store.sessions.create(id="s", created_at=moment)
    session = await store.sessions.update("s", ended_at=moment)
    message = await store.messages.append("s", "user", created_at=moment)
    call = await store.tool_calls.create("s", "ls", {}, created_at=moment)
    await store.events.append("s", "e", created_at=moment)
    state = await store.sessions.load("s")
    assert state is not None
    [event] = await store.events.list("s")
    read: list[Any] = [state.session, *state.messages, *state.tool_calls, event]
    times = [each.created_at for each in (session, message, call, *read)]
    times += [session.ended_at, state.session.ended_at]
    assert times == [moment] * 9
    assert {each.utcoffset() for each in times} == {timedelta(0)}


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


async def test_times_that_the_store_gives_are_utc(
    store: SessionStore, session: Session
) -> None:
    ended = await store.sessions.update("s", status="completed")
    assert ended.ended_at is not None
    times = [session.created_at, session.updated_at, ended.ended_at]
    assert {each.utcoffset() for each in times} == {timedelta(0)}


@pytest.mark.parametrize("at", NO_TIMES.values(), ids=NO_TIMES)
async def test_a_naive_or_wrong_time_is_an_invalid_argument_and_hurts_nobody(
    store: SessionStore, session: Session, at: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(created_at=at),
        store.sessions.update("s", ended_at=at),
        store.sessions.list(SessionFilter(created_after=at)),
        store.messages.append("s", "user", created_at=at),
        store.messages.append_many("s", [NewMessage(role="user", created_at=at)]),
        store.tool_calls.create("s", "ls", {}, created_at=at),
        store.events.append("s", "e", created_at=at),
        store.events.append_many("s", [NewEvent(type="e", created_at=at)]),
    ]
    outcomes = await asyncio.gather(
        *calls, store.sessions.create(id="good"), return_exceptions=True
    )
    assert [type(each) for each in outcomes[:-1]] == [InvalidArgument] * len(calls)
    assert await store.sessions.get("s") == session
    assert await store.sessions.get("good") == outcomes[-1]
    assert await store.sessions.count() == 2


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
    last = await store.messages.last("s", "user")
    assert last is not None and last.content == 2020
