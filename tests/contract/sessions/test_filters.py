"""``store.sessions.list`` and ``count``: what each filter matches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from tests.contract.sessions.pages import DAYS, ORDERS, names
from turnstore import (
    InvalidArgument,
    Session,
    SessionFilter,
    SessionStatus,
    SessionStore,
)

# Filters of one field, with those of the sessions "a", "b" and "c" that match.
FILTERS: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "abc"),
    ({"ids": ["a", "c", "gone"]}, "ac"),
    ({"ids": []}, ""),
    ({"status": []}, ""),
    ({"metadata": {}}, "abc"),
    ({"metadata_keys": []}, "abc"),
    ({"agent_name": "coder"}, "ab"),
    ({"agent_name": "Coder"}, ""),
    ({"project_root": "/repo"}, "a"),
    ({"provider": "p"}, "b"),
    ({"model": "m"}, "bc"),
    ({"last_model": "later"}, "b"),
    ({"status": "running"}, "b"),
    ({"status": SessionStatus.IDLE}, "ac"),
    ({"status": ["running", "idle"]}, "abc"),
    ({"status": ["failed", "running"]}, "b"),
    ({"parent_session_id": "root"}, "c"),
    ({"metadata": {"k": "v"}}, "ab"),
    ({"metadata": {"k": "v", "x": "1"}}, "a"),
    ({"metadata": {"k": "v", "x": "2"}}, ""),
    ({"metadata_keys": ["k"]}, "abc"),
    ({"metadata_keys": ["k", "x"]}, "a"),
    ({"title_contains": "tests"}, "ab"),
    ({"title_contains": "T"}, "ab"),
    ({"title_contains": "100%_"}, "b"),
    ({"title_contains": "1__%"}, ""),
    ({"title_contains": "étude"}, "b"),
    ({"title_contains": "Étude"}, ""),
    ({"created_after": DAYS[1]}, "bc"),
    ({"created_before": DAYS[1]}, "ab"),
    ({"created_after": DAYS[3]}, ""),
    ({"has_pending_tool_calls": True}, "c"),
    ({"has_pending_tool_calls": False}, "ab"),
    ({"message_count_min": 1}, "bc"),
    ({"message_count_min": 2}, "c"),
    ({"message_count_max": 1}, "ab"),
    ({"message_count_max": 0}, "a"),
    ({"agent_name": "coder", "model": "m"}, "b"),
    ({"metadata": {"k": "v"}, "metadata_keys": ["x"], "status": "idle"}, "a"),
    ({"message_count_min": 1, "message_count_max": 1}, "b"),
]


@pytest.mark.parametrize(("fields", "expected"), FILTERS, ids=str)
async def test_a_filter_lists_and_counts_what_matches_all_its_fields(
    store: SessionStore, abc: None, fields: dict[str, Any], expected: str
) -> None:
    given = SessionFilter(**fields)
    assert names(await store.sessions.list(given, descending=False)) == expected
    assert await store.sessions.count(given) == len(expected)
    order_by: Any
    for order_by in ORDERS:
        found = await store.sessions.list(given, order_by=order_by)
        assert "".join(sorted(names(found))) == expected


async def test_each_of_all_filters_together_decides(store: SessionStore) -> None:
    names = ("user_id", "agent_name", "project_root", "provider", "model")
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


async def test_a_filter_takes_any_number_of_values(store: SessionStore) -> None:
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


async def test_a_long_text_of_metadata_is_found(store: SessionStore) -> None:
    """A longer one only where an index takes it."""
    made = await store.sessions.create(metadata={"a": "x" * 100_000})
    given = SessionFilter(metadata=made.metadata)
    assert (await store.sessions.list(given)).items == [made]


async def test_updated_after_and_before_are_inclusive(
    store: SessionStore, abc: None
) -> None:
    middle = await store.sessions.get("b")
    assert middle is not None
    since = SessionFilter(updated_after=middle.updated_at)
    assert names(await store.sessions.list(since, descending=False)) == "bc"
    until = SessionFilter(updated_before=middle.updated_at)
    assert names(await store.sessions.list(until, descending=False)) == "ab"
    assert (
        await store.sessions.count(since),
        await store.sessions.count(until),
    ) == (
        2,
        2,
    )


async def test_a_filter_sees_what_was_changed(store: SessionStore, abc: None) -> None:
    await store.sessions.update("a", title="other", metadata={"n": "1"})
    for fields in ({"title_contains": "Fix"}, {"metadata_keys": ["x"]}):
        given: Any = fields
        assert await store.sessions.count(SessionFilter(**given)) == 0
    now = SessionFilter(title_contains="other", metadata={"n": "1"})
    assert names(await store.sessions.list(now)) == "a"


async def test_a_closed_tool_call_is_not_pending(
    store: SessionStore, abc: None
) -> None:
    [call] = await store.tool_calls.list("c")
    await store.tool_calls.update("c", call.id, status="executing")
    open_ones = SessionFilter(has_pending_tool_calls=True)
    assert names(await store.sessions.list(open_ones)) == "c"
    await store.tool_calls.update("c", call.id, status="completed")
    assert await store.sessions.count(open_ones) == 0


async def test_last_model_is_that_of_the_newest_event_or_message_that_names_one(
    store: SessionStore, session: Session
) -> None:
    seen: list[str | None] = []
    for write in (
        store.messages.append("s", "user"),
        store.messages.append("s", "user", model="one"),
        store.events.append("s", "e", model="two"),
        store.messages.append("s", "user"),
        store.messages.append("s", "user", model="three"),
        store.events.append("s", "e"),
    ):
        await write
        found = await store.sessions.get("s")
        seen.append(None if found is None else found.last_model)
    assert seen == [None, "one", "two", "two", "three", "three"]
    assert await store.sessions.count(SessionFilter(last_model="two")) == 0
    assert await store.sessions.count(SessionFilter(last_model="three")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "done"},
        {"status": ["idle", "done"]},
        {"ids": "abc"},
        {"ids": [5]},
        {"ids": 5},
        {"status": 5},
        {"status": [["idle"]]},
        {"agent_name": 5},
        {"project_root": "a\x00"},
        {"last_model": b"m"},
        {"metadata": {"k": 5}},
        {"metadata": {5: "v"}},
        {"metadata": [("k", "v")]},
        {"metadata_keys": "k"},
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
async def test_a_filter_that_can_not_match_by_type_is_refused(
    store: SessionStore, fields: dict[str, Any]
) -> None:
    given = SessionFilter(**fields)
    with pytest.raises(InvalidArgument):
        await store.sessions.list(given)
    with pytest.raises(InvalidArgument):
        await store.sessions.count(given)
