"""``store.usage``: what model calls have cost, by session, agent, model and day."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    NewMessage,
    Session,
    SessionFilter,
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


async def test_usage_by_utc_day(store: SessionStore, session: Session) -> None:
    old = datetime(1969, 12, 31, 18, tzinfo=UTC)
    late = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    there = datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    moments = [late, late + timedelta(microseconds=1), there, old]
    for n, moment in enumerate(moments):
        await store.messages.append(
            "s", "assistant", usage=tokens(10**n), created_at=moment
        )
    assert await store.usage.by_day() == {
        date(1969, 12, 31): tokens(1_000),
        date(2024, 2, 29): tokens(101, calls=2),
        date(2024, 3, 1): tokens(10),
    }


async def test_usage_by_day_of_what_a_filter_matches(store: SessionStore) -> None:
    for name, root in [("a", "/x"), ("b", "/y"), ("c", "/x")]:
        await store.sessions.create(id=name, project_root=root)
        await store.usage.record(name, tokens(1))
    found = await store.usage.by_day(SessionFilter(project_root="/x"))
    assert sum(found.values(), Usage()) == tokens(2, calls=2)
    assert await store.usage.by_day(SessionFilter(ids=[])) == {}


# What leaves the ledger alone


async def test_a_compactions_own_usage_counts(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="user") for _ in range(6)]
    await store.messages.append_many("s", new)
    await store.messages.compact("s", "so far", usage=tokens(9), model="small")
    assert await store.usage.by_model("s") == {"small": tokens(9)}


# Arguments


@pytest.mark.parametrize(
    "wrong", [None, 5, {}, Usage(prompt_tokens=-1), Usage(api_calls=-1)], ids=str
)
async def test_a_record_of_no_usage_is_refused(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises(InvalidArgument):
        await store.usage.record("s", wrong)
    assert await store.usage.session("s") == Usage()


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
    await stores[0].sessions.create(id="s")
    await asyncio.gather(
        *(each.usage.record("s", tokens(1)) for each in stores for _ in range(20))
    )
    assert await stores[1].usage.session("s") == tokens(40, calls=40)
    found = await stores[0].usage.by_day()
    assert sum(found.values(), Usage()) == tokens(40, calls=40)
