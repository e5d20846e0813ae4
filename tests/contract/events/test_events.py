"""``store.events``: appending, reading and deleting the log of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.contract.events.logs import data, fill
from turnstore import (
    InvalidArgument,
    NewEvent,
    PayloadInvalid,
    Session,
    SessionStore,
)

MOMENT: Final = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)

WRONG: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "empty type": lambda room: room.append("s", ""),
    "type": lambda room: room.append("s", 5),
    "long type": lambda room: room.append("s", "x" * 256),
    "model": lambda room: room.append("s", "e", model=5),
    "naive time": lambda room: room.append("s", "e", created_at=datetime(2024, 1, 1)),
    "empty key": lambda room: room.append("s", "e", idempotency_key=""),
    "long key": lambda room: room.append("s", "e", idempotency_key="k" * 256),
    "expected head": lambda room: room.append("s", "e", expected_head=-1),
    "expected text": lambda room: room.append("s", "e", expected_head="0"),
    "several": lambda room: room.append_many("s", 5),
    "text": lambda room: room.append_many("s", "text"),
    "no record": lambda room: room.append_many("s", [{"type": "e"}]),
    "after": lambda room: room.list("s", after=-1),
    "fraction": lambda room: room.list("s", after=1.0),
    "limit": lambda room: room.list("s", limit=0),
    "limit of bool": lambda room: room.list("s", limit=True),
    "types": lambda room: room.list("s", types="e"),
    "types of int": lambda room: room.list("s", types=[1]),
    "no types": lambda room: room.list("s", types=5),
    "page size": lambda room: anext(room.stream("s", page_size=0)),
    "large page": lambda room: anext(room.stream("s", page_size=10_001)),
    "seq": lambda room: room.delete_before("s", -1),
}


# append


async def test_an_event_by_default_has_no_data_and_a_time(
    store: SessionStore, session: Session
) -> None:
    before = datetime.now(UTC)
    await store.events.append("s", "e")
    [event] = await store.events.list("s")
    assert (event.data, event.model, event.turn_id) == (None, None, None)
    assert before <= event.created_at <= datetime.now(UTC)
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


async def test_gathered_append_many_events_keeps_call_order(
    store: SessionStore, session: Session
) -> None:
    outcomes: Any = await asyncio.gather(
        store.events.append("s", "e", "a"),
        store.events.append_many("s", [NewEvent(type="e", data=n) for n in range(3)]),
        store.events.append("s", "e", "b"),
    )
    assert outcomes == [1, [2, 3, 4], 5]
    assert await data(store) == ["a", 0, 1, 2, "b"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (NewEvent(type="e", data={1: 2}), PayloadInvalid),
        (NewEvent(type=""), InvalidArgument),
        (NewEvent(type="e", created_at=datetime(2024, 1, 1)), InvalidArgument),
    ],
    ids=["data", "type", "time"],
)
async def test_append_many_events_is_all_or_nothing(
    store: SessionStore, session: Session, wrong: NewEvent, error: type[Exception]
) -> None:
    good = NewEvent(type="e")
    with pytest.raises(error):
        await store.events.append_many("s", [good, wrong, good])
    assert await store.sessions.get("s") == session
    assert await data(store) == []


async def test_append_many_of_an_iterator_of_events_loses_none(
    store: SessionStore, session: Session
) -> None:
    new: Any = iter([NewEvent(type="e"), NewEvent(type="e")])
    try:
        assert await store.events.append_many("s", new) == [1, 2]
    except InvalidArgument:
        assert await store.events.head("s") == 0


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


async def test_types_may_be_a_set(store: SessionStore, session: Session) -> None:
    await fill(store, 6)
    assert await data(store, types={"t0", "t1"}, limit=3) == [1, 3, 4]


async def test_a_long_log_is_listed_whole(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3_500)
    await store.events.append("s", "big", "x" * 3_000_000)
    await fill(store, 1_500)
    assert [each.seq for each in await store.events.list("s")] == [*range(1, 5_002)]
    some = await store.events.list("s", after=500, limit=2_500)
    assert [each.seq for each in some] == [*range(501, 3_001)]
    of_one_type = await store.events.list("s", types=["t0"], limit=1_600)
    assert len(of_one_type) == 1_600
    assert {each.type for each in of_one_type} == {"t0"}


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
    ("seq", "deleted"),
    [(0, 0), (1, 0), (3, 2), (5, 4), (6, 5), (99, 5), (2**63 - 1, 5)],
)
async def test_delete_before_excludes_the_given_seq(
    store: SessionStore, session: Session, seq: int, deleted: int
) -> None:
    await fill(store, 5)
    assert await store.events.delete_before("s", seq) == deleted
    assert await store.events.delete_before("s", seq) == 0
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


async def test_gathered_delete_before_keeps_call_order(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.events.append("other", "e")
    await fill(store, 2)
    outcomes: Any = await asyncio.gather(
        store.events.append("s", "e", "late"),
        store.events.delete_before("s", 4),
        store.events.append("s", "e", "kept"),
        store.events.delete_before("s", 4),
    )
    assert outcomes == [3, 3, 4, 0]
    assert await data(store) == ["kept"]
    assert len(await store.events.list("other")) == 1


# last_model


async def test_last_model_is_that_of_the_newest_event_or_message_that_names_one(
    store: SessionStore, session: Session
) -> None:
    async def last_model() -> str | None:
        found = await store.sessions.get("s")
        assert found is not None
        return found.last_model

    assert await last_model() is None
    await store.events.append("s", "e", model="a")
    assert await last_model() == "a"
    await store.messages.append("s", "assistant", model="b")
    assert await last_model() == "b"
    await store.events.append("s", "e")
    await store.messages.append("s", "user")
    assert await last_model() == "b"
    await asyncio.gather(
        store.events.append("s", "e", model="c"),
        store.messages.append("s", "assistant", model="d"),
        store.events.append_many(
            "s", [NewEvent(type="e", model="e"), NewEvent(type="e", model="f")]
        ),
        store.events.append("s", "e", model="g", expected_head=99),
        return_exceptions=True,
    )
    assert await last_model() == "f"
    await asyncio.gather(
        store.messages.append("s", "assistant", model="h"),
        store.events.append("s", "e", model="f"),
        store.messages.append("s", "assistant", model="f"),
        store.messages.append("s", "assistant", model="i"),
        store.events.append("s", "e", model="h"),
    )
    assert await last_model() == "h"
