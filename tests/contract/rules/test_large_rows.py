"""What is read comes whole and in order, however large the rows are that it takes.

Five rows of 4 MiB are more than the store reads at a time, and one of 9 MiB is too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import Connection

from turnstore import (
    Event,
    NewEvent,
    NewMessage,
    Question,
    SessionFilter,
    SessionStore,
)
from turnstore.sql.bounded import READ_BYTES
from turnstore.sql.codec import INTEGER_MAX
from turnstore.store.events.reads import ALL

MIB: Final = 2**20
ROWS: Final = 5


def text(number: int, size_mib: int = 4) -> str:
    return f"{number}é{'x' * (size_mib * MIB)}"


def pairs(value: str, count: int) -> dict[str, str]:
    return {f"key {n:05}": f"{n}{value}" for n in range(count)}


TEXTS: Final = [text(n) for n in range(ROWS)]


@pytest.fixture
async def with_events(store: SessionStore) -> SessionStore:
    """Large events between small ones, and one beyond the bound."""
    await store.sessions.create(id="s")
    sizes = [0, 4, 4, 0, 9, 4, 0, 0, 4, 4]
    for n, size in enumerate(sizes):
        await store.events.append("s", "large" if size else "small", text(n, size))
    return store


def numbers(events: list[Event]) -> list[tuple[int, int]]:
    return [(each.seq, int(each.data[0])) for each in events]


EVENTS: Final = [(n + 1, n) for n in range(10)]


async def collected(events: AsyncIterator[Event]) -> list[Event]:
    return [each async for each in events]


READS: Final[dict[str, Callable[[SessionStore], Awaitable[list[Event]]]]] = {
    "list": lambda store: store.events.list("s"),
    "list of types": lambda store: store.events.list("s", types=["large", "small"]),
    "stream": lambda store: collected(store.events.stream("s")),
    "stream by 1": lambda store: collected(store.events.stream("s", page_size=1)),
    "stream by 3": lambda store: collected(store.events.stream("s", page_size=3)),
    "follow": lambda store: collected(store.events.follow("s", idle_timeout_s=0)),
    "follow all": lambda store: collected(store.events.follow_all(idle_timeout_s=0)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_events_come_whole_and_in_order(
    with_events: SessionStore, read: Callable[[SessionStore], Awaitable[list[Event]]]
) -> None:
    found = await read(with_events)
    assert numbers(found) == EVENTS
    assert found[4].data == text(4, 9)


async def test_events_of_a_fork_come_whole_and_in_order(
    with_events: SessionStore,
) -> None:
    store = with_events
    await store.sessions.fork("s", at_event_seq=5, new_id="f")
    for n in range(5, 10):
        await store.events.append("f", "e", text(n))
    assert numbers(await store.events.list("f")) == EVENTS
    assert numbers(await collected(store.events.stream("f"))) == EVENTS
    followed = store.events.follow("f", idle_timeout_s=0)
    assert numbers(await collected(followed)) == EVENTS


async def test_a_limit_counts_large_rows(with_events: SessionStore) -> None:
    assert numbers(await with_events.events.list("s", limit=7)) == EVENTS[:7]
    found = await with_events.events.list("s", after=1, limit=2)
    assert numbers(found) == EVENTS[1:3]


async def test_a_portion_is_bounded_in_bytes_or_is_one_row(
    with_events: SessionStore,
) -> None:
    def read(connection: Connection, after: int) -> tuple[list[int], bool]:
        found = ALL.portion(
            connection, 500, session="s", after=after, before=INTEGER_MAX
        )
        assert found is not None
        return [len(each.data.encode()) for each in found.rows], found.goes_on

    after, goes_on, counts = 0, True, []
    while goes_on:
        sizes, goes_on = await with_events.engine.read(partial(read, after=after))
        assert len(sizes) == 1 or sum(sizes) <= READ_BYTES
        after += len(sizes)
        counts.append(len(sizes))
    assert after == 10
    assert max(counts) <= 4


async def test_messages_come_whole_and_in_order(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    for each in TEXTS:
        await store.messages.append("s", "user", each)
    room = store.messages
    for found in (
        await room.list("s"),
        await room.branch("s"),
        await room.context("s"),
    ):
        assert [each.content for each in found] == TEXTS
    newest = await room.list("s", last=3)
    assert [each.content for each in newest] == TEXTS[2:]
    last = await room.last("s", "user")
    assert last is not None
    assert last.content == TEXTS[-1]
    assert await room.recent_user(4) == TEXTS[:0:-1]
    state = await store.sessions.load("s")
    assert state is not None
    assert [each.content for each in state.messages] == TEXTS


async def test_tool_calls_come_whole_and_in_order(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    room = store.tool_calls
    for each in TEXTS:
        await room.create("s", "t", {"text": each}, call_id="c")
    for found in (
        await room.list("s"),
        await room.list("s", status="pending"),
        await room.pending("s"),
        await room.find("s", "c"),
    ):
        assert [each.arguments["text"] for each in found] == TEXTS
    assert await room.has_pending("s")
    state = await store.sessions.load("s")
    assert state is not None
    assert [each.arguments["text"] for each in state.tool_calls] == TEXTS
    closed = await room.interrupt("s")
    assert [each.arguments["text"] for each in closed] == TEXTS


LARGE_FIELDS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "config": lambda given: {"config": {"text": given}},
    # Of more than 2,600 bytes PostgreSQL has no value in an index.
    "metadata": lambda given: {"metadata": pairs(given[:2_000], 2_100)},
    "several": lambda given: {"system_prompt": given, "user_prompt": given},
}


@pytest.mark.parametrize("fields", LARGE_FIELDS.values(), ids=LARGE_FIELDS.keys())
async def test_sessions_come_whole_and_in_order(
    store: SessionStore, fields: Callable[[str], dict[str, Any]]
) -> None:
    made = [
        await store.sessions.create(id=str(n), agent_name="a", **fields(each))
        for n, each in enumerate(TEXTS)
    ]
    expected = made[::-1]
    page = await store.sessions.list()
    assert page.items == expected
    first = await store.sessions.list(limit=3)
    assert first.items == expected[:3]
    second = await store.sessions.list(limit=3, cursor=first.next_cursor)
    assert (second.items, second.next_cursor) == (expected[3:], None)
    filtered = await store.sessions.list(
        SessionFilter(agent_name="a"), order_by="updated_at"
    )
    assert filtered.items == expected
    assert await store.sessions.get("0") == made[0]


async def test_what_belongs_to_a_session_comes_whole(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    asked = [Question(question_id=each[0], question=each) for each in TEXTS]
    stored = await store.questions.store("s", asked)
    assert [each.question for each in stored] == TEXTS
    assert await store.questions.list("s") == stored
    assert await store.questions.pending("s") == stored
    await store.todos.set("s", text(0, 9))
    assert await store.todos.get("s") == text(0, 9)


async def test_many_pairs_of_metadata_come_whole(store: SessionStore) -> None:
    given = pairs("x" * 2_000, 5_000)
    await store.sessions.create(id="s", metadata=given)
    assert await store.metadata.all("s") == given
    session = await store.sessions.get("s")
    assert session is not None
    assert session.metadata == given


MIDDLING: Final = {"rows": [{"n": n, "text": 'row, [{"\\'} for n in range(2_000)]}


async def test_many_rows_of_middling_size_come_whole(store: SessionStore) -> None:
    """Each is small, together they are too large, and so is a part of them."""
    await store.sessions.create(id="s")
    new = [NewEvent(type="e", data=MIDDLING)] * 200
    await store.events.append_many("s", new)
    found = await store.events.list("s")
    assert [each.seq for each in found] == list(range(1, 201))
    assert all(each.data == MIDDLING for each in found)
    streamed = await collected(store.events.stream("s"))
    assert streamed == found


async def test_a_text_with_a_noncharacter_is_a_text(store: SessionStore) -> None:
    """It stands for what is too large in statements."""
    await store.sessions.create(id="s", title="\uffff", metadata={"key": "\uffff"})
    await store.messages.append_many(
        "s",
        [NewMessage(role="user", content=each) for each in ("\uffff", "x", "\uffff")],
    )
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["\uffff", "x", "\uffff"]
    [listed] = (await store.sessions.list()).items
    assert (listed.title, listed.metadata) == ("\uffff", {"key": "\uffff"})
    assert await store.sessions.get("s") == listed
