"""``store.sessions.update``: changing a session."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from tests.contract.sessions.fields import FIELDS
from tests.contract.sessions.wrong import WRONG
from tests.contract.statuses import ENDED, NOT_ENDED
from turnstore import (
    InvalidArgument,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStatus,
    SessionStore,
    StatusConflict,
)

MOMENT: Final = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER: Final[dict[str, Any]] = {
    "result": [{"r": 1}],
    "error": "e",
    "ended_at": MOMENT,
}


@pytest.mark.parametrize("fields", [{}, FIELDS], ids=["empty", "filled"])
@pytest.mark.parametrize("name", [*FIELDS, *LATER])
async def test_update_writes_only_what_is_given(
    store: SessionStore, name: str, fields: dict[str, Any]
) -> None:
    made = await store.sessions.create(**fields)
    value = (FIELDS | LATER)[name]
    updated = await store.sessions.update(made.id, **{name: value})
    assert updated.updated_at > made.updated_at
    assert updated == msgspec.structs.replace(
        made, **{name: value, "updated_at": updated.updated_at}
    )
    assert await store.sessions.get(made.id) == updated


@pytest.mark.parametrize("name", sorted({*FIELDS, *LATER} - {"status"}))
async def test_update_with_none_clears(store: SessionStore, name: str) -> None:
    made = await store.sessions.create(**FIELDS)
    made = await store.sessions.update(made.id, **LATER)
    nothing: dict[str, Any] = {name: None}
    cleared = await store.sessions.update(made.id, **nothing)
    empty = {"agent_name": "", "metadata": {}}.get(name)
    assert cleared == msgspec.structs.replace(
        made, **{name: empty, "updated_at": cleared.updated_at}
    )


async def test_update_moves_updated_at_on(
    store: SessionStore, session: Session
) -> None:
    updated = await store.sessions.update("s", title="t")
    assert updated.updated_at > session.updated_at
    assert updated.created_at == session.created_at


async def test_update_of_nothing_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.sessions.update("s") == session
    assert await store.sessions.update("s", expected_status="idle") == session
    with pytest.raises(StatusConflict):
        await store.sessions.update("s", expected_status="running")
    with pytest.raises(SessionNotFound):
        await store.sessions.update("gone")
    assert await store.sessions.get("s") == session


async def test_update_of_metadata_replaces_the_whole_mapping(
    store: SessionStore,
) -> None:
    made = await store.sessions.create(metadata={"a": "1", "b": "2"})
    updated = await store.sessions.update(made.id, metadata={"b": "3"})
    assert updated.metadata == {"b": "3"}
    assert await store.metadata.all(made.id) == {"b": "3"}
    titled = await store.sessions.update(made.id, title="t")
    assert titled.metadata == {"b": "3"}
    assert (await store.sessions.update(made.id, metadata={})).metadata == {}
    assert await store.sessions.count(SessionFilter(metadata_keys=["b"])) == 0


async def test_an_updated_title_is_searched(
    store: SessionStore, session: Session
) -> None:
    for title in ("first title", None, "second", "", "THIRD"):
        updated = await store.sessions.update("s", title=title)
        assert updated.title == title
        for part in ("first", "second", "third"):
            expected = int(part in (title or "").lower())
            given = SessionFilter(title_contains=part)
            assert await store.sessions.count(given) == expected
    assert await store.sessions.delete("s")
    assert await store.sessions.count(SessionFilter(title_contains="third")) == 0


async def test_update_of_metadata_leaves_the_todo(
    store: SessionStore, session: Session
) -> None:
    await store.todos.set("s", "write tests")
    updated = await store.sessions.update("s", metadata={"a": "b"})
    assert updated.metadata == {"a": "b"}
    assert await store.todos.get("s") == "write tests"


async def test_update_sets_the_active_message(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user")
    await store.messages.append("s", "assistant")
    updated = await store.sessions.update("s", active_message_id=first.id)
    assert updated.active_message_id == first.id


@pytest.mark.parametrize("status", ENDED)
async def test_ending_sets_ended_at(
    store: SessionStore, session: Session, status: str
) -> None:
    ended = await store.sessions.update("s", status=status)
    assert ended.ended_at is not None
    assert ended.ended_at >= session.created_at
    again = await store.sessions.update("s", status=status)
    assert again.ended_at == ended.ended_at


@pytest.mark.parametrize("status", NOT_ENDED)
async def test_going_on_sets_no_ended_at(
    store: SessionStore, session: Session, status: str
) -> None:
    assert (await store.sessions.update("s", status=status)).ended_at is None


@pytest.mark.parametrize("ended_at", [MOMENT, None])
@pytest.mark.parametrize("status", [*NOT_ENDED, *ENDED])
async def test_a_given_ended_at_stands(
    store: SessionStore, session: Session, status: str, ended_at: datetime | None
) -> None:
    updated = await store.sessions.update("s", status=status, ended_at=ended_at)
    assert updated.ended_at == ended_at


@pytest.mark.parametrize("status", [*NOT_ENDED, *ENDED])
async def test_a_given_ended_at_replaces_that_of_the_ending(
    store: SessionStore, session: Session, status: str
) -> None:
    await store.sessions.update("s", status=status)
    updated = await store.sessions.update("s", status=status, ended_at=MOMENT)
    assert updated.ended_at == MOMENT


@pytest.mark.parametrize("expected", ["idle", ["running", "idle"], {"idle"}], ids=str)
async def test_update_with_the_expected_status_writes(
    store: SessionStore, session: Session, expected: Any
) -> None:
    updated = await store.sessions.update("s", title="t", expected_status=expected)
    assert updated.title == "t"


@pytest.mark.parametrize(
    "expected", ["running", ["running", "failed"], SessionStatus.COMPLETED], ids=str
)
async def test_update_with_another_status_expected_writes_nothing(
    store: SessionStore, session: Session, expected: Any
) -> None:
    with pytest.raises(StatusConflict) as caught:
        await store.sessions.update(
            "s", title="t", metadata={"a": "b"}, expected_status=expected
        )
    assert (caught.value.session_id, caught.value.actual_status) == ("s", "idle")
    assert await store.sessions.get("s") == session


async def test_of_gathered_updates_that_expect_a_status_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(
            store.sessions.update(
                "s", status="running", title=f"{n}", expected_status=["idle", "failed"]
            )
            for n in range(4)
        ),
        return_exceptions=True,
    )
    assert await store.sessions.get("s") == outcomes[0]
    conflicts = [each for each in outcomes if isinstance(each, StatusConflict)]
    assert [each.actual_status for each in conflicts] == ["running"] * 3


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


@pytest.mark.parametrize(
    "wrong",
    [
        *WRONG,
        {"error": 5},
        {"ended_at": "now"},
        {"active_message_id": 5},
        {"expected_status": ["idle", "done"]},
        {"expected_status": 5},
    ],
    ids=str,
)
async def test_update_refuses_what_is_no_field_value(
    store: SessionStore, session: Session, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.sessions.update("s", **{"title": "t", **wrong})
    assert await store.sessions.get("s") == session
