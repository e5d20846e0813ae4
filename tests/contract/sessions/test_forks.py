"""``store.sessions.fork``: a session that goes on from a point of another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    MessageExists,
    NewEvent,
    NewMessage,
    SessionExists,
    SessionFilter,
    SessionStore,
    ToolPolicy,
    Usage,
)


@pytest.fixture
async def parent(store: SessionStore) -> None:
    """A session "p" with the messages and events p1 to p4."""
    await store.sessions.create(id="p")
    await talk(store, "p", 4)


# What a fork has


async def test_a_fork_has_its_parents_record(store: SessionStore) -> None:
    fields: dict[str, Any] = {
        "user_id": "ada",
        "agent_name": "coder",
        "project_root": "/repo",
        "title": "t",
        "provider": "p",
        "model": "m",
        "system_prompt": "s",
        "user_prompt": "u",
        "config": {"a": [1]},
        "tool_policy": ToolPolicy(mode="mixed", tools=frozenset({"ls"})),
        "metadata": {"k": "v"},
    }
    await store.sessions.create(id="p", **fields)
    fork = await store.sessions.fork("p")
    assert {name: getattr(fork, name) for name in fields} == fields
    assert await store.sessions.get(fork.id) == fork


async def test_a_fork_has_its_own_id_and_names_its_parent(
    store: SessionStore, parent: None
) -> None:
    made = await store.sessions.fork("p")
    given = await store.sessions.fork("p", new_id="f")
    assert len({"p", made.id, given.id}) == 3
    assert (given.id, given.parent_session_id, made.parent_session_id) == (
        "f",
        "p",
        "p",
    )


async def test_a_fork_has_its_parents_messages_and_events(
    store: SessionStore, parent: None
) -> None:
    fork = await store.sessions.fork("p", new_id="f")
    mine, theirs = await store.messages.list("f"), await store.messages.list("p")
    assert [(each.id, each.seq, each.content, each.parent_id) for each in mine] == [
        (each.id, each.seq, each.content, each.parent_id) for each in theirs
    ]
    assert {each.session_id for each in mine} == {"f"}
    events = await store.events.list("f")
    assert [(each.session_id, each.seq, each.type) for each in events] == [
        ("f", n, f"p{n}") for n in range(1, 5)
    ]
    assert (fork.message_count, fork.message_head, fork.event_head) == (4, 4, 4)


@pytest.mark.parametrize(("at_message", "at_event"), [(3, 1), (1, 4), (0, 0)])
async def test_a_fork_has_messages_and_events_up_to_the_point(
    store: SessionStore, parent: None, at_message: int, at_event: int
) -> None:
    fork = await store.sessions.fork(
        "p", at_message_seq=at_message, at_event_seq=at_event
    )
    everything = ["p1", "p2", "p3", "p4"]
    assert await contents(store, fork.id) == everything[:at_message]
    assert await types(store, fork.id) == everything[:at_event]
    counts = (fork.message_count, fork.message_head, fork.event_head)
    assert counts == (at_message, at_message, at_event)
    assert await store.events.head(fork.id) == at_event


async def test_a_fork_starts_without_usage(store: SessionStore, parent: None) -> None:
    used = Usage(prompt_tokens=3, api_calls=1)
    await store.messages.append("p", "assistant", usage=used)
    fork = await store.sessions.fork("p", new_id="f")
    assert fork.usage == await store.usage.session("f") == Usage()
    assert await store.usage.by_agent("f") == {}
    assert list((await store.usage.by_day()).values()) == [used]


async def test_usage_of_a_fork_is_not_its_parents(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.fork("p", new_id="f")
    used = Usage(prompt_tokens=3, api_calls=1)
    await store.messages.append("f", "assistant", usage=used)
    assert await store.usage.session("f") == used
    assert await store.usage.session("p") == Usage()


async def test_a_fork_has_no_tool_calls_of_its_parent(
    store: SessionStore, parent: None
) -> None:
    await store.tool_calls.create("p", "t", {})
    fork = await store.sessions.fork("p")
    assert (fork.tool_call_count, fork.pending_tool_calls) == (0, 0)
    assert await store.tool_calls.list(fork.id) == []


async def test_a_fork_of_an_ended_session_goes_on(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.update("p", status="failed", error="e", result=1)
    fork = await store.sessions.fork("p")
    assert (fork.status, fork.ended_at) == ("idle", None)
    assert (fork.error, fork.result) == (None, None)


async def test_a_fork_is_listed_by_its_parent(
    store: SessionStore, parent: None
) -> None:
    fork = await store.sessions.fork("p")
    found = await store.sessions.list(SessionFilter(parent_session_id="p"))
    assert found.items == [fork]


async def test_a_fork_has_the_compactions_made_by_its_point(
    store: SessionStore, parent: None
) -> None:
    await store.messages.compact("p", "so far", preserve=1)
    await store.sessions.fork("p", new_id="late")
    await store.sessions.fork("p", at_message_seq=4, new_id="early")
    assert await sent(store, "late") == ["so far", "p4"]
    assert await sent(store, "early") == ["p1", "p2", "p3", "p4"]


# Both go on


@pytest.mark.parametrize(("at_message", "at_event"), [(2, 1), (0, 0)])
async def test_a_forks_numbers_go_on_from_its_point(
    store: SessionStore, parent: None, at_message: int, at_event: int
) -> None:
    await store.sessions.fork(
        "p", at_message_seq=at_message, at_event_seq=at_event, new_id="f"
    )
    assert (await store.messages.append("f", "user")).seq == at_message + 1
    assert await store.events.append("f", "e") == at_event + 1


async def test_parent_and_fork_do_not_see_what_the_other_writes(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.fork("p", at_message_seq=2, at_event_seq=2, new_id="f")
    await talk(store, "f", 1)
    await talk(store, "p", 1)
    assert await contents(store, "f") == await types(store, "f")
    assert await contents(store, "f") == ["p1", "p2", "f1"]
    assert await contents(store, "p") == await types(store, "p")
    assert await contents(store, "p") == ["p1", "p2", "p3", "p4", "p1"]


async def test_parent_and_fork_change_apart(store: SessionStore, parent: None) -> None:
    await store.sessions.fork("p", new_id="f")
    await store.sessions.update("f", title="mine", metadata={"a": "b"})
    await store.metadata.set("p", "c", "d")
    mine, theirs = await store.sessions.get("f"), await store.sessions.get("p")
    assert mine is not None and theirs is not None
    assert (mine.title, mine.metadata) == ("mine", {"a": "b"})
    assert (theirs.title, theirs.metadata) == (None, {"c": "d"})


async def test_parent_and_fork_compact_apart(store: SessionStore, parent: None) -> None:
    await store.sessions.fork("p", new_id="f")
    await store.messages.compact("p", "theirs", preserve=1)
    assert await sent(store, "f") == ["p1", "p2", "p3", "p4"]
    assert all(each.compacted_at is None for each in await store.messages.list("f"))
    await store.messages.compact("f", "ours", preserve=2)
    assert await sent(store, "f") == ["ours", "p3", "p4"]
    assert await sent(store, "p") == ["theirs", "p4"]
    compacted = [
        each.compacted_at is not None for each in await store.messages.list("f")
    ]
    assert compacted == [True, True, False, False, False]
    await store.messages.uncompact("p")
    assert await sent(store, "p") == ["p1", "p2", "p3", "p4"]


async def test_a_branch_runs_through_a_fork(store: SessionStore, parent: None) -> None:
    await store.sessions.fork("p", at_message_seq=2, new_id="f")
    await store.messages.append("f", "user", "mine")
    found = await store.messages.branch("f")
    assert [each.content for each in found] == ["p1", "p2", "mine"]
    assert await store.messages.branch("f", found[1].id) == found[:2]


async def test_a_window_runs_through_a_fork(store: SessionStore, parent: None) -> None:
    await store.sessions.fork("p", at_message_seq=3, at_event_seq=3, new_id="f")
    await talk(store, "f", 3)
    messages = await store.messages.list("f", after=1, limit=4)
    assert [each.content for each in messages] == ["p2", "p3", "f1", "f2"]
    newest = await store.messages.list("f", last=4)
    assert [each.content for each in newest] == ["p3", "f1", "f2", "f3"]
    events = await store.events.list("f", after=2, limit=2)
    assert [each.type for each in events] == ["p3", "f1"]
    streamed = [each.type async for each in store.events.stream("f", page_size=2)]
    assert streamed == ["p1", "p2", "p3", "f1", "f2", "f3"]
    state = await store.sessions.load("f")
    assert state is not None
    assert state.messages == await store.messages.list("f")
    assert [each.seq for each in state.messages] == [1, 2, 3, 4, 5, 6]


async def test_a_message_id_that_a_fork_shows_is_taken(
    store: SessionStore, parent: None
) -> None:
    [first, *_] = await store.messages.list("p")
    await store.sessions.fork("p", new_id="f")
    with pytest.raises(MessageExists):
        await store.messages.append("f", "user", id=first.id)
    made = await store.messages.append("f", "user", parent_id=first.id)
    assert made.parent_id == first.id
    call = await store.tool_calls.create("f", "t", {}, message_id=first.id)
    assert call.message_id == first.id
    await store.messages.set_active("f", first.id)
    assert await store.messages.branch("f") == [
        msgspec.structs.replace(first, session_id="f")
    ]


async def test_a_fork_of_a_fork_shows_all_three(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.fork("p", at_message_seq=2, at_event_seq=2, new_id="f")
    await talk(store, "f", 2)
    await store.sessions.fork("f", at_message_seq=3, at_event_seq=3, new_id="g")
    await talk(store, "g", 1)
    assert await contents(store, "g") == ["p1", "p2", "f1", "g1"]
    assert await types(store, "g") == ["p1", "p2", "f1", "g1"]
    await store.sessions.fork("f", at_message_seq=1, at_event_seq=0, new_id="h")
    assert await contents(store, "h") == ["p1"]
    assert await types(store, "h") == []


# Deletion


async def test_deleting_the_parent_leaves_forks_whole(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.fork("p", at_message_seq=2, at_event_seq=3, new_id="f")
    await store.sessions.fork("p", new_id="g")
    await talk(store, "g", 1)
    before = [await whole(store, name) for name in "fg"]
    assert await store.sessions.delete("p") is True
    assert await store.sessions.get("p") is None
    assert [await whole(store, name) for name in "fg"] == before
    assert await contents(store, "f") == ["p1", "p2"]
    assert await contents(store, "g") == ["p1", "p2", "p3", "p4", "g1"]


@pytest.mark.parametrize("order", ["pf", "fp"])
async def test_deleting_all_ancestors_leaves_a_fork_whole(
    store: SessionStore, parent: None, order: str
) -> None:
    await store.sessions.fork("p", at_message_seq=2, at_event_seq=2, new_id="f")
    await talk(store, "f", 1)
    await store.sessions.fork("f", new_id="g")
    await talk(store, "g", 1)
    for name in order:
        await store.sessions.delete(name)
        assert await contents(store, "g") == ["p1", "p2", "f1", "g1"]
        assert await types(store, "g") == ["p1", "p2", "f1", "g1"]


async def test_deleting_a_fork_leaves_the_parent(
    store: SessionStore, parent: None
) -> None:
    before = await store.sessions.load("p")
    await store.sessions.fork("p", new_id="f")
    await store.sessions.delete("f")
    assert await store.sessions.load("p") == before
    assert len(await types(store, "p")) == 4


async def test_events_deleted_on_one_side_stay_on_the_other(
    store: SessionStore, parent: None
) -> None:
    await store.sessions.fork("p", new_id="f")
    assert await store.events.delete_before("p", 3) == 2
    assert await types(store, "f") == ["p1", "p2", "p3", "p4"]
    assert await store.events.delete_before("f", 4) == 3
    assert await types(store, "p") == ["p3", "p4"]


# Refused


async def test_fork_refuses_an_id_that_is_there(
    store: SessionStore, parent: None
) -> None:
    before = await store.sessions.load("p")
    with pytest.raises(SessionExists):
        await store.sessions.fork("p", new_id="p")
    assert await store.sessions.load("p") == before


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ({"at_message_seq": 5}, "4 messages"),
        ({"at_event_seq": 5}, "4 events"),
        ({"at_message_seq": -1}, "at_message_seq"),
        ({"at_event_seq": -1}, "at_event_seq"),
        ({"at_message_seq": True}, "at_message_seq"),
    ],
    ids=str,
)
async def test_a_point_outside_the_parent_is_refused(
    store: SessionStore, parent: None, point: dict[str, int], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await store.sessions.fork("p", new_id="f", **point)
    assert await store.sessions.count() == 1


# Several stores on one database


async def test_a_fork_made_by_another_store_is_whole(open_shared: OpenStore) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="p")
    await talk(first, "p", 3)
    await second.sessions.fork("p", at_message_seq=2, at_event_seq=2, new_id="f")
    await talk(first, "f", 1)
    await first.sessions.delete("p")
    assert await contents(second, "f") == ["p1", "p2", "f1"]
    assert await types(second, "f") == ["p1", "p2", "f1"]


async def talk(store: SessionStore, name: str, count: int) -> None:
    """Append messages and events, each named for its session."""
    texts = [f"{name}{n}" for n in range(1, count + 1)]
    await store.messages.append_many(
        name, [NewMessage(role="user", content=each) for each in texts]
    )
    await store.events.append_many(name, [NewEvent(type=each) for each in texts])


async def whole(store: SessionStore, name: str) -> tuple[Any, Any]:
    return await store.sessions.load(name), await store.events.list(name)


async def contents(store: SessionStore, name: str) -> list[Any]:
    return [each.content for each in await store.messages.list(name)]


async def sent(store: SessionStore, name: str) -> list[Any]:
    return [each.content for each in await store.messages.context(name)]


async def types(store: SessionStore, name: str) -> list[str]:
    return [each.type for each in await store.events.list(name)]
