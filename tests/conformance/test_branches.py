"""``store.messages``: branching the conversation, and its active message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnstore import MessageNotFound, Session, SessionNotFound, SessionStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def get(store: SessionStore, session_id: str = "s") -> Session:
    read = await store.sessions.get(session_id)
    assert read is not None
    return read


async def test_an_append_follows_the_active_message(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user")
    second = await store.messages.append("s", "assistant")
    assert (first.parent_id, second.parent_id) == (None, first.id)
    assert (await get(store)).active_message_id == second.id
    await store.messages.set_active("s", first.id)
    assert (await get(store)).active_message_id == first.id
    third = await store.messages.append("s", "assistant")
    assert third.parent_id == first.id
    await store.messages.set_active("s", None)
    assert (await get(store)).active_message_id is None
    assert (await store.messages.append("s", "user")).parent_id is None


async def test_branch_gives_root_to_message(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.branch("s") == []
    for name, parent in (
        ("a", None),
        ("b", "a"),
        ("c", "b"),
        ("b2", "a"),
        ("c2", "b2"),
        ("d", "c"),
    ):
        await store.messages.append("s", "user", id=name, parent_id=parent)

    async def branch(message_id: str | None = None) -> str:
        found = await store.messages.branch("s", message_id)
        return " ".join(each.id for each in found)

    assert await branch() == "a b c d"
    assert await branch("c2") == "a b2 c2"
    assert await branch("a") == "a"
    assert await branch("c") == "a b c"
    await store.messages.set_active("s", "b2")
    assert await branch() == "a b2"
    await store.messages.set_active("s", None)
    assert await branch() == ""
    await store.messages.append("s", "user", id="root2")
    assert await branch() == "root2"
    assert await branch("d") == "a b c d"


async def test_a_branch_stays_in_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for name in ("other", "s"):
        await store.messages.append(name, "user", name, id="a")
        await store.messages.append(name, "user", name, id="b")
    await store.messages.append("other", "user", id="c")
    found = await store.messages.branch("s", "b")
    assert [(each.session_id, each.content) for each in found] == [("s", "s")] * 2
    with pytest.raises(MessageNotFound):
        await store.messages.branch("s", "c")
    with pytest.raises(MessageNotFound):
        await store.messages.set_active("s", "c")


async def test_set_active_refuses_what_is_not_there(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", id="m")
    before = await get(store)
    with pytest.raises(MessageNotFound) as caught:
        await store.messages.set_active("s", "gone")
    assert (caught.value.session_id, caught.value.message_id) == ("s", "gone")
    with pytest.raises(MessageNotFound):
        await store.sessions.update("s", title="t", active_message_id="gone")
    with pytest.raises(SessionNotFound):
        await store.messages.set_active("gone", None)
    assert await get(store) == before


async def test_set_active_in_a_gather_follows_call_order(
    store: SessionStore, session: Session
) -> None:
    outcomes: Any = await asyncio.gather(
        store.messages.append("s", "user", id="a"),
        store.messages.append("s", "assistant", id="b"),
        store.messages.set_active("s", "a"),
        store.messages.append("s", "assistant", id="c"),
        store.messages.set_active("s", "d"),
        store.messages.append("s", "assistant", id="d"),
        store.messages.set_active("s", "b"),
        return_exceptions=True,
    )
    assert outcomes[3].parent_id == "a" and outcomes[5].parent_id == "c"
    assert isinstance(outcomes[4], MessageNotFound)
    assert (await get(store)).active_message_id == "b"
