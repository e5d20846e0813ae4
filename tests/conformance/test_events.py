"""``store.events``: appending, reading and deleting each session's log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest

from turnstore import (
    Event,
    InvalidArgument,
    NewEvent,
    PayloadInvalid,
    SequenceConflict,
    Session,
    SessionNotFound,
    SessionStore,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def data(store: SessionStore, **where: Any) -> list[Any]:
    return [each.data for each in await store.events.list("s", **where)]


async def fill(store: SessionStore, count: int) -> None:
    new = [NewEvent(type=f"t{n % 3}", data=n) for n in range(1, count + 1)]
    await store.events.append_many("s", new)


async def test_append_returns_the_seq_and_keeps_every_field(
    store: SessionStore, session: Session
) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
    seq = await store.events.append(
        "s",
        "message.complete",
        {"text": "…"},
        model="m",
        turn_id="t",
        created_at=moment,
    )
    assert seq == 1
    assert await store.events.list("s") == [
        Event(
            session_id="s",
            seq=1,
            type="message.complete",
            data={"text": "…"},
            model="m",
            turn_id="t",
            created_at=moment,
        )
    ]


async def test_an_event_without_a_time_gets_that_of_the_commit(
    store: SessionStore, session: Session
) -> None:
    before = datetime.now(UTC)
    await store.events.append("s", "e")
    [event] = await store.events.list("s")
    assert before <= event.created_at <= datetime.now(UTC)
    assert (event.data, event.model, event.turn_id) == (None, None, None)


async def test_append_moves_updated_at(store: SessionStore, session: Session) -> None:
    await store.events.append("s", "e", created_at=datetime(1999, 1, 1, tzinfo=UTC))
    read = await store.sessions.get("s")
    assert read is not None
    assert read.updated_at > session.updated_at
    assert read.event_head == 1


async def test_append_to_an_unknown_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound) as caught:
        await store.events.append("s", "e")
    assert caught.value.session_id == "s"
    with pytest.raises(SessionNotFound):
        await store.events.append_many("s", [])


# Idempotency keys


async def test_a_repeated_key_returns_the_first_seq_and_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 0)
    assert await store.events.append("s", "e", 1, idempotency_key="k") == 2
    before = await store.sessions.get("s")
    again = await store.events.append("s", "other", 2, model="m", idempotency_key="k")
    assert again == 2
    assert await store.sessions.get("s") == before
    assert await data(store) == [0, 1]


async def test_a_replay_wins_over_expected_head(
    store: SessionStore, session: Session
) -> None:
    first = await store.events.append("s", "e", idempotency_key="k", expected_head=0)
    again = await store.events.append("s", "e", idempotency_key="k", expected_head=0)
    assert (first, again) == (1, 1)


async def test_a_key_belongs_to_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.events.append("other", "e")
    assert await store.events.append("s", "e", idempotency_key="k") == 1
    assert await store.events.append("other", "e", idempotency_key="k") == 2


async def test_a_key_of_an_event_is_not_one_of_a_message(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", idempotency_key="k")
    message = await store.messages.append("s", "user", "new", idempotency_key="k")
    assert (message.seq, message.content) == (1, "new")


async def test_a_key_outlives_delete_before(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", idempotency_key="k")
    assert await store.events.delete_before("s", 2) == 1
    assert await store.events.append("s", "e", idempotency_key="k") == 1
    assert await data(store) == []


async def test_a_key_within_one_gather_is_written_once(
    store: SessionStore, session: Session
) -> None:
    seqs: Any = await asyncio.gather(
        store.events.append("s", "e", "first", idempotency_key="k"),
        store.events.append("s", "e", "other"),
        store.events.append("s", "e", "again", idempotency_key="k"),
        store.events.append("s", "e", "again", idempotency_key="k", expected_head=9),
        store.events.append("s", "e", "last", idempotency_key="K"),
    )
    assert seqs == [1, 2, 1, 1, 3]
    assert await data(store) == ["first", "other", "last"]


async def test_a_key_of_a_refused_append_is_still_unused(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(SequenceConflict):
        await store.events.append("s", "e", 0, idempotency_key="k", expected_head=5)
    assert await store.events.append("s", "e", 1, idempotency_key="k") == 1
    assert await data(store) == [1]


# Expected head


async def test_expected_head_conflicts_carry_the_actual_head(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3)
    before = await store.sessions.get("s")
    for wrong in (0, 2, 4):
        with pytest.raises(SequenceConflict) as caught:
            await store.events.append("s", "e", model="m", expected_head=wrong)
        assert (caught.value.session_id, caught.value.actual_head) == ("s", 3)
        with pytest.raises(SequenceConflict):
            await store.events.append_many(
                "s", [NewEvent(type="e")], expected_head=wrong
            )
    assert await store.sessions.get("s") == before
    assert await store.events.append("s", "e", expected_head=3) == 4


async def test_of_gathered_appends_with_one_expected_head_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.events.append("s", "e", n, expected_head=0) for n in range(5)),
        return_exceptions=True,
    )
    assert outcomes[0] == 1
    actual = [getattr(each, "actual_head", None) for each in outcomes[1:]]
    assert actual == [1, 1, 1, 1]
    assert await data(store) == [0]


async def test_expected_head_counts_deleted_events(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3)
    await store.events.delete_before("s", 4)
    assert await store.events.append("s", "e", expected_head=3) == 4


# append_many


async def test_append_many_returns_consecutive_seqs(
    store: SessionStore, session: Session
) -> None:
    outcomes: Any = await asyncio.gather(
        store.events.append("s", "e", "a"),
        store.events.append_many(
            "s", [NewEvent(type="x", data=n, model="m", turn_id="t") for n in range(3)]
        ),
        store.events.append("s", "e", "b"),
    )
    assert outcomes == [1, [2, 3, 4], 5]
    assert await data(store) == ["a", 0, 1, 2, "b"]


async def test_append_many_is_all_or_nothing(
    store: SessionStore, session: Session
) -> None:
    good = NewEvent(type="e")
    before = await store.sessions.get("s")
    for wrong in (
        NewEvent(type=""),
        NewEvent(type="e", created_at=datetime(2024, 1, 1)),
    ):
        with pytest.raises(InvalidArgument):
            await store.events.append_many("s", [good, wrong, good])
    with pytest.raises(PayloadInvalid):
        await store.events.append_many("s", [good, NewEvent(type="e", data={1: 2})])
    assert await store.sessions.get("s") == before
    assert await data(store) == []


async def test_append_many_of_none_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.events.append_many("s", []) == []
    assert await store.sessions.get("s") == session


async def test_append_many_of_an_iterator_loses_nothing(
    store: SessionStore, session: Session
) -> None:
    new: Any = iter([NewEvent(type="e"), NewEvent(type="e")])
    try:
        assert await store.events.append_many("s", new) == [1, 2]
    except InvalidArgument:
        assert await store.events.head("s") == 0


# Reading


async def test_list_after_is_exclusive_and_0_is_from_the_start(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 5)
    assert await data(store, after=0) == [1, 2, 3, 4, 5]
    assert await data(store, after=3) == [4, 5]
    assert await data(store, after=5) == []
    assert await data(store, after=2**63 - 1) == []
    assert await data(store, limit=2) == [1, 2]
    assert await data(store, after=1, limit=3) == [2, 3, 4]


async def test_list_by_types(store: SessionStore, session: Session) -> None:
    await fill(store, 7)
    assert await data(store, types=["t0"]) == [3, 6]
    assert await data(store, types={"t0", "t1"}, limit=3) == [1, 3, 4]
    assert await data(store, types=["t1"], after=1) == [4, 7]
    assert await data(store, types=[]) == []
    assert await data(store, types=["unknown"]) == []


async def test_long_lists_are_read_whole(store: SessionStore, session: Session) -> None:
    await fill(store, 3_500)
    await store.events.append("s", "big", "x" * 3_000_000)
    await fill(store, 1_500)
    assert [each.seq for each in await store.events.list("s")] == [*range(1, 5_002)]
    some = await store.events.list("s", after=500, limit=2_500)
    assert [each.seq for each in some] == [*range(501, 3_001)]
    of_one_type = await store.events.list("s", types=["t0"], limit=1_600)
    assert len(of_one_type) == 1_600
    assert {each.type for each in of_one_type} == {"t0"}


async def test_head_is_the_last_seq_ever_given(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3)
    assert await store.events.head("s") == 3
    await store.events.delete_before("s", 99)
    assert await store.events.head("s") == 3


async def test_reads_of_an_unknown_session(store: SessionStore) -> None:
    reads: list[Awaitable[Any]] = [
        store.events.list("s"),
        store.events.list("s", types=[]),
        store.events.head("s"),
        store.events.delete_before("s", 1),
        anext(store.events.stream("s")),
    ]
    for read in reads:
        with pytest.raises(SessionNotFound):
            await read


async def test_arguments_out_of_bounds(store: SessionStore, session: Session) -> None:
    anything: Any = store.events
    calls: list[Awaitable[Any]] = [
        anything.list("s", after=-1),
        anything.list("s", after=1.0),
        anything.list("s", after=2**63),
        anything.list("s", limit=0),
        anything.list("s", limit=True),
        anything.list("s", types="text"),
        anything.list("s", types=[1]),
        anything.list("s", types=5),
        anything.append("s", "e", expected_head=-1),
        anything.append("s", "e", expected_head="0"),
        anything.append("s", "e", model=1),
        anything.append("s", "x" * 256),
        anything.append_many("s", [{"type": "e"}]),
        anything.append_many("s", "text"),
        anything.delete_before("s", -1),
        anext(anything.stream("s", page_size=0)),
        anext(anything.stream("s", page_size=10_001)),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    others = [each for each in outcomes if type(each) is not InvalidArgument]
    assert others == []
    assert await store.sessions.get("s") == session


# delete_before


async def test_delete_before_excludes_the_given_seq(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 5)
    assert await store.events.delete_before("s", 0) == 0
    assert await store.events.delete_before("s", 1) == 0
    assert await store.events.delete_before("s", 3) == 2
    assert await store.events.delete_before("s", 3) == 0
    assert await data(store) == [3, 4, 5]


async def test_numbers_are_never_used_again(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 3)
    assert await store.events.delete_before("s", 2**63 - 1) == 3
    assert await store.events.append("s", "e") == 4


async def test_delete_before_leaves_other_sessions_alone(
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
        read = await store.sessions.get("s")
        assert read is not None
        return read.last_model

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
