"""``store.sessions.list``: orders and pages."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.contract.sessions.pages import DAYS, ORDERS, by_cursor, names
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Page,
    SessionFilter,
    SessionStore,
    Usage,
)

# Orders


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("created_at", "abcd"),
        ("updated_at", "dcab"),
        ("message_count", "dabc"),
        ("total_tokens", "cdba"),
    ],
)
async def test_each_order_goes_up_and_down(
    store: SessionStore, order_by: Any, expected: str
) -> None:
    for name in "abcd":
        await store.sessions.create(id=name)
    await add_messages(store, "d", Usage(prompt_tokens=2))
    await add_messages(store, "c", Usage(thinking_tokens=99), None, None, None)
    await add_messages(store, "a", Usage(prompt_tokens=3, completion_tokens=4), None)
    await add_messages(store, "b", Usage(completion_tokens=6), None, None)
    up = await store.sessions.list(order_by=order_by, descending=False)
    assert names(up) == expected
    down = await store.sessions.list(order_by=order_by)
    assert names(down) == expected[::-1]


async def test_unless_told_otherwise_the_newest_comes_first(
    store: SessionStore, abc: None
) -> None:
    assert names(await store.sessions.list()) == "cba"


@pytest.mark.parametrize("order_by", ["created_at", "message_count", "total_tokens"])
async def test_equal_sessions_have_an_order_too(
    store: SessionStore, order_by: Any
) -> None:
    for name in "abcde":
        await store.sessions.create(id=name, created_at=DAYS[0])
    down = names(await store.sessions.list(order_by=order_by))
    up = names(await store.sessions.list(order_by=order_by, descending=False))
    assert up == down[::-1]
    assert await by_cursor(store, 2, order_by=order_by) == down


# Pages


async def test_a_list_gives_the_sessions_as_get_does(
    store: SessionStore, abc: None
) -> None:
    page = await store.sessions.list()
    assert page.items == [await store.sessions.get(name) for name in "cba"]


async def test_a_list_of_no_sessions_is_an_empty_page(store: SessionStore) -> None:
    assert await store.sessions.list() == Page(items=[], next_cursor=None)
    assert await store.sessions.count() == 0


async def test_a_page_has_50_sessions_unless_told_otherwise(
    store: SessionStore,
) -> None:
    await asyncio.gather(*(store.sessions.create() for _ in range(51)))
    page = await store.sessions.list()
    assert len(page.items) == 50
    rest = await store.sessions.list(cursor=page.next_cursor)
    assert (len(rest.items), rest.next_cursor) == (1, None)
    times = [each.created_at for each in [*page.items, *rest.items]]
    assert times == sorted(times, reverse=True)
    assert await store.sessions.count() == 51


@pytest.mark.parametrize("limit", [1, 1_000])
async def test_limit_is_1_to_1000(store: SessionStore, abc: None, limit: int) -> None:
    assert len((await store.sessions.list(limit=limit)).items) == min(limit, 3)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("order_by", ORDERS)
async def test_pages_by_cursor_follow_one_another(
    store: SessionStore, abc: None, order_by: Any, descending: bool
) -> None:
    order: Any = {"order_by": order_by, "descending": descending}
    whole = names(await store.sessions.list(**order))
    assert [await by_cursor(store, limit, **order) for limit in (1, 2, 3)] == [
        whole
    ] * 3


async def test_the_last_page_has_no_cursor(store: SessionStore, abc: None) -> None:
    assert (await store.sessions.list(limit=3)).next_cursor is None
    assert isinstance((await store.sessions.list(limit=2)).next_cursor, str)


async def test_a_cursor_goes_on_with_its_filter(store: SessionStore, abc: None) -> None:
    coders = SessionFilter(agent_name="coder")
    page = await store.sessions.list(coders, limit=1)
    rest = await store.sessions.list(coders, limit=1, cursor=page.next_cursor)
    assert names(page) + names(rest) == "ba"
    assert rest.next_cursor is None


@pytest.mark.parametrize("order_by", ORDERS)
async def test_pages_neither_repeat_nor_hide_while_sessions_come_and_go(
    store: SessionStore, order_by: Any
) -> None:
    for at, name in enumerate("abcdef"):
        await store.sessions.create(id=name, created_at=DAYS[at // 3])
    whole = names(await store.sessions.list(order_by=order_by))
    page = await store.sessions.list(order_by=order_by, limit=3)
    await store.sessions.delete(whole[0])
    await store.sessions.delete(whole[2])
    await store.sessions.delete(whole[4])
    rest = await store.sessions.list(order_by=order_by, cursor=page.next_cursor)
    assert names(page) == whole[:3]
    assert names(rest) == whole[3] + whole[5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 1_001},
        {"limit": True},
        {"limit": "5"},
        {"offset": -1},
        {"offset": 1.0},
        {"order_by": "id"},
        {"order_by": "title"},
        {"order_by": None},
        {"cursor": ""},
        {"cursor": "nonsense"},
        {"cursor": "é"},
        {"cursor": 5},
        {"filter": {"status": "idle"}},
        {"filter": None},
    ],
    ids=ascii,
)
async def test_an_argument_out_of_bounds_is_refused(
    store: SessionStore, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.sessions.list(**wrong)


async def test_a_cursor_out_of_bounds_is_refused(store: SessionStore) -> None:
    raw = json.dumps(["created_at", True, 10**30, 10**30, 1]).encode()
    cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(InvalidArgument):
        await store.sessions.list(cursor=cursor)


@pytest.mark.parametrize(
    "other", [{"offset": 1}, {"order_by": "updated_at"}, {"descending": False}]
)
async def test_a_cursor_is_not_taken_with_an_offset_or_another_order(
    store: SessionStore, abc: None, other: dict[str, Any]
) -> None:
    cursor = (await store.sessions.list(limit=1)).next_cursor
    with pytest.raises(InvalidArgument):
        await store.sessions.list(cursor=cursor, **other)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, "cba"), (1, "ba"), (3, ""), (2**40, "")]
)
async def test_offset_passes_sessions_over(
    store: SessionStore, abc: None, offset: int, expected: str
) -> None:
    assert names(await store.sessions.list(offset=offset)) == expected


@pytest.mark.parametrize("status", [None, "idle", ["idle", "running"]], ids=str)
async def test_an_offset_beyond_all_matches_gives_an_empty_page(
    store: SessionStore, abc: None, status: Any
) -> None:
    given = SessionFilter(status=status)
    page = await store.sessions.list(given, offset=2**53)
    assert page == Page(items=[], next_cursor=None)


async def test_offset_counts_those_that_match_and_gives_a_cursor(
    store: SessionStore, abc: None
) -> None:
    idle = SessionFilter(status="idle")
    assert names(await store.sessions.list(idle, offset=1)) == "a"
    page = await store.sessions.list(offset=1, limit=1)
    rest = await store.sessions.list(cursor=page.next_cursor)
    assert (names(page), names(rest)) == ("b", "a")


# Several stores on one database


async def test_a_cursor_goes_on_in_another_store(open_shared: OpenStore) -> None:
    first, second = await open_shared(), await open_shared()
    for name in "abcd":
        await first.sessions.create(id=name)
    page = await first.sessions.list(limit=2)
    rest = await second.sessions.list(cursor=page.next_cursor)
    assert names(page) + names(rest) == "dcba"


async def test_lists_and_counts_are_those_of_every_store(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="a")
    await second.sessions.create(id="b", title="B")
    await second.messages.append("a", "user")
    assert names(await first.sessions.list()) == "ba"
    assert names(await first.sessions.list(order_by="updated_at")) == "ab"
    assert await first.sessions.count(SessionFilter(title_contains="b")) == 1


async def add_messages(
    store: SessionStore, session_id: str, *usages: Usage | None
) -> None:
    for usage in usages:
        await store.messages.append(session_id, "assistant", usage=usage)
