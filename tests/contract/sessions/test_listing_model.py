"""``store.sessions.list`` and ``count`` against a model in plain Python."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.contract.sessions.pages import ORDERS
from tests.contract.sessions.population import (
    HOURS,
    METADATA,
    NAMES,
    STATUSES,
    Population,
    populate,
)
from turnstore import Session, SessionFilter, SessionStore
from turnstore.store.sessions import listing

PARTS: Final = [
    "",
    "a",
    "AB",
    "abc",
    "bcd",
    "def",
    "c D",
    "%",
    "_",
    "'Q\"",
    "É",
    "é",
    "abcdefg",
]


@pytest.fixture
async def population(
    store: SessionStore, rng: random.Random
) -> AsyncIterator[Population]:
    await populate(store, rng, 60)
    found = [await store.sessions.get(f"s{at}") for at in range(60)]
    yield Population([each for each in found if each is not None])


@pytest.fixture(params=[0, 3, 2_000], ids=lambda most: f"gathers {most}")
def plans(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Few or many matches gathered, so that each way of finding a page is taken."""
    monkeypatch.setattr(
        "turnstore.store.sessions.plans.MATCHES_GATHERED_MAX", request.param
    )
    kept = (listing._look, listing._either_page, listing._count)
    for each in kept:
        each.cache_clear()
    yield
    for each in kept:
        each.cache_clear()


EVERY_ORDER: Final[list[dict[str, Any]]] = [
    {"order_by": order_by, "descending": descending}
    for order_by in ORDERS
    for descending in (True, False)
]
NAME = st.sampled_from(NAMES)
STATUS = st.sampled_from([*STATUSES, "idle", "unknown"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "ids": st.lists(st.sampled_from([f"s{n}" for n in range(60)]), max_size=20),
    "user_id": NAME,
    "agent_name": NAME,
    "project_root": NAME,
    "provider": NAME,
    "model": NAME,
    "last_model": NAME,
    "status": STATUS | st.lists(STATUS, max_size=4),
    "parent_session_id": st.sampled_from(["a", "s1", "gone"]),
    "metadata": st.sampled_from([*METADATA, {"a": ""}, {"b": "1"}]),
    "metadata_keys": st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2),
    "title_contains": st.sampled_from(PARTS),
    # Times are those of a session, by its place in the population.
    "created_after": st.integers(0, 59),
    "created_before": st.integers(0, 59),
    "updated_after": st.integers(0, 59),
    "updated_before": st.integers(0, 59),
    "has_pending_tool_calls": st.booleans(),
    "message_count_min": st.integers(0, 4),
    "message_count_max": st.integers(0, 4),
}
# Few at a time: with many there is seldom a match.
SOME_FIELDS = st.lists(
    st.sampled_from(sorted(FIELDS)), max_size=3, unique=True
).flatmap(lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names}))


def a_filter(fields: dict[str, Any], sessions: list[Session]) -> SessionFilter:
    def value(name: str, given: Any) -> Any:
        if name.endswith(("_after", "_before")):
            session = sessions[given % len(sessions)]
            return getattr(session, f"{name.partition('_')[0]}_at")
        return given

    return SessionFilter(**{name: value(name, each) for name, each in fields.items()})


async def pages(
    store: SessionStore, given: SessionFilter, limit: int, **order: Any
) -> list[Session]:
    """All pages, one after the other by cursor."""
    found: list[Session] = []
    cursor: str | None = None
    while True:
        page = await store.sessions.list(given, limit=limit, cursor=cursor, **order)
        assert len(page.items) <= limit
        found += page.items
        if page.next_cursor is None:
            return found
        assert len(page.items) == limit
        cursor = page.next_cursor


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=100,
)
@hypothesis.given(
    fields=SOME_FIELDS,
    order_by=st.sampled_from(ORDERS),
    descending=st.booleans(),
    limit=st.sampled_from([1, 2, 3, 7, 60]),
    offset=st.integers(0, 8),
)
async def test_lists_and_counts_are_those_of_the_model(
    store: SessionStore,
    plans: None,
    population: Population,
    fields: dict[str, Any],
    order_by: str,
    descending: bool,
    limit: int,
    offset: int,
) -> None:
    given = a_filter(fields, population.sessions)
    expected = population.ordered(given, order_by, descending)
    assert await store.sessions.count(given) == len(expected)
    order: Any = {"order_by": order_by, "descending": descending}
    page = await store.sessions.list(given, limit=limit, offset=offset, **order)
    assert page.items == expected[offset : offset + limit]
    assert (page.next_cursor is None) == (offset + limit >= len(expected))
    if page.next_cursor is not None:
        after = await store.sessions.list(
            given, limit=limit, cursor=page.next_cursor, **order
        )
        start = offset + limit
        assert after.items == expected[start : start + limit]
    if limit > 2:
        assert await pages(store, given, limit, **order) == expected


async def test_each_order_of_all(store: SessionStore, population: Population) -> None:
    order: Any
    for order in EVERY_ORDER:
        expected = population.ordered(SessionFilter(), **order)
        page = await store.sessions.list(limit=1_000, **order)
        assert (page.items, page.next_cursor) == (expected, None), order
        assert await pages(store, SessionFilter(), 7, **order) == expected, order


SINGLE: Final[list[dict[str, Any]]] = [
    {"ids": ["s1", "s2", "s7", "gone"]},
    {"user_id": "a"},
    {"agent_name": "a"},
    {"project_root": ""},
    {"provider": "A"},
    {"model": "b"},
    {"last_model": "a"},
    {"status": "idle"},
    {"status": ["idle", "failed", "failed"]},
    {"parent_session_id": "a"},
    {"metadata": {"a": "1"}},
    {"metadata_keys": ["b"]},
    {"title_contains": "abc"},
    {"title_contains": "A"},
    {"created_after": HOURS[2]},
    {"created_before": HOURS[2]},
    {"updated_after": HOURS[2]},
    {"has_pending_tool_calls": True},
    {"has_pending_tool_calls": False},
    {"message_count_min": 1},
    {"message_count_max": 1},
]


async def test_each_single_filter_in_each_order(
    store: SessionStore, plans: None, population: Population
) -> None:
    for fields in SINGLE:
        given = SessionFilter(**fields)
        count = len(population.matching(given))
        assert await store.sessions.count(given) == count, fields
        for order in EVERY_ORDER:
            expected = population.ordered(given, **order)
            found = await pages(store, given, 4, **order)
            assert found == expected, (fields, order)


async def test_updated_at_with_metadata_is_the_sessions(
    store: SessionStore, plans: None
) -> None:
    made = await store.sessions.create(metadata={"a": "1"})
    await store.events.append(made.id, "e")
    session = await store.sessions.get(made.id)
    assert session is not None and session.updated_at > made.updated_at
    given = SessionFilter(metadata={"a": "1"}, updated_after=session.updated_at)
    assert (await store.sessions.list(given)).items == [session]
    assert await store.sessions.count(given) == 1
    given = SessionFilter(metadata_keys=["a"], updated_before=made.updated_at)
    assert (await store.sessions.list(given)).items == []


# Pages while sessions come and go


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("fields", [{}, {"has_pending_tool_calls": False}], ids=str)
async def test_pages_neither_repeat_nor_hide_what_stays_in_place(
    store: SessionStore,
    population: Population,
    rng: random.Random,
    order_by: Any,
    descending: bool,
    fields: dict[str, Any],
) -> None:
    given = SessionFilter(**fields)
    order: Any = {"order_by": order_by, "descending": descending}
    before = population.ordered(given, order_by, descending)
    seen: list[str] = []
    deleted: set[str] = set()
    cursor: str | None = None
    for turn in range(100):
        page = await store.sessions.list(given, limit=5, cursor=cursor, **order)
        seen += [each.id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        victim = page.items[-1].id if turn % 2 else rng.choice(before).id
        if await store.sessions.delete(victim):
            deleted.add(victim)
        await store.sessions.create(created_at=rng.choice(HOURS))
    assert len(seen) == len(set(seen))
    stayed = [each.id for each in before if each.id not in deleted]
    assert [each for each in seen if each in set(stayed)] == stayed
