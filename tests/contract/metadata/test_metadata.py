"""``store.metadata`` and ``store.todos``: small things that a session carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.sessions.pages import names
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
)


async def read(store: SessionStore) -> Session:
    found = await store.sessions.get("s")
    assert found is not None
    return found


# metadata


async def test_metadata_that_is_set_is_there(
    store: SessionStore, session: Session
) -> None:
    await store.metadata.set("s", "k", "v")
    assert await store.metadata.get("s", "k") == "v"
    assert await store.metadata.all("s") == {"k": "v"}


async def test_metadata_is_that_of_the_session_record(store: SessionStore) -> None:
    await store.sessions.create(id="s", metadata={"a": "1"})
    await store.metadata.set("s", "b", "2")
    found = await store.sessions.get("s")
    assert found is not None
    assert found.metadata == await store.metadata.all("s") == {"a": "1", "b": "2"}


async def test_metadata_set_changes_one_key(store: SessionStore) -> None:
    await store.sessions.create(id="s", metadata={"a": "1", "b": "2"})
    await store.metadata.set("s", "a", "3")
    assert await store.metadata.all("s") == {"a": "3", "b": "2"}
    assert await store.metadata.get("s", "a") == "3"


async def test_metadata_is_ordered_by_the_code_points_of_its_keys(
    store: SessionStore,
) -> None:
    keys = [*"bA_", "a-b", "ab", *"éäzB1", "10", "9", "2", "a", "😀"]
    await store.sessions.create(id="whole", metadata={key: key for key in keys})
    await store.sessions.create(id="singly")
    for key in keys:
        await store.metadata.set("singly", key, key)
    for name in ("whole", "singly"):
        assert list(await store.metadata.all(name)) == sorted(keys)


async def test_metadata_delete_tells_whether_there_was_one(store: SessionStore) -> None:
    await store.sessions.create(id="s", metadata={"a": "1", "b": "2"})
    assert await store.metadata.delete("s", "a") is True
    assert await store.metadata.delete("s", "a") is False
    assert await store.metadata.all("s") == {"b": "2"}


@pytest.mark.parametrize("session_id", ["s", "gone"])
async def test_metadata_that_is_not_there_is_none(
    store: SessionStore, session: Session, session_id: str
) -> None:
    assert await store.metadata.get(session_id, "k") is None


async def test_metadata_of_other_sessions_stays(store: SessionStore) -> None:
    await store.sessions.create(id="s", metadata={"k": "v"})
    await store.sessions.create(id="other", metadata={"k": "w"})
    await store.metadata.set("s", "k", "x")
    await store.metadata.delete("s", "k")
    assert await store.metadata.all("other") == {"k": "w"}


async def test_only_a_change_of_metadata_touches_the_session(
    store: SessionStore, session: Session
) -> None:
    assert await store.metadata.delete("s", "none") is False
    assert await store.sessions.get("s") == session
    await store.metadata.set("s", "k", "v")
    after_set = await read(store)
    assert after_set.updated_at > session.updated_at
    await store.metadata.delete("s", "k")
    assert (await read(store)).updated_at > after_set.updated_at


async def test_sessions_are_listed_by_metadata_as_it_is_now(
    store: SessionStore,
) -> None:
    for name in "abc":
        await store.sessions.create(id=name)
        await store.metadata.set(name, "k", "v")
    wanted, any_value = (
        SessionFilter(metadata={"k": "v"}),
        SessionFilter(metadata_keys=["k"]),
    )
    assert await store.sessions.count(wanted) == 3
    await store.metadata.set("b", "k", "w")
    assert names(await store.sessions.list(wanted)) == "ca"
    assert names(await store.sessions.list(any_value)) == "cba"


@pytest.mark.parametrize(
    "value", ["", "a\x00b", '"', "null", "é😀\n", "x" * 100_000], ids=len
)
async def test_metadata_takes_any_text(
    store: SessionStore, session: Session, value: str
) -> None:
    await store.metadata.set("s", "k", value)
    assert await store.metadata.get("s", "k") == value


@pytest.mark.parametrize("key", ["K", "a b", "ä😀", "k" * 255, "%", "'", '"'])
async def test_a_metadata_key_is_taken_as_it_is(
    store: SessionStore, session: Session, key: str
) -> None:
    await store.metadata.set("s", "k", "of k")
    await store.metadata.set("s", key, "v")
    assert await store.metadata.all("s") == {"k": "of k", key: "v"}


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x00", "\ud800", 5, None])
async def test_a_wrong_metadata_key_is_refused(
    store: SessionStore, session: Session, key: Any
) -> None:
    for call in (
        store.metadata.set("s", key, "v"),
        store.metadata.get("s", key),
        store.metadata.delete("s", key),
    ):
        with pytest.raises(InvalidArgument):
            await call
    assert await store.metadata.all("s") == {}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (5, InvalidArgument),
        (None, InvalidArgument),
        ({}, InvalidArgument),
        ("\ud800", InvalidArgument),
    ],
    ids=range(4),
)
async def test_a_metadata_value_that_is_no_text_is_refused(
    store: SessionStore, session: Session, value: Any, error: type[Exception]
) -> None:
    await store.metadata.set("s", "k", "kept")
    with pytest.raises(error):
        await store.metadata.set("s", "k", value)
    assert await store.metadata.all("s") == {"k": "kept"}


async def test_gathered_metadata_calls_keep_their_order(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="t")
    found: list[Any] = await asyncio.gather(
        store.metadata.set("s", "k", "1"),
        store.metadata.set("t", "k", "1"),
        store.metadata.delete("s", "k"),
        store.metadata.delete("s", "k"),
        store.metadata.set("s", "k", "2"),
        store.metadata.set("s", "k", "3"),
        store.metadata.delete("t", "k"),
        store.metadata.set("t", "j", "3"),
        store.metadata.delete("s", "j"),
    )
    assert found == [None, None, True, False, None, None, True, None, False]
    assert await store.metadata.all("s") == {"k": "3"}
    assert await store.metadata.all("t") == {"j": "3"}


async def test_metadata_of_an_unknown_session_fails_alone(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        store.metadata.set("gone", "k", "v"),
        store.metadata.delete("gone", "k"),
        store.metadata.set("s", "k", "v"),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes[:2]] == [SessionNotFound] * 2
    assert await store.metadata.all("s") == {"k": "v"}


# todos


@pytest.mark.parametrize("session_id", ["s", "gone"])
async def test_there_are_no_todos_to_begin_with(
    store: SessionStore, session: Session, session_id: str
) -> None:
    assert await store.todos.get(session_id) is None


@pytest.mark.parametrize(
    "content", ["- [ ] a", "", [], [{"id": 1, "done": False}], {"a": None}, 0, False]
)
async def test_todos_come_back_as_they_were_set(
    store: SessionStore, session: Session, content: Any
) -> None:
    await store.todos.set("s", content)
    found = await store.todos.get("s")
    assert found == content
    assert type(found) is type(content)


async def test_todos_are_replaced_whole_and_cleared_with_none(
    store: SessionStore, session: Session
) -> None:
    await store.todos.set("s", {"a": 1})
    await store.todos.set("s", {"b": 2})
    assert await store.todos.get("s") == {"b": 2}
    await store.todos.set("s", None)
    assert await store.todos.get("s") is None


async def test_todos_are_not_in_metadata(store: SessionStore, session: Session) -> None:
    await store.todos.set("s", "- [ ] a")
    assert await store.metadata.all("s") == {}
    after = await read(store)
    assert after.metadata == {}
    assert after.updated_at > session.updated_at


async def test_todos_are_of_one_session(store: SessionStore, session: Session) -> None:
    await store.sessions.create(id="other")
    await store.todos.set("s", ["a"])
    assert await store.todos.get("other") is None


async def test_the_last_of_gathered_todos_stays(store: SessionStore) -> None:
    for name in "ab":
        await store.sessions.create(id=name)
    await asyncio.gather(
        *(store.todos.set(name, f"{name}{n}") for n in range(5) for name in "ab")
    )
    assert [await store.todos.get(name) for name in "ab"] == ["a4", "b4"]


async def test_refused_todos_and_metadata_leave_what_was_there(
    open_store: OpenStore,
) -> None:
    store = await open_store(payload_bytes_max=1_024)
    await store.sessions.create(id="s")
    await store.todos.set("s", ["kept"])
    with pytest.raises(PayloadInvalid):
        await store.todos.set("s", {1: 2})
    with pytest.raises(PayloadTooLarge):
        await store.todos.set("s", "x" * 1_100)
    with pytest.raises(PayloadTooLarge):
        await store.metadata.set("s", "k", "x" * 1_100)
    assert await store.todos.get("s") == ["kept"]
    assert await store.metadata.all("s") == {}


# Several stores on one database


async def test_metadata_that_several_stores_set_is_all_there(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    await asyncio.gather(
        *(each.metadata.set("s", f"{n}", "v") for n, each in enumerate(stores * 9))
    )
    expected = {f"{n}": "v" for n in range(18)}
    assert await stores[0].metadata.all("s") == expected
