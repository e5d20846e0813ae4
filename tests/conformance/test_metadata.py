"""``store.metadata`` and ``store.todos``: small things that a session carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    StoreOptions,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s", metadata={"first": "1"})


async def read(store: SessionStore) -> Session:
    found = await store.sessions.get("s")
    assert found is not None
    return found


# Metadata


async def test_set_keeps_the_other_pairs(store: SessionStore, session: Session) -> None:
    await store.metadata.set("s", "second", "2")
    await store.metadata.set("s", "first", "one")
    expected = {"first": "one", "second": "2"}
    assert await store.metadata.all("s") == expected
    assert (await read(store)).metadata == expected
    assert await store.metadata.get("s", "first") == "one"


async def test_all_is_in_order_of_keys(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    for key in ["b", "ä", "a", "B", "😀", "10", "9"]:
        await store.metadata.set("s", key, "")
    assert list(await store.metadata.all("s")) == ["10", "9", "B", "a", "b", "ä", "😀"]


async def test_delete_tells_whether_there_was_one(
    store: SessionStore, session: Session
) -> None:
    assert await store.metadata.delete("s", "first") is True
    assert await store.metadata.delete("s", "first") is False
    assert await store.metadata.all("s") == {}


async def test_listing_finds_what_was_set(
    store: SessionStore, session: Session
) -> None:
    for number in range(3):
        await store.sessions.create(id=f"s{number}")
        await store.metadata.set(f"s{number}", "k", "v")
    await store.metadata.set("s1", "k", "other")
    page = await store.sessions.list(SessionFilter(metadata={"k": "v"}))
    assert [each.id for each in page.items] == ["s2", "s0"]
    page = await store.sessions.list(SessionFilter(metadata_keys=["k"]))
    assert [each.id for each in page.items] == ["s2", "s1", "s0"]


@pytest.mark.parametrize("value", ["", "a\x00b", '"', "null", "é😀\n", "x" * 100_000])
async def test_any_text_comes_back(
    store: SessionStore, session: Session, value: str
) -> None:
    await store.metadata.set("s", "k", value)
    assert await store.metadata.get("s", "k") == value


async def test_only_what_changes_touches_the_session(
    store: SessionStore, session: Session
) -> None:
    await store.metadata.delete("s", "none")
    assert (await read(store)).updated_at == session.updated_at
    await store.metadata.set("s", "k", "v")
    after_set = await read(store)
    assert after_set.updated_at > session.updated_at
    await store.metadata.delete("s", "k")
    assert (await read(store)).updated_at > after_set.updated_at


async def test_gathered_calls_keep_their_order(store: SessionStore) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
    found = await asyncio.gather(
        store.metadata.set("a", "k", "1"),
        store.metadata.set("b", "k", "1"),
        store.metadata.set("a", "k", "2"),
        store.metadata.delete("b", "k"),
        store.metadata.delete("b", "k"),
        store.metadata.set("b", "j", "3"),
        store.metadata.delete("a", "j"),
    )
    assert found == [None, None, None, True, False, None, False]
    assert await store.metadata.all("a") == {"k": "2"}
    assert await store.metadata.all("b") == {"j": "3"}


async def test_an_unknown_session_has_nothing_and_takes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.metadata.get("none", "k") is None
    found = await asyncio.gather(
        store.metadata.set("none", "k", "v"),
        store.metadata.delete("none", "k"),
        store.metadata.all("none"),
        store.metadata.set("s", "k", "v"),
        return_exceptions=True,
    )
    assert [type(each) for each in found[:3]] == [SessionNotFound] * 3
    assert await store.metadata.get("s", "k") == "v"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00", "\ud800", 5, None])
async def test_a_wrong_key_is_refused(
    store: SessionStore, session: Session, key: Any
) -> None:
    for call in (
        store.metadata.set("s", key, "v"),
        store.metadata.get("s", key),
        store.metadata.delete("s", key),
    ):
        with pytest.raises(InvalidArgument):
            await call
    assert await store.metadata.all("s") == {"first": "1"}


async def test_a_wrong_value_is_refused(store: SessionStore, session: Session) -> None:
    wrong: Any = 5
    with pytest.raises(InvalidArgument):
        await store.metadata.set("s", "first", wrong)
    with pytest.raises(PayloadInvalid):
        await store.metadata.set("s", "first", "\ud800")
    assert await store.metadata.all("s") == {"first": "1"}


# Todos


async def test_a_session_begins_without_todos(
    store: SessionStore, session: Session
) -> None:
    assert await store.todos.get("s") is None
    assert await store.todos.get("none") is None


@pytest.mark.parametrize(
    "content", ["- [ ] text", "", [], [{"id": 1, "done": False}], {"a": None}, 0, False]
)
async def test_todos_are_json_or_text(
    store: SessionStore, session: Session, content: Any
) -> None:
    await store.todos.set("s", content)
    found = await store.todos.get("s")
    assert found == content and type(found) is type(content)


async def test_todos_are_replaced_and_cleared(
    store: SessionStore, session: Session
) -> None:
    await store.todos.set("s", [1])
    await store.todos.set("s", [2])
    assert await store.todos.get("s") == [2]
    await store.todos.set("s", None)
    assert await store.todos.get("s") is None


async def test_todos_are_not_metadata(store: SessionStore, session: Session) -> None:
    await store.todos.set("s", "t")
    after = await read(store)
    assert after.metadata == {"first": "1"}
    assert after.updated_at > session.updated_at


async def test_the_last_of_gathered_todos_stays(store: SessionStore) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
    await asyncio.gather(
        *(
            store.todos.set(name, f"{name}{number}")
            for number in range(5)
            for name in "ab"
        )
    )
    assert [await store.todos.get(name) for name in "ab"] == ["a4", "b4"]


async def test_wrong_todos_are_refused(store_path: Any) -> None:
    async with SessionStore(store_path, StoreOptions(payload_bytes_max=100)) as store:
        await store.sessions.create(id="s")
        await store.todos.set("s", ["kept"])
        with pytest.raises(PayloadInvalid):
            await store.todos.set("s", {1: 2})
        with pytest.raises(PayloadTooLarge):
            await store.todos.set("s", "x" * 99)
        with pytest.raises(SessionNotFound):
            await store.todos.set("none", [])
        assert await store.todos.get("s") == ["kept"]
