"""What a call refuses though each of its arguments is of the right kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.contract.calls import EVERY, Call
from turnstore import (
    InvalidArgument,
    NewEvent,
    Session,
    SessionStore,
    StoreError,
)

FUTURE: Final = datetime.now(UTC) + timedelta(days=365)


# A session that is its own parent


async def test_a_session_is_not_created_as_its_own_parent(store: SessionStore) -> None:
    with pytest.raises(InvalidArgument, match="itself"):
        await store.sessions.create(id="s", parent_session_id="s")
    assert await store.sessions.get("s") is None


async def test_a_session_does_not_become_its_own_parent(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(InvalidArgument, match="itself"):
        await store.sessions.update("s", title="t", parent_session_id="s")
    for method in ("update_session", "create_session"):
        with pytest.raises(InvalidArgument, match="itself"):
            async with store.turn("s") as turn:
                getattr(turn, method)(title="t", parent_session_id="s")
    assert await store.sessions.get("s") == session


# Following from beyond the head


async def first(events: AsyncIterator[Any]) -> Any:
    return await anext(events)


@pytest.mark.parametrize(
    "follow",
    [
        lambda events: events.follow("s", after=2),
        lambda events: events.follow("s", after=999, idle_timeout_s=0),
        lambda events: events.follow_all(["s"], after={"s": 2}),
        lambda events: events.follow_all(after={"s": 2}),
    ],
)
async def test_following_from_beyond_the_head_is_refused(
    store: SessionStore, session: Session, follow: Callable[[Any], Any]
) -> None:
    await store.events.append("s", "e")
    follower = follow(store.events)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="beyond event head 1 of session 's'"):
            await anext(follower)


async def test_following_begins_at_the_head_another_store_wrote(
    store: SessionStore, second_store: SessionStore, session: Session
) -> None:
    await second_store.events.append_many("s", [NewEvent(type="e")] * 3)
    follower = store.events.follow("s", after=3)
    await second_store.events.append("s", "e")
    assert (await anext(follower)).seq == 4


# Clocks that are ahead


async def test_updated_at_does_not_go_back(
    store: SessionStore, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ahead:
        late = int(FUTURE.timestamp() * 1_000_000)
        ahead.setattr("turnstore.sql.codec.now_micros", lambda: late)
        await store.sessions.update("s", title="from the future")
    reached = await store.sessions.get("s")
    assert reached is not None and reached.updated_at.year == FUTURE.year
    await store.events.append("s", "e")
    await store.messages.append("s", "user")
    await store.tool_calls.create("s", "ls", {})
    await store.metadata.set("s", "k", "v")
    await store.todos.set("s", [])
    updated = await store.sessions.update("s", title="now")
    assert updated.updated_at == reached.updated_at


# No asyncio loop


def outside_a_loop(work: Callable[[], Any]) -> None:
    """Run the first step of a call as other loops do."""
    pending = work()
    if hasattr(pending, "send"):
        try:
            pending.send(None)
        finally:
            pending.close()


NAMES: Final = "SyncSessionStore.*SharedSessionStore"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_call_without_an_asyncio_loop_says_what_to_use(name: str) -> None:
    call: Call = EVERY[name]
    with pytest.raises(StoreError, match=NAMES):
        outside_a_loop(lambda: call(SessionStore("sqlite://")))


def test_opening_without_an_asyncio_loop_says_what_to_use() -> None:
    store = SessionStore("sqlite://")
    for call in (store.open, store.__aenter__, store.close):
        with pytest.raises(StoreError, match=NAMES):
            outside_a_loop(call)
