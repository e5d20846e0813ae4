"""``store.sessions``: creating, reading, changing and deleting sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.contract.sessions.fields import FIELDS
from tests.contract.statuses import ENDED
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    Session,
    SessionExists,
    SessionFilter,
    SessionNotFound,
    SessionState,
    SessionStatus,
    SessionStore,
    StatusConflict,
    ToolPolicy,
    Usage,
)

pytestmark = pytest.mark.anyio

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
STATUSES = ["idle", "running", "waiting_for_user_input", *ENDED]
LATER: dict[str, Any] = {"result": [{"r": 1}], "error": "e", "ended_at": MOMENT}


async def test_create_keeps_every_field(store: SessionStore) -> None:
    made = await store.sessions.create(id="s", created_at=MOMENT, **FIELDS)
    expected = Session(id="s", created_at=MOMENT, updated_at=made.updated_at, **FIELDS)
    assert made == expected
    assert await store.sessions.get("s") == expected


async def test_create_needs_nothing(store: SessionStore) -> None:
    before = datetime.now(UTC)
    made = await store.sessions.create()
    assert before <= made.created_at == made.updated_at <= datetime.now(UTC)
    assert made == Session(
        id=made.id, created_at=made.created_at, updated_at=made.updated_at
    )
    assert made.status is SessionStatus.IDLE and made.usage == Usage()


async def test_create_refuses_an_id_that_is_there(store: SessionStore) -> None:
    made = await store.sessions.create(id="s", title="first")
    with pytest.raises(SessionExists) as caught:
        await store.sessions.create(id="s", title="second", metadata={"a": "b"})
    assert caught.value.session_id == "s"
    assert await store.sessions.get("s") == made
    outcomes = await asyncio.gather(
        *(store.sessions.create(id="t", title=str(n)) for n in range(3)),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Session, SessionExists, SessionExists]
    assert await store.sessions.get("t") == outcomes[0]


@pytest.mark.parametrize("status", STATUSES)
async def test_create_with_a_status(store: SessionStore, status: str) -> None:
    made = await store.sessions.create(status=status, created_at=MOMENT)
    assert made.status == status
    assert (made.ended_at is not None) == (status in ENDED)


async def test_none_empty_and_null_are_kept_apart(store: SessionStore) -> None:
    values: list[Any] = [None, {}, [], "", 0, False]
    for value in values:
        made = await store.sessions.create(config=value, title=None, project_root="")
        assert made.config == value and type(made.config) is type(value)
        assert (made.title, made.project_root) == (None, "")
    policy = await store.sessions.create(tool_policy=ToolPolicy())
    assert policy.tool_policy == ToolPolicy()


async def test_get_and_load_of_an_unknown_session_are_none(
    store: SessionStore,
) -> None:
    assert await store.sessions.get("s") is None
    assert await store.sessions.load("s") is None


async def test_load_gives_messages_by_seq_and_tool_calls_oldest_first(
    store: SessionStore,
) -> None:
    for name in ("s", "other"):
        await store.sessions.create(id=name)
    for n in range(3):
        for name in ("s", "other"):
            await store.messages.append(name, "user", n)
            await store.tool_calls.create(name, "t", n, id=f"{9 - n}")
    state = await store.sessions.load("s")
    session = await store.sessions.get("s")
    assert session is not None
    assert state == SessionState(
        session=session,
        messages=await store.messages.list("s"),
        tool_calls=await store.tool_calls.list("s"),
    )
    assert [each.arguments for each in state.tool_calls] == [0, 1, 2]
    assert (session.message_count, session.tool_call_count) == (3, 3)


# update


@pytest.mark.parametrize("name", [*FIELDS, *LATER])
async def test_update_writes_only_what_is_given(store: SessionStore, name: str) -> None:
    value = (FIELDS | LATER)[name]
    for rest in ({}, FIELDS):
        made = await store.sessions.create(**rest)
        updated = await store.sessions.update(made.id, **{name: value})
        assert updated.updated_at > made.updated_at
        assert updated == msgspec.structs.replace(
            made, **{name: value, "updated_at": updated.updated_at}
        )
        assert await store.sessions.get(made.id) == updated


@pytest.mark.parametrize("name", sorted({*FIELDS, *LATER} - {"status"}))
async def test_none_clears(store: SessionStore, name: str) -> None:
    made = await store.sessions.create(**FIELDS)
    made = await store.sessions.update(made.id, **LATER)
    nothing: dict[str, Any] = {name: None}
    cleared = await store.sessions.update(made.id, **nothing)
    empty = {"agent_name": "", "metadata": {}}.get(name)
    assert cleared == msgspec.structs.replace(
        made, **{name: empty, "updated_at": cleared.updated_at}
    )


async def test_title_changes_are_searched(store: SessionStore) -> None:
    made = await store.sessions.create()
    for title in ("first title", None, "second", "", "THIRD"):
        updated = await store.sessions.update(made.id, title=title)
        assert updated.title == title
        for part in ("first", "second", "third"):
            expected = int(part in (title or "").lower())
            given = SessionFilter(title_contains=part)
            assert await store.sessions.count(given) == expected
    assert await store.sessions.delete(made.id)
    assert await store.sessions.count(SessionFilter(title_contains="third")) == 0


async def test_metadata_is_replaced_whole(store: SessionStore) -> None:
    made = await store.sessions.create(metadata={"a": "1", "b": "2"})
    updated = await store.sessions.update(made.id, metadata={"b": "3", "c": "4"})
    assert updated.metadata == {"b": "3", "c": "4"}
    assert (
        await store.sessions.update(made.id, title="t")
    ).metadata == updated.metadata
    assert (await store.sessions.update(made.id, metadata={})).metadata == {}
    assert await store.sessions.count(SessionFilter(metadata_keys=["b"])) == 0


async def test_metadata_holds_any_text(store: SessionStore) -> None:
    pairs = {
        f"key {n} '\"\\%s😀": text for n, text in enumerate(["", "\x00", "'\"", "é"])
    }
    made = await store.sessions.create(metadata=pairs)
    assert made.metadata == pairs
    for pair in pairs.items():
        given = SessionFilter(metadata=dict([pair]))
        assert (await store.sessions.list(given)).items == [made]


@pytest.mark.parametrize("status", STATUSES)
async def test_ended_at_is_set_on_ending_unless_given(
    store: SessionStore, status: str
) -> None:
    made = await store.sessions.create()
    updated = await store.sessions.update(made.id, status=status)
    assert (updated.ended_at is not None) == (status in ENDED)
    if updated.ended_at is not None:
        assert updated.ended_at >= made.created_at
        again = await store.sessions.update(made.id, status=status)
        assert again.ended_at == updated.ended_at
    given = await store.sessions.update(made.id, status=status, ended_at=MOMENT)
    assert given.ended_at == MOMENT
    other = await store.sessions.create()
    none = await store.sessions.update(other.id, status=status, ended_at=None)
    assert none.ended_at is None


async def test_expected_status_is_a_compare_and_set(store: SessionStore) -> None:
    made = await store.sessions.create(id="s")
    for wrong in ("running", ["running", "failed"], SessionStatus.COMPLETED):
        with pytest.raises(StatusConflict) as caught:
            await store.sessions.update(
                "s", title="t", metadata={"a": "b"}, expected_status=wrong
            )
        assert (caught.value.session_id, caught.value.actual_status) == ("s", "idle")
    assert await store.sessions.get("s") == made
    updated = await store.sessions.update("s", title="t", expected_status={"idle"})
    assert updated.title == "t"
    outcomes = await asyncio.gather(
        *(
            store.sessions.update(
                "s", status="running", title=str(n), expected_status=["idle", "failed"]
            )
            for n in range(3)
        ),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Session, StatusConflict, StatusConflict]
    assert await store.sessions.get("s") == outcomes[0]


async def test_each_gathered_update_returns_what_it_made(store: SessionStore) -> None:
    outcomes = await asyncio.gather(
        store.sessions.create(id="s"),
        store.sessions.update("s", title="one", status="running"),
        store.sessions.update("s", title="two", metadata={"a": "b"}),
        store.sessions.update("s", status="completed", expected_status="running"),
    )
    made = [(each.title, str(each.status), each.metadata) for each in outcomes]
    assert made == [
        (None, "idle", {}),
        ("one", "running", {}),
        ("two", "running", {"a": "b"}),
        ("two", "completed", {"a": "b"}),
    ]


async def test_update_of_an_unknown_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound) as caught:
        await store.sessions.update("s", title="t")
    assert caught.value.session_id == "s"


async def test_a_title_can_be_given_to_the_first_session(store: SessionStore) -> None:
    made = await store.sessions.create()
    assert (await store.sessions.update(made.id, title="t")).title == "t"


# delete


async def test_delete_tells_whether_there_was_one(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    outcomes = await asyncio.gather(*(store.sessions.delete("s") for _ in range(3)))
    assert outcomes == [True, False, False]
    assert await store.sessions.delete("gone") is False


async def test_delete_takes_all_that_is_the_sessions_own(store: SessionStore) -> None:
    for name in ("s", "other"):
        await store.sessions.create(id=name, title="a title", metadata={"a": "b"})
        message = await store.messages.append(name, "user", name, usage=Usage())
        await store.tool_calls.create(name, "t", {}, message_id=message.id)
        await store.events.append(name, "e")
    other = await store.sessions.load("other")
    assert await store.sessions.delete("s") is True
    assert await store.sessions.get("s") is None
    assert await store.sessions.load("s") is None
    for read in (store.messages.list, store.events.list, store.tool_calls.list):
        with pytest.raises(SessionNotFound):
            await read("s")
    for given in (
        SessionFilter(),
        SessionFilter(title_contains="title"),
        SessionFilter(metadata={"a": "b"}),
        SessionFilter(has_pending_tool_calls=True),
    ):
        found = await store.sessions.list(given)
        assert [each.id for each in found.items] == ["other"]
    assert await store.messages.recent_user(9) == ["other"]
    assert await store.sessions.load("other") == other


async def test_a_parents_children_stay(store: SessionStore) -> None:
    await store.sessions.create(id="parent")
    child = await store.sessions.create(parent_session_id="parent")
    await store.sessions.delete("parent")
    assert await store.sessions.get(child.id) == child
    found = await store.sessions.list(SessionFilter(parent_session_id="parent"))
    assert found.items == [child]


# Errors


async def test_arguments_out_of_bounds(store: SessionStore) -> None:
    made = await store.sessions.create(id="s")
    room: Any = store.sessions
    given: list[dict[str, Any]] = [
        {"agent_name": 5},
        {"project_root": b"/"},
        {"title": 5},
        {"system_prompt": ["x"]},
        {"status": "unknown"},
        {"status": "done"},
        {"status": None},
        {"status": ["idle"]},
        {"tool_policy": {"mode": "mixed"}},
        {"tool_policy": ToolPolicy(mode="never")},  # type: ignore[arg-type]
        {"tool_policy": ToolPolicy(tools={5})},  # type: ignore[arg-type]
        {"metadata": {"a": 5}},
        {"metadata": {"": "a"}},
        {"metadata": {5: "a"}},
        {"metadata": {"x" * 256: "a"}},
        {"metadata": [("a", "b")]},
        {"parent_session_id": 5},
    ]
    calls: list[Awaitable[Any]] = [room.create(id="new", **each) for each in given]
    calls += [room.update("s", **each) for each in given]
    calls += [
        room.update("s", ended_at="now"),
        room.update("s", error=5),
        room.update("s", title="t", active_message_id=5),
        room.update("s", title="t", expected_status=["idle", "done"]),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    others = [each for each in outcomes if type(each) is not InvalidArgument]
    assert others == []
    assert await store.sessions.get("s") == made
    assert await store.sessions.get("new") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"tool_policy": ToolPolicy(tools=None)},  # type: ignore[arg-type]
        {"tool_policy": ToolPolicy(tools="ab")},  # type: ignore[arg-type]
        {"tool_policy": ToolPolicy(ask_for_others="no")},  # type: ignore[arg-type]
        {"expected_status": 5},
    ],
    ids=str,
)
async def test_values_of_the_wrong_type_are_refused(
    store: SessionStore, wrong: dict[str, Any]
) -> None:
    made = await store.sessions.create(id="s")
    with pytest.raises(InvalidArgument):
        await store.sessions.update("s", **wrong)
    assert await store.sessions.get("s") == made


@pytest.mark.parametrize("name", ["title", "system_prompt", "user_prompt", "metadata"])
async def test_text_that_can_not_be_encoded_is_refused(
    store: SessionStore, name: str
) -> None:
    given: Any = {name: {"a": "\ud800"} if name == "metadata" else "\ud800"}
    with pytest.raises(PayloadInvalid):
        await store.sessions.create(**given)
    assert await store.sessions.count() == 0
