"""``store.sessions.list`` and ``count``: what arguments mean and which are refused."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from turnstore import InvalidArgument, SessionFilter, SessionStatus, SessionStore

pytestmark = pytest.mark.anyio


async def test_all_filters_together(store: SessionStore) -> None:
    names = ("agent_name", "project_root", "provider", "model")
    fields: dict[str, Any] = dict.fromkeys(names, "x")
    for name in ("s", "t"):
        await store.sessions.create(
            id=name, title="Title", metadata={"k": "v"}, parent_session_id="p", **fields
        )
    await store.messages.append("s", "user", model="last")
    await store.tool_calls.create("s", "t", {})
    session = await store.sessions.get("s")
    assert session is not None
    given = SessionFilter(
        ids={"s", "t"},
        **fields,
        last_model="last",
        status=[SessionStatus.IDLE],
        parent_session_id="p",
        metadata={"k": "v"},
        metadata_keys=("k",),
        title_contains="tITLE",
        created_after=session.created_at,
        created_before=session.created_at,
        updated_after=session.updated_at,
        updated_before=session.updated_at,
        has_pending_tool_calls=True,
        message_count_min=1,
        message_count_max=1,
    )
    assert (await store.sessions.list(given)).items == [session]
    for name, value in msgspec.structs.asdict(given).items():
        other: Any = {
            bool: False,
            int: 2 if name.endswith("min") else 0,
            datetime: datetime(2024, 1, 1, tzinfo=UTC)
            if name.endswith("before")
            else datetime.max.replace(tzinfo=UTC),
            dict: {"k": "w"},
            str: "other",
        }.get(type(value), ["failed"])
        wrong = msgspec.structs.replace(given, **{name: other})
        assert await store.sessions.count(wrong) == 0, name


async def test_empty_collections(store: SessionStore) -> None:
    await store.sessions.create()
    assert await store.sessions.count(SessionFilter(ids=[])) == 0
    assert (await store.sessions.list(SessionFilter(ids=[]))).items == []
    assert await store.sessions.count(SessionFilter(status=[])) == 0
    assert await store.sessions.count(SessionFilter(metadata={})) == 1
    assert await store.sessions.count(SessionFilter(metadata_keys=[])) == 1


async def test_any_number_of_values_is_taken(store: SessionStore) -> None:
    names = [f"k{n}" for n in range(1_200)]
    made = await store.sessions.create(id="s", metadata=dict.fromkeys(names, "v"))
    for given in (
        SessionFilter(ids=[*names, "s"]),
        SessionFilter(metadata_keys=names[:100]),
        SessionFilter(metadata=dict.fromkeys(names[:100], "v")),
        SessionFilter(status=["idle"] * 1_200),
    ):
        assert await store.sessions.count(given) == 1
        assert (await store.sessions.list(given)).items == [made]
    with pytest.raises(InvalidArgument, match="at most 100"):
        await store.sessions.count(SessionFilter(metadata_keys=names[:101]))


async def test_metadata_of_any_size_is_found(store: SessionStore) -> None:
    made = await store.sessions.create(metadata={"a": "x" * 2**20})
    given = SessionFilter(metadata=made.metadata)
    assert (await store.sessions.list(given)).items == [made]


async def test_an_empty_store_has_one_empty_page(store: SessionStore) -> None:
    page = await store.sessions.list()
    assert (page.items, page.next_cursor) == ([], None)
    assert await store.sessions.count() == 0


async def test_by_default_the_newest_50_come_first(store: SessionStore) -> None:
    for _ in range(3):
        await asyncio.gather(*(store.sessions.create() for _ in range(20)))
    page = await store.sessions.list()
    rest = await store.sessions.list(cursor=page.next_cursor)
    assert (len(page.items), len(rest.items), rest.next_cursor) == (50, 10, None)
    times = [each.created_at for each in [*page.items, *rest.items]]
    assert times == sorted(times, reverse=True)


# Errors


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1_001},
        {"limit": True},
        {"limit": "5"},
        {"offset": -1},
        {"offset": 1.0},
        {"order_by": "id"},
        {"order_by": None},
        {"cursor": ""},
        {"cursor": "nonsense"},
        {"cursor": "é"},
        {"cursor": 5},
        {"filter": {"status": "idle"}},
        {"filter": None},
    ],
    ids=str,
)
async def test_arguments_out_of_bounds(store: SessionStore, wrong: Any) -> None:
    with pytest.raises(InvalidArgument):
        await store.sessions.list(**wrong)


@pytest.mark.parametrize(
    "fields",
    [
        {"agent_name": 5},
        {"project_root": "a\x00"},
        {"last_model": b"m"},
        {"status": "done"},
        {"status": ["idle", "done"]},
        {"status": 5},
        {"status": [["idle"]]},
        {"ids": "s1"},
        {"ids": [5]},
        {"ids": 5},
        {"metadata": [("a", "b")]},
        {"metadata": {"a": 5}},
        {"metadata": {5: "a"}},
        {"metadata_keys": "a"},
        {"metadata_keys": [None]},
        {"metadata_keys": 5},
        {"title_contains": 5},
        {"title_contains": "\ud800"},
        {"title_contains": "abc\ud800"},
        {"created_after": datetime(2024, 1, 1)},
        {"updated_before": "2024-01-01"},
        {"has_pending_tool_calls": 1},
        {"message_count_min": -1},
        {"message_count_max": 1.5},
    ],
    ids=ascii,
)
async def test_filters_of_the_wrong_type_are_refused(
    store: SessionStore, fields: dict[str, Any]
) -> None:
    given = SessionFilter(**fields)
    with pytest.raises(InvalidArgument):
        await store.sessions.list(given)
    with pytest.raises(InvalidArgument):
        await store.sessions.count(given)


async def test_a_cursor_is_not_taken_with_an_offset_or_another_order(
    store: SessionStore,
) -> None:
    for _ in range(3):
        await store.sessions.create()
    cursor = (await store.sessions.list(limit=1)).next_cursor
    assert len((await store.sessions.list(limit=5, cursor=cursor)).items) == 2
    wrong: list[Any] = [
        {"offset": 1},
        {"order_by": "updated_at"},
        {"descending": False},
    ]
    for each in wrong:
        with pytest.raises(InvalidArgument):
            await store.sessions.list(cursor=cursor, **each)


async def test_a_cursor_out_of_bounds_is_refused(store: SessionStore) -> None:
    raw = json.dumps(["created_at", True, 10**30, 10**30, 1]).encode()
    cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(InvalidArgument):
        await store.sessions.list(cursor=cursor)


@pytest.mark.parametrize("status", [None, "idle", ["idle", "running"]], ids=str)
async def test_any_offset_in_bounds_is_taken(store: SessionStore, status: Any) -> None:
    for _ in range(3):
        await store.sessions.create()
    given = SessionFilter(status=status)
    page = await store.sessions.list(given, offset=2**53)
    assert (page.items, page.next_cursor) == ([], None)
