"""``store.sessions.list`` and ``count`` against a model in plain Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from turnstore import Session, SessionFilter, SessionStatus, SessionStore, Usage
from turnstore.store.sessions import listing

pytestmark = pytest.mark.anyio

ORDERS = ["created_at", "updated_at", "message_count", "total_tokens"]
START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = [START + timedelta(hours=n) for n in range(5)]
NAMES = ["", "a", "b", "A"]
MAYBE = [None, *NAMES]
TITLES = [
    None,
    "",
    "ab",
    "Abc def",
    "ABCDEF",
    "x abc %_ 'q\"",
    "İé\x00z",
    "ÀBC",
    "defdef",
]
PARTS = [
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
STATUSES = [each for each in SessionStatus if each is not SessionStatus.UNKNOWN]
METADATA: list[dict[str, str]] = [
    {},
    {"a": "1"},
    {"a": "2", "b": ""},
    {"a": "1", "b": "1", "c": "\x00"},
]


class Population:
    """Sessions in order of creation, each with the sum of tokens it is ordered by."""

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions

    def matching(self, given: SessionFilter) -> list[Session]:
        return [each for each in self.sessions if matches(each, given)]

    def ordered(
        self, given: SessionFilter, order_by: str, descending: bool
    ) -> list[Session]:
        ages = {each.id: age for age, each in enumerate(self.sessions)}

        def place(session: Session) -> tuple[Any, datetime, int]:
            if order_by == "total_tokens":
                usage = session.usage
                value: Any = usage.prompt_tokens + usage.completion_tokens
            else:
                value = getattr(session, order_by)
            return value, session.created_at, ages[session.id]

        return sorted(self.matching(given), key=place, reverse=descending)


def matches(session: Session, given: SessionFilter) -> bool:
    return all(_tests(session, given))


def _tests(session: Session, given: SessionFilter) -> Iterator[bool]:
    for name in (
        "agent_name",
        "project_root",
        "provider",
        "model",
        "last_model",
        "parent_session_id",
    ):
        wanted = getattr(given, name)
        yield wanted is None or getattr(session, name) == wanted
    if given.ids is not None:
        yield session.id in given.ids
    if isinstance(given.status, str):
        yield session.status == given.status
    elif given.status is not None:
        yield session.status in given.status
    for key, value in (given.metadata or {}).items():
        yield session.metadata.get(key) == value
    for key in given.metadata_keys or ():
        yield key in session.metadata
    if given.title_contains is not None:
        title = session.title
        yield title is not None and folded(given.title_contains) in folded(title)
    if given.has_pending_tool_calls is not None:
        yield (session.pending_tool_calls > 0) == given.has_pending_tool_calls
    yield given.created_after is None or session.created_at >= given.created_after
    yield given.created_before is None or session.created_at <= given.created_before
    yield given.updated_after is None or session.updated_at >= given.updated_after
    yield given.updated_before is None or session.updated_at <= given.updated_before
    low, high = given.message_count_min, given.message_count_max
    yield low is None or session.message_count >= low
    yield high is None or session.message_count <= high


def folded(text: str) -> str:
    return "".join(each.lower() if each.isascii() else each for each in text)


async def populate(store: SessionStore, rng: random.Random, count: int) -> None:
    """Create sessions in groups that share a time, then change and delete some."""
    for first in range(0, count, 6):
        await asyncio.gather(
            *(
                store.sessions.create(
                    id=f"s{at}",
                    agent_name=rng.choice(NAMES),
                    project_root=rng.choice(MAYBE),
                    title=rng.choice(TITLES),
                    provider=rng.choice(MAYBE),
                    model=rng.choice(MAYBE),
                    metadata=rng.choice(METADATA),
                    parent_session_id=rng.choice([None, "a", "s1"]),
                    status=rng.choice(STATUSES),
                    created_at=rng.choice(HOURS) if at % 3 else None,
                )
                for at in range(first, first + 6)
            )
        )
    changes: list[Awaitable[Any]] = []
    for _ in range(2 * count):
        name = f"s{rng.randrange(count)}"
        changes.append(rng.choice([append, use, call, close, rename])(store, rng, name))
    for first in range(0, len(changes), 10):
        await asyncio.gather(*changes[first : first + 10])
    for at in rng.sample(range(count), count // 8):
        await store.sessions.delete(f"s{at}")


async def append(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.messages.append(name, "user", model=rng.choice(MAYBE))


async def use(store: SessionStore, rng: random.Random, name: str) -> None:
    usage = Usage(
        prompt_tokens=rng.randrange(3),
        completion_tokens=rng.randrange(3),
        thinking_tokens=rng.randrange(9),
    )
    await store.messages.append(name, "assistant", usage=usage)


async def call(store: SessionStore, rng: random.Random, name: str) -> None:
    status = rng.choice(["pending", "executing", "failed"])
    await store.tool_calls.create(name, "t", {}, status=status)


async def close(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.tool_calls.interrupt(name)


async def rename(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.sessions.update(
        name,
        title=rng.choice(TITLES),
        status=rng.choice(STATUSES),
        metadata=rng.choice(METADATA),
        agent_name=rng.choice(NAMES),
    )


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


NAME = st.sampled_from(NAMES)
STATUS = st.sampled_from([*STATUSES, "idle", "unknown"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "ids": st.lists(st.sampled_from([f"s{n}" for n in range(60)]), max_size=20),
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
    max_examples=200,
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


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("descending", [True, False])
async def test_each_order_of_all(
    store: SessionStore, population: Population, order_by: Any, descending: bool
) -> None:
    expected = population.ordered(SessionFilter(), order_by, descending)
    page = await store.sessions.list(
        order_by=order_by, descending=descending, limit=1_000
    )
    assert (page.items, page.next_cursor) == (expected, None)
    order: Any = {"order_by": order_by, "descending": descending}
    assert await pages(store, SessionFilter(), 7, **order) == expected


SINGLE: list[dict[str, Any]] = [
    {"ids": ["s1", "s2", "s7", "gone"]},
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


@pytest.mark.parametrize("fields", SINGLE, ids=str)
async def test_each_single_filter_in_each_order(
    store: SessionStore, plans: None, population: Population, fields: dict[str, Any]
) -> None:
    given = SessionFilter(**fields)
    assert await store.sessions.count(given) == len(population.matching(given))
    for order_by in ORDERS:
        for descending in (True, False):
            expected = population.ordered(given, order_by, descending)
            order: Any = {"order_by": order_by, "descending": descending}
            assert await pages(store, given, 4, **order) == expected


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
