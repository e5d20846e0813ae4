"""``store.usage``: what model calls have cost, by session, agent, model and day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    NewMessage,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    Usage,
)

FULL: Final = Usage(
    prompt_tokens=1,
    completion_tokens=2,
    cache_read_tokens=3,
    cache_creation_tokens=4,
    thinking_tokens=5,
    api_calls=6,
)


def tokens(prompt: int, calls: int = 1) -> Usage:
    return Usage(prompt_tokens=prompt, api_calls=calls)


async def test_a_session_without_usage_has_zeros(
    store: SessionStore, session: Session
) -> None:
    assert await store.usage.session("s") == Usage()
    assert await store.usage.by_agent("s") == {}
    assert await store.usage.by_model("s") == {}
    assert await store.usage.by_day() == {}


async def test_usage_is_of_messages_and_records(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "assistant", usage=FULL)
    await store.messages.append("s", "user")
    await store.usage.record("s", FULL)
    assert await store.usage.session("s") == FULL + FULL
    found = await store.sessions.get("s")
    assert found is not None and found.usage == FULL + FULL
    assert (await store.sessions.list(order_by="total_tokens")).items == [found]


async def test_the_session_record_has_its_usage(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="assistant", usage=FULL) for _ in range(3)]
    await store.messages.append_many("s", new)
    found = await store.sessions.get("s")
    assert found is not None
    assert found.usage == await store.usage.session("s") == FULL + FULL + FULL


async def test_a_record_is_one_api_call_unless_it_says_otherwise(
    store: SessionStore, session: Session
) -> None:
    await store.usage.record("s", Usage(prompt_tokens=3))
    await store.usage.record("s", Usage(prompt_tokens=4, api_calls=5))
    assert await store.usage.session("s") == tokens(7, calls=6)


async def test_a_record_leaves_no_message(
    store: SessionStore, session: Session
) -> None:
    await store.usage.record("s", FULL, "namer", "small")
    found = await store.sessions.get("s")
    assert found is not None
    assert (found.message_count, found.last_model) == (0, None)


async def test_a_record_moves_updated_at_and_leaves_last_model(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", model="talking")
    before = await store.sessions.get("s")
    await store.usage.record("s", tokens(1), model="naming")
    after = await store.sessions.get("s")
    assert before is not None and after is not None
    assert after.updated_at > before.updated_at
    assert (after.last_model, after.message_count) == ("talking", 1)


# Shares


async def test_usage_by_agent(store: SessionStore) -> None:
    await store.sessions.create(id="s", agent_name="main")
    await store.messages.append("s", "assistant", usage=tokens(1), agent_name="scout")
    await store.usage.record("s", tokens(2), agent_name="scout")
    await store.usage.record("s", tokens(4), agent_name="main")
    await store.usage.record("s", tokens(8))
    assert await store.usage.by_agent("s") == {
        "scout": tokens(3, calls=2),
        "main": tokens(12, calls=2),
    }


@pytest.mark.parametrize(("own", "name"), [("own", "own"), (None, "")])
async def test_usage_without_a_model_is_that_of_the_sessions_own(
    store: SessionStore, own: str | None, name: str
) -> None:
    await store.sessions.create(id="s", model=own)
    await store.messages.append("s", "assistant", usage=tokens(1), model="small")
    used = Usage(completion_tokens=3, api_calls=1)
    await store.usage.record("s", used)
    assert await store.usage.by_model("s") == {name: used, "small": tokens(1)}


async def test_usage_by_model(store: SessionStore) -> None:
    await store.sessions.create(id="s", model="big")
    await store.messages.append("s", "assistant", usage=tokens(1), model="small")
    await store.usage.record("s", tokens(2), model="small")
    await store.usage.record("s", tokens(4), model="big")
    await store.usage.record("s", tokens(8))
    assert await store.usage.by_model("s") == {
        "small": tokens(3, calls=2),
        "big": tokens(12, calls=2),
    }


async def test_shares_are_ordered_by_tokens_then_by_the_code_points_of_names(
    store: SessionStore, session: Session
) -> None:
    names = ["b", "A", "_a", "a-b", "ab", "é", "B", "a", "2", "10"]
    for name in names:
        await store.usage.record("s", tokens(1), name, name)
    used = Usage(completion_tokens=2, cache_read_tokens=9)
    await store.usage.record("s", used, "most", "most")
    await store.usage.record("s", Usage(cache_read_tokens=9), "none", "none")
    ordered = ["most", *sorted(names), "none"]
    assert list(await store.usage.by_agent("s")) == ordered
    assert list(await store.usage.by_model("s")) == ordered


async def test_shares_are_ordered_by_the_sum_of_prompt_and_completion(
    store: SessionStore, session: Session
) -> None:
    for name, prompt, completion in [
        ("b", 2, 3),
        ("c", 1, 0),
        ("d", 9, 0),
        ("a", 4, 1),
    ]:
        used = Usage(prompt_tokens=prompt, completion_tokens=completion)
        await store.usage.record("s", used, name, name)
    assert list(await store.usage.by_agent("s")) == ["d", "a", "b", "c"]
    assert list(await store.usage.by_model("s")) == ["d", "a", "b", "c"]


async def test_the_shares_of_a_session_add_up_to_its_total(store: SessionStore) -> None:
    await store.sessions.create(id="s", agent_name="main", model="big")
    for name in (None, "scout", None, "main"):
        await store.messages.append(
            "s", "assistant", usage=FULL, agent_name=name, model=name
        )
    total = await store.usage.session("s")
    for shares in (
        await store.usage.by_agent("s"),
        await store.usage.by_model("s"),
    ):
        assert sum(shares.values(), Usage()) == total


async def test_usage_is_of_one_session(store: SessionStore, session: Session) -> None:
    await store.sessions.create(id="other")
    await store.usage.record("other", FULL, "agent", "model")
    assert await store.usage.session("s") == Usage()
    assert await store.usage.by_agent("s") == {}
    assert await store.usage.by_model("s") == {}


# Days


async def test_usage_by_utc_day_oldest_first(
    store: SessionStore, session: Session
) -> None:
    old = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    late = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    there = datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    microsecond = timedelta(microseconds=1)
    moments = [late, late + microsecond, there, old, old + microsecond]
    moments.append(there - timedelta(days=1))
    for n, moment in enumerate(moments):
        await store.messages.append(
            "s", "assistant", usage=tokens(10**n), created_at=moment
        )
    assert list((await store.usage.by_day()).items()) == [
        (date(1969, 12, 31), tokens(1_000)),
        (date(1970, 1, 1), tokens(10_000)),
        (date(2024, 2, 28), tokens(100_000)),
        (date(2024, 2, 29), tokens(101, calls=2)),
        (date(2024, 3, 1), tokens(10)),
    ]


@pytest.mark.parametrize("year", [1, 9999])
async def test_usage_by_day_takes_every_year(
    store: SessionStore, session: Session, year: int
) -> None:
    moment = datetime(year, 6, 1, tzinfo=UTC)
    await store.messages.append("s", "user", usage=tokens(1), created_at=moment)
    assert await store.usage.by_day() == {date(year, 6, 1): tokens(1)}


async def test_a_record_is_of_today(store: SessionStore, session: Session) -> None:
    before = datetime.now(UTC).date()
    await store.usage.record("s", tokens(1))
    [day] = await store.usage.by_day()
    assert before <= day <= datetime.now(UTC).date()


async def test_usage_by_day_of_a_filter_leaves_deleted_sessions_out(
    store: SessionStore,
) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for name, model in [("deleted", "big"), ("here", "big"), ("other", "small")]:
        await store.sessions.create(id=name, model=model)
        await store.messages.append(
            name, "user", usage=tokens(1), model=model, created_at=moment
        )
    await store.sessions.delete("deleted")
    day = moment.date()
    assert await store.usage.by_day() == {day: tokens(3, calls=3)}
    assert await store.usage.by_day(SessionFilter(model="big")) == {day: tokens(1)}
    with pytest.raises(SessionNotFound):
        await store.usage.session("deleted")
    await store.sessions.create(id="deleted")
    assert await store.usage.by_agent("deleted") == {}


async def test_usage_by_day_of_what_a_filter_matches(store: SessionStore) -> None:
    for name, root in [("a", "/x"), ("b", "/y"), ("c", "/x")]:
        await store.sessions.create(id=name, project_root=root)
        await store.usage.record(name, tokens(1))
    found = await store.usage.by_day(SessionFilter(project_root="/x"))
    assert sum(found.values(), Usage()) == tokens(2, calls=2)
    assert await store.usage.by_day(SessionFilter(ids=[])) == {}


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
async def test_usage_by_day_takes_any_filter(
    store: SessionStore, wanted: SessionFilter, count: int
) -> None:
    await store.sessions.create(id="a", status="failed", metadata={"k": "v"})
    await store.sessions.create(id="b", title="the bug")
    await store.sessions.create(id="c")
    for name in "abc":
        await store.messages.append(name, "user", usage=tokens(1))
    found = await store.usage.by_day(wanted)
    assert sum(each.api_calls for each in found.values()) == count


# What leaves the ledger alone


async def test_a_compactions_own_usage_counts(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="user", usage=tokens(1)) for _ in range(6)]
    await store.messages.append_many("s", new)
    await store.messages.compact("s", "so far", usage=tokens(9), model="small")
    assert await store.usage.session("s") == tokens(15, calls=7)
    shares = {"small": tokens(9), "": tokens(6, calls=6)}
    assert await store.usage.by_model("s") == shares
    await store.messages.uncompact("s")
    assert await store.usage.by_model("s") == shares


# Arguments


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 5, {}),
        Usage(prompt_tokens=-1),
        Usage(api_calls=-1),
        Usage(api_calls=10**12 + 1),
    ],
    ids=str,
)
async def test_a_record_of_no_usage_is_refused(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises(InvalidArgument):
        await store.usage.record("s", wrong)
    assert await store.usage.session("s") == Usage()


@pytest.mark.parametrize(
    "call",
    [
        lambda room: room.record("s", tokens(1), 5),
        lambda room: room.record("s", tokens(1), model="a\x00"),
        lambda room: room.by_day(5),
        lambda room: room.session(""),
    ],
    ids=["agent", "model", "filter", "id"],
)
async def test_usage_refuses_arguments_out_of_bounds(
    store: SessionStore, session: Session, call: Callable[[Any], Awaitable[Any]]
) -> None:
    with pytest.raises(InvalidArgument):
        await call(store.usage)
    assert await store.usage.by_agent("s") == {}


async def test_usage_of_an_unknown_session_fails_alone(
    store: SessionStore, session: Session
) -> None:
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


async def test_gathered_records_are_all_counted(
    store: SessionStore, session: Session
) -> None:
    await asyncio.gather(
        *(store.usage.record("s", tokens(1), f"agent {n % 2}") for n in range(20))
    )
    assert await store.usage.session("s") == tokens(20, calls=20)
    assert await store.usage.by_agent("s") == {
        "agent 0": tokens(10, calls=10),
        "agent 1": tokens(10, calls=10),
    }


# Several stores on one database


async def test_what_several_stores_record_is_all_counted(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    for name in "ab":
        await stores[0].sessions.create(id=name)
    await asyncio.gather(
        *(
            each.usage.record(name, tokens(1), f"agent {n % 3}")
            for n in range(20)
            for name in "ab"
            for each in stores
        )
    )
    assert await stores[1].usage.session("a") == tokens(40, calls=40)
    assert await stores[1].usage.by_agent("b") == {
        "agent 0": tokens(14, calls=14),
        "agent 1": tokens(14, calls=14),
        "agent 2": tokens(12, calls=12),
    }
    found = await stores[0].usage.by_day()
    assert sum(found.values(), Usage()) == tokens(80, calls=80)
    assert await stores[0].admin.check() == []
