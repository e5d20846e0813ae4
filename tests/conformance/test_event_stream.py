"""``store.events.stream``: reading a log page by page while it changes."""

from __future__ import annotations

import pytest

from turnstore import NewEvent, Session, SessionNotFound, SessionStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def fill(store: SessionStore, count: int) -> None:
    new = [NewEvent(type=f"t{n % 3}", data=n) for n in range(1, count + 1)]
    await store.events.append_many("s", new)


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 6, 500])
async def test_stream_gives_everything_once(
    store: SessionStore, session: Session, page_size: int
) -> None:
    await fill(store, 6)
    read = [each async for each in store.events.stream("s", page_size=page_size)]
    assert read == await store.events.list("s")
    rest = [each.seq async for each in store.events.stream("s", after=4)]
    assert rest == [5, 6]


async def test_stream_sees_what_is_appended_between_pages(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 4)
    stream = store.events.stream("s", page_size=2)
    seen = [(await anext(stream)).data for _ in range(2)]
    await store.events.append("s", "e", "new")
    await store.events.delete_before("s", 4)
    seen += [each.data async for each in stream]
    assert seen == [1, 2, 4, "new"]


async def test_stream_of_a_session_deleted_meanwhile(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 4)
    stream = store.events.stream("s", page_size=2)
    assert (await anext(stream)).data == 1
    await store.sessions.delete("s")
    assert (await anext(stream)).data == 2
    with pytest.raises(SessionNotFound):
        await anext(stream)


async def test_an_abandoned_stream_holds_nothing(
    store: SessionStore, session: Session
) -> None:
    await fill(store, 4)
    streams = [store.events.stream("s", page_size=1) for _ in range(10)]
    for stream in streams:
        await anext(stream)
    assert await store.events.append("s", "e") == 5
    assert await store.sessions.delete("s")
