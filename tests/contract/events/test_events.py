"""``store.events``: appending, reading and deleting the log of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    NewEvent,
    PayloadInvalid,
    SequenceConflict,
    Session,
    SessionStore,
)

MOMENT: Final = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)

WRONG: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "empty type": lambda room: room.append("s", ""),
    "type": lambda room: room.append("s", 5),
    "model": lambda room: room.append("s", "e", model=5),
    "naive time": lambda room: room.append("s", "e", created_at=datetime(2024, 1, 1)),
    "empty key": lambda room: room.append("s", "e", idempotency_key=""),
    "long key": lambda room: room.append("s", "e", idempotency_key="k" * 256),
    "expected head": lambda room: room.append("s", "e", expected_head=-1),
    "several": lambda room: room.append_many("s", 5),
    "no record": lambda room: room.append_many("s", [{"type": "e"}]),
    "after": lambda room: room.list("s", after=-1),
    "limit": lambda room: room.list("s", limit=0),
    "types": lambda room: room.list("s", types="e"),
    "page size": lambda room: anext(room.stream("s", page_size=0)),
    "seq": lambda room: room.delete_before("s", -1),
}


async def fill(store: SessionStore, count: int) -> None:
    """Append events with their ``seq`` as data, of types t0, t1 and t2 in turn."""
    new = [NewEvent(type=f"t{n % 3}", data=n) for n in range(1, count + 1)]
    assert await store.events.append_many("s", new) == [*range(1, count + 1)]


async def data(store: SessionStore, **where: Any) -> list[Any]:
    return [each.data for each in await store.events.list("s", **where)]


# append


async def test_an_event_by_default_has_no_data_and_a_time(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e")
    [event] = await store.events.list("s")
    assert (event.data, event.model, event.turn_id) == (None, None, None)
    assert event.created_at >= session.created_at


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("sessions", [1, 2])
async def test_an_empty_text_is_not_none(
    store: SessionStore, session: Session, count: int, sessions: int
) -> None:
    names = ["s", "t"][:sessions]
    await store.sessions.create(id="t")
    given = NewEvent(type="e", data="", model="", turn_id="")
    for _ in range(3):
        await asyncio.gather(
            *(store.events.append_many(name, [given] * count) for name in names)
        )
        await store.events.append("s", "e", "", model="", turn_id="")
    for name in names:
        events = await store.events.list(name)
        assert len(events) == 3 * (count + (name == "s"))
        texts = {(each.data, each.model, each.turn_id) for each in events}
        assert texts == {("", "", "")}
        found = await store.sessions.get(name)
        assert found is not None and found.last_model == ""


async def test_append_moves_the_event_head_and_updated_at(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", created_at=MOMENT)
    found = await store.sessions.get("s")
    assert found is not None
    assert found.event_head == 1
    assert found.updated_at > session.updated_at


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
async def test_events_refuse_arguments_out_of_bounds(
    store: SessionStore, session: Session, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await call(store.events)
    assert await store.sessions.get("s") == session


# Idempotency keys


async def test_a_repeated_key_returns_the_first_seq_and_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1)
    assert await store.events.append("s", "e", 2, idempotency_key="k") == 2
    await store.events.append("s", "e", 3)
    before = await store.sessions.get("s")
    again = await store.events.append("s", "other", 4, idempotency_key="k")
    assert again == 2
    assert await store.sessions.get("s") == before
    assert await data(store) == [1, 2, 3]


async def test_of_gathered_events_with_one_key_the_first_is_written(
    store: SessionStore, session: Session
) -> None:
    seqs = await asyncio.gather(
        *(store.events.append("s", "e", n, idempotency_key="k") for n in range(4))
    )
    assert seqs == [1, 1, 1, 1]
    assert await data(store) == [0]


async def test_an_events_key_belongs_to_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.events.append("s", "e", 1, idempotency_key="k")
    await store.events.append("other", "e", 2, idempotency_key="k")
    assert await data(store) == [1]
    assert [each.data for each in await store.events.list("other")] == [2]


async def test_an_events_key_outlives_delete_before(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", idempotency_key="k")
    assert await store.events.delete_before("s", 2) == 1
    assert await store.events.append("s", "e", idempotency_key="k") == 1
    assert await data(store) == []


async def test_a_replay_wins_over_expected_head(
    store: SessionStore, session: Session
) -> None:
    first = await store.events.append("s", "e", idempotency_key="k", expected_head=0)
    again = await store.events.append("s", "e", idempotency_key="k", expected_head=0)
    assert (first, again) == (1, 1)


async def test_the_key_of_a_refused_event_is_still_unused(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(SequenceConflict):
        await store.events.append("s", "e", 1, idempotency_key="k", expected_head=5)
    assert await store.events.append("s", "e", 2, idempotency_key="k") == 1
    assert await data(store) == [2]


# Expected head


@pytest.mark.parametrize("wrong", [0, 2, 4])
async def test_an_event_with_another_head_expected_writes_nothing(
    store: SessionStore, session: Session, wrong: int
) -> None:
    await fill(store, 3)
    before = await store.sessions.get("s")
    with pytest.raises(SequenceConflict) as caught:
        await store.events.append("s", "e", model="m", expected_head=wrong)
    assert (caught.value.session_id, caught.value.actual_head) == ("s", 3)
    assert await store.sessions.get("s") == before


async def test_the_expected_head_is_that_of_append_many_too(
    store: SessionStore, session: Session
) -> None:
    new = [NewEvent(type="e"), NewEvent(type="e")]
    assert await store.events.append_many("s", new, expected_head=0) == [1, 2]
    with pytest.raises(SequenceConflict) as caught:
        await store.events.append_many("s", new, expected_head=1)
    assert caught.value.actual_head == 2
    assert await store.events.head("s") == 2


async def test_of_gathered_events_that_expect_a_head_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.events.append("s", "e", n, expected_head=0) for n in range(4)),
        return_exceptions=True,
    )
    assert outcomes[0] == 1
    heads = [getattr(each, "actual_head", None) for each in outcomes[1:]]
    assert heads == [1, 1, 1]
    assert await data(store) == [0]


# append_many


async def test_append_many_events_returns_consecutive_seqs(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1)
    new = [NewEvent(type="e", data=n, model="m", turn_id="t") for n in (2, 3)]
    assert await store.events.append_many("s", new) == [2, 3]
    assert await data(store) == [1, 2, 3]
    [*_, last] = await store.events.list("s")
    assert (last.model, last.turn_id) == ("m", "t")


async def test_append_many_events_is_all_or_nothing(
    store: SessionStore, session: Session
) -> None:
    good = NewEvent(type="e")
    with pytest.raises(PayloadInvalid):
        await store.events.append_many(
            "s", [good, NewEvent(type="e", data={1: 2}), good]
        )
    assert await store.sessions.get("s") == session


async def test_append_many_of_no_events_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.events.append_many("s", []) == []
    assert await store.sessions.get("s") == session


# Reading


async def test_events_are_listed_by_seq_not_by_time(
    store: SessionStore, session: Session
) -> None:
    for n in (3, 1, 2):
        moment = MOMENT.replace(year=2000 + n)
        await store.events.append("s", "e", n, created_at=moment)
    assert await data(store) == [3, 1, 2]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"after": 0}, [1, 2, 3, 4, 5, 6]),
        ({"after": 4}, [5, 6]),
        ({"after": 6}, []),
        ({"after": 99}, []),
        ({"limit": 2}, [1, 2]),
        ({"after": 1, "limit": 3}, [2, 3, 4]),
        ({"types": ["t0"]}, [3, 6]),
        ({"types": ["t0", "t1"], "limit": 3}, [1, 3, 4]),
        ({"types": ["t1"], "after": 1}, [4]),
        ({"types": []}, []),
        ({"types": ["none"]}, []),
    ],
    ids=str,
)
async def test_events_after_a_seq_of_types_up_to_a_limit(
    store: SessionStore,
    session: Session,
    where: dict[str, Any],
    expected: list[int],
) -> None:
    await fill(store, 6)
    assert await data(store, **where) == expected


async def test_a_long_log_is_listed_whole(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 5_000)
    assert await data(store) == [*range(1, 5_001)]
    assert await data(store, after=500, limit=2_500) == [*range(501, 3_001)]


@pytest.mark.parametrize("page_size", [1, 2, 3, 6, 7, 500])
async def test_stream_gives_each_event_once_whatever_the_page(
    store: SessionStore, session: Session, page_size: int
) -> None:
    await fill(store, 6)
    found = [each async for each in store.events.stream("s", page_size=page_size)]
    assert found == await store.events.list("s")


async def test_stream_sees_what_is_appended_between_pages(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 4)
    stream = store.events.stream("s", page_size=2)
    found = [(await anext(stream)).data for _ in range(2)]
    await store.events.append("s", "e", "new")
    found += [each.data async for each in stream]
    assert found == [1, 2, 3, 4, "new"]


async def test_stream_begins_after_a_seq(store: SessionStore, session: Session) -> None:
    await fill(store, 6)
    found = [each.seq async for each in store.events.stream("s", after=4)]
    assert found == [5, 6]


# head, delete_before


async def test_head_is_0_before_the_first_event(
    store: SessionStore, session: Session
) -> None:
    assert await store.events.head("s") == 0
    await fill(store, 3)
    assert await store.events.head("s") == 3


@pytest.mark.parametrize(
    ("seq", "deleted"), [(0, 0), (1, 0), (3, 2), (5, 4), (6, 5), (99, 5)]
)
async def test_delete_before_excludes_the_given_seq(
    store: SessionStore, session: Session, seq: int, deleted: int
) -> None:
    await fill(store, 5)
    assert await store.events.delete_before("s", seq) == deleted
    assert await data(store) == [*range(deleted + 1, 6)]


async def test_delete_before_leaves_the_head_and_its_numbers(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3)
    await store.events.delete_before("s", 99)
    assert await store.events.head("s") == 3
    assert await store.events.append("s", "e", expected_head=3) == 4


async def test_delete_before_leaves_other_sessions(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 2)
    await store.sessions.create(id="other")
    assert await store.events.delete_before("other", 99) == 0
    assert await data(store) == [1, 2]


# Several stores on one database


async def test_a_key_of_one_store_is_known_to_another(open_shared: OpenStore) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    assert await first.events.append("s", "e", 1, idempotency_key="k") == 1
    assert await second.events.append("s", "e", 2, idempotency_key="k") == 1
    assert await data(second) == [1]
