"""``store.sessions.fork`` at a point: what the fork's record says of what it has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from turnstore import NewEvent, NewMessage, SessionStore

TIMES: Final = [datetime(2024, 1, 1, minute=n, tzinfo=UTC) for n in range(2)]


# active_message_id


async def test_a_fork_has_its_parents_active_message_where_it_has_that_one(
    store: SessionStore,
) -> None:
    await talk(store, "abcd")
    await store.messages.set_active("p", "b")
    for at, active in [(None, "b"), (3, "b"), (2, "b"), (1, "a"), (0, None)]:
        fork = await store.sessions.fork("p", at_message_seq=at)
        assert fork.active_message_id == active


async def test_a_fork_of_a_fork_has_an_active_message_that_the_first_shows(
    store: SessionStore,
) -> None:
    await talk(store, "abcd")
    await store.sessions.fork("p", at_message_seq=3, new_id="f")
    for name in "xy":
        await store.messages.append("f", "user", id=name)
    for active, at, expected in [
        ("a", 4, "a"),
        ("c", 3, "c"),
        ("c", 2, "b"),
        ("x", 4, "x"),
        ("y", 4, "x"),
    ]:
        await store.messages.set_active("f", active)
        fork = await store.sessions.fork("f", at_message_seq=at)
        assert fork.active_message_id == expected


async def test_a_fork_without_its_parents_active_message_has_no_summary_active(
    store: SessionStore,
) -> None:
    await talk(store, "ab")
    await store.messages.compact("p", "so far", preserve=1)
    await store.messages.append("p", "user", id="c")
    fork = await store.sessions.fork("p", at_message_seq=3)
    assert fork.active_message_id == "b"


# last_model


@pytest.mark.parametrize(
    ("at_message", "at_event", "expected"),
    [
        (None, None, "third"),
        (None, 3, "third"),
        (None, 2, "second"),
        (2, None, "third"),
        (2, 2, "first"),
        (1, 2, "first"),
        (0, 3, "third"),
        (0, 2, None),
        (0, 0, None),
    ],
)
@pytest.mark.parametrize("is_shown", [True, False])
async def test_last_model_of_a_fork_is_one_that_it_has(
    store: SessionStore,
    at_message: int | None,
    at_event: int | None,
    expected: str | None,
    is_shown: bool,
) -> None:
    await store.sessions.create(id="p")
    for model in ("first", None, "second"):
        await store.messages.append("p", "assistant", model=model)
    await store.events.append_many("p", [NewEvent(type="e")] * 2)
    await store.sessions.fork("p", new_id="f")
    if not is_shown:
        await store.sessions.delete("p")  # so that the fork has rows of its own
    await store.events.append("f", "e", model="third")
    fork = await store.sessions.fork(
        "f", at_message_seq=at_message, at_event_seq=at_event
    )
    assert fork.last_model == expected


@pytest.mark.parametrize("named_by", ["messages", "events"])
async def test_last_model_of_a_fork_is_found_behind_many_that_name_none(
    store: SessionStore, named_by: str
) -> None:
    await store.sessions.create(id="p")
    if named_by == "messages":
        await store.messages.append("p", "assistant", model="m")
    else:
        await store.events.append("p", "e", model="m")
    await store.messages.append_many("p", [NewMessage(role="user")] * 1_500)
    await store.events.append_many("p", [NewEvent(type="e")] * 2_500)
    head = await store.events.head("p")
    await store.events.append("p", "e", model="last")
    fork = await store.sessions.fork("p", at_event_seq=head)
    assert fork.last_model == "m"


@pytest.mark.parametrize(
    ("of_message", "of_event", "expected"),
    [(0, 0, "event"), (1, 0, "message"), (0, 1, "event")],
)
async def test_last_model_of_a_fork_is_the_newest_by_time(
    store: SessionStore, of_message: int, of_event: int, expected: str
) -> None:
    await store.sessions.create(id="p")
    await store.messages.append(
        "p", "assistant", model="message", created_at=TIMES[of_message]
    )
    await store.events.append("p", "e", model="event", created_at=TIMES[of_event])
    await store.events.append("p", "e", model="last")
    fork = await store.sessions.fork("p", at_event_seq=1)
    assert fork.last_model == expected


async def test_last_model_of_a_fork_is_not_named_by_what_was_deleted(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="p")
    for model in ("deleted", None, "last"):
        await store.events.append("p", "e", model=model)
    await store.events.delete_before("p", 2)
    fork = await store.sessions.fork("p", at_event_seq=2)
    assert fork.last_model is None


async def talk(store: SessionStore, names: str) -> None:
    """A session "p" with a message of each name."""
    await store.sessions.create(id="p")
    for name in names:
        await store.messages.append("p", "user", id=name)
