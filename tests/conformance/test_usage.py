"""``store.usage``: totals, by agent, by model and by day, from the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    NewMessage,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    Usage,
)

pytestmark = pytest.mark.anyio

ALL = Usage(
    prompt_tokens=1,
    completion_tokens=2,
    cache_read_tokens=3,
    cache_creation_tokens=4,
    thinking_tokens=5,
    api_calls=6,
)


def tokens(prompt: int, completion: int = 0, calls: int = 1) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, api_calls=calls)


async def total_tokens(store: SessionStore, id: str) -> int:
    page = await store.sessions.list(SessionFilter(ids=[id]), order_by="total_tokens")
    return sum(
        each.usage.prompt_tokens + each.usage.completion_tokens for each in page.items
    )


async def test_a_session_without_usage_has_zeros(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    assert await store.usage.session("s") == Usage()
    assert await store.usage.by_agent("s") == {}
    assert await store.usage.by_model("s") == {}
    assert await store.usage.by_day() == {}


async def test_totals_are_of_messages_and_records(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    await store.messages.append("s", "assistant", usage=ALL)
    await store.messages.append("s", "user", "no usage")
    await store.usage.record("s", ALL)
    expected = ALL + ALL
    assert await store.usage.session("s") == expected
    read = await store.sessions.get("s")
    assert read is not None and read.usage == expected
    assert await total_tokens(store, "s") == 6


async def test_a_record_is_one_call_unless_it_says_otherwise(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s")
    await store.usage.record("s", Usage(prompt_tokens=1))
    assert (await store.usage.session("s")).api_calls == 1
    await store.usage.record("s", Usage(api_calls=4))
    assert (await store.usage.session("s")).api_calls == 5


async def test_a_record_touches_the_session_and_not_its_last_model(
    store: SessionStore,
) -> None:
    before = await store.sessions.create(id="s")
    await store.messages.append("s", "user", model="talking")
    await store.usage.record("s", tokens(1), model="naming")
    after = await store.sessions.get("s")
    assert after is not None
    assert after.updated_at > before.updated_at
    assert (after.last_model, after.message_count) == ("talking", 1)


async def test_by_agent_counts_the_nameless_for_the_session(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s", agent_name="main")
    await store.messages.append("s", "assistant", usage=tokens(1))
    await store.messages.append("s", "assistant", usage=tokens(2), agent_name="helper")
    await store.usage.record("s", tokens(4), agent_name="main")
    await store.usage.record("s", tokens(8), "other")
    assert await store.usage.by_agent("s") == {
        "other": tokens(8),
        "main": tokens(5, calls=2),
        "helper": tokens(2),
    }


@pytest.mark.parametrize(("own", "name"), [("big", "big"), (None, "")])
async def test_by_model_counts_the_nameless_for_the_session(
    store: SessionStore, own: str | None, name: str
) -> None:
    await store.sessions.create(id="s", model=own)
    await store.messages.append("s", "assistant", usage=tokens(1), model="small")
    await store.usage.record("s", tokens(0, 3))
    assert await store.usage.by_model("s") == {name: tokens(0, 3), "small": tokens(1)}


async def test_shares_are_in_order_of_tokens_then_name(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    # Cached tokens are many, and don't count.
    cached = Usage(prompt_tokens=1, cache_read_tokens=1_000)
    for name, usage in [("b", tokens(2, 3)), ("c", cached), ("d", tokens(9))]:
        await store.usage.record("s", usage, name, name)
    await store.usage.record("s", tokens(4, 1), "a", "a")
    assert list(await store.usage.by_agent("s")) == ["d", "a", "b", "c"]
    assert list(await store.usage.by_model("s")) == ["d", "a", "b", "c"]


async def test_only_the_session_asked_for_counts(store: SessionStore) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
        await store.usage.record(name, tokens(1))
    assert await store.usage.session("a") == tokens(1)
    assert await store.usage.by_agent("a") == {"": tokens(1)}


async def test_by_day_is_by_utc_day_oldest_first(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    last = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    elsewhere = datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=2)))
    before_1970 = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    at_1970 = datetime(1970, 1, 1, tzinfo=UTC)
    times = [last, last + timedelta(microseconds=1), elsewhere, before_1970, at_1970]
    for number, moment in enumerate(times):
        await store.messages.append(
            "s", "assistant", usage=tokens(10**number), created_at=moment
        )
    assert list((await store.usage.by_day()).items()) == [
        (date(1969, 12, 31), tokens(1_000)),
        (date(1970, 1, 1), tokens(10_000)),
        (date(2024, 2, 28), tokens(100)),
        (date(2024, 2, 29), tokens(1)),
        (date(2024, 3, 1), tokens(10)),
    ]


@pytest.mark.parametrize("year", [1, 9999])
async def test_by_day_takes_every_year(store: SessionStore, year: int) -> None:
    await store.sessions.create(id="s")
    moment = datetime(year, 6, 1, tzinfo=UTC)
    await store.messages.append("s", "user", usage=tokens(1), created_at=moment)
    assert await store.usage.by_day() == {date(year, 6, 1): tokens(1)}


async def test_a_record_is_of_today(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    before = datetime.now(UTC).date()
    await store.usage.record("s", tokens(1))
    [day] = await store.usage.by_day()
    assert before <= day <= datetime.now(UTC).date()


async def test_a_deleted_session_counts_in_by_day_without_a_filter(
    store: SessionStore,
) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for name, model in [("gone", "big"), ("here", "big"), ("other", "small")]:
        await store.sessions.create(id=name, model=model)
        await store.messages.append(
            name, "user", usage=tokens(1), model=model, created_at=moment
        )
    await store.sessions.delete("gone")
    day = moment.date()
    assert await store.usage.by_day() == {day: tokens(3, calls=3)}
    big = SessionFilter(model="big")
    assert await store.usage.by_day(big) == {day: tokens(1)}
    with pytest.raises(SessionNotFound):
        await store.usage.session("gone")
    # What is made with the same id again begins anew.
    await store.sessions.create(id="gone")
    assert await store.usage.by_agent("gone") == {}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (SessionFilter(ids=[]), 0),
        (SessionFilter(ids=["a", "b"]), 2),
        (SessionFilter(status=["failed", "idle"]), 3),
        (SessionFilter(status="failed", metadata={"k": "v"}), 1),
        (SessionFilter(title_contains="BUG"), 1),
        (SessionFilter(message_count_min=2), 0),
    ],
)
async def test_by_day_takes_any_filter(
    store: SessionStore, wanted: SessionFilter, count: int
) -> None:
    await store.sessions.create(id="a", status="failed", metadata={"k": "v"})
    await store.sessions.create(id="b", title="the bug")
    await store.sessions.create(id="c")
    for name in "abc":
        await store.messages.append(name, "user", usage=tokens(1))
    found = await store.usage.by_day(wanted)
    assert sum(each.api_calls for each in found.values()) == count


async def test_a_compaction_counts_and_takes_nothing_away(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    rows = [NewMessage(role="user", content="x", usage=tokens(1)) for _ in range(6)]
    await store.messages.append_many("s", rows)
    await store.messages.compact("s", "summary", usage=tokens(10), model="small")
    assert await store.usage.session("s") == tokens(16, calls=7)
    await store.messages.uncompact("s")
    assert await store.usage.by_model("s") == {
        "small": tokens(10),
        "": tokens(6, calls=6),
    }


async def test_gathered_records_are_all_counted(
    store: SessionStore, second_store: SessionStore
) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
    await asyncio.gather(
        *(
            each.usage.record(name, tokens(1), f"agent {number % 3}")
            for number in range(50)
            for name in ("a", "b")
            for each in (store, second_store)
        )
    )
    assert await store.usage.session("a") == tokens(100, calls=100)
    found = await store.usage.by_agent("b")
    assert {name: each.api_calls for name, each in found.items()} == {
        "agent 0": 34,
        "agent 1": 34,
        "agent 2": 32,
    }
    assert await store.admin.check() == []


async def test_an_unknown_session_fails_alone(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    found = await asyncio.gather(
        store.usage.record("s", tokens(1)),
        store.usage.record("none", tokens(1)),
        store.usage.session("none"),
        store.usage.by_agent("none"),
        store.usage.by_model("none"),
        return_exceptions=True,
    )
    assert found[0] is None
    assert [type(each) for each in found[1:]] == [SessionNotFound] * 4
    assert await store.usage.session("s") == tokens(1)


@pytest.mark.parametrize(
    "wrong",
    [None, 5, {}, Usage(prompt_tokens=-1), Usage(api_calls=10**12 + 1)],
)
async def test_a_wrong_usage_is_refused(store: SessionStore, wrong: Any) -> None:
    await store.sessions.create(id="s")
    with pytest.raises(InvalidArgument):
        await store.usage.record("s", wrong)
    assert await store.usage.session("s") == Usage()


async def test_wrong_names_and_filters_are_refused(store: SessionStore) -> None:
    wrong: Any = 5
    await store.sessions.create(id="s")
    with pytest.raises(InvalidArgument):
        await store.usage.record("s", tokens(1), wrong)
    with pytest.raises(InvalidArgument):
        await store.usage.record("s", tokens(1), model="a\x00")
    with pytest.raises(InvalidArgument):
        await store.usage.by_day(wrong)
    with pytest.raises(InvalidArgument):
        await store.usage.session("")
    assert await store.usage.by_agent("s") == {}
