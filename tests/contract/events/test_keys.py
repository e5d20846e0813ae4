"""``store.events``: idempotency keys and expected heads of what is appended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.events.logs import data, fill
from tests.contract.ways import OpenStore
from turnstore import NewEvent, SequenceConflict, Session, SessionStore

# Idempotency keys


async def test_a_repeated_key_returns_the_first_seq_and_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1)
    assert await store.events.append("s", "e", 2, idempotency_key="k") == 2
    await store.events.append("s", "e", 3)
    before = await store.sessions.get("s")
    again = await store.events.append("s", "other", 4, model="m", idempotency_key="k")
    assert again == 2
    assert await store.sessions.get("s") == before
    assert await data(store) == [1, 2, 3]


async def test_of_gathered_events_with_one_key_the_first_is_written(
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


async def test_an_events_key_belongs_to_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.events.append("s", "e", 1, idempotency_key="k")
    await store.events.append("other", "e", 2, idempotency_key="k")
    assert await data(store) == [1]
    assert [each.data for each in await store.events.list("other")] == [2]


async def test_an_events_key_is_not_one_of_a_message(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", idempotency_key="k")
    message = await store.messages.append("s", "user", "new", idempotency_key="k")
    assert (message.seq, message.content) == (1, "new")


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
    with pytest.raises(SequenceConflict):
        await store.events.append_many("s", [NewEvent(type="e")], expected_head=wrong)
    assert await store.sessions.get("s") == before
    assert await store.events.append("s", "e", expected_head=3) == 4


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


# Several stores on one database


async def test_a_key_of_one_store_is_known_to_another(open_shared: OpenStore) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    assert await first.events.append("s", "e", 1, idempotency_key="k") == 1
    assert await second.events.append("s", "e", 2, idempotency_key="k") == 1
    assert await data(second) == [1]
