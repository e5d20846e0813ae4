"""What a runtime written for steer does with sessions and lists of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.seeds import as_steer
from tests.support.seeds.as_steer import CONFIG, START, get, text
from turnstore import (
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStatus,
    SessionStore,
    ToolPolicy,
)

session = as_steer.session


async def listed(store: SessionStore, **given: Any) -> list[str]:
    arguments = {
        name: given.pop(name)
        for name in ("order_by", "descending", "limit", "offset")
        if name in given
    }
    page = await store.sessions.list(SessionFilter(**given), **arguments)
    return [each.id for each in page.items]


# Sessions


async def test_a_session_is_created_and_read(
    store: SessionStore, session: Session
) -> None:
    made = await store.sessions.create(
        config=CONFIG, tool_policy=ToolPolicy(mode="always_ask")
    )
    assert made.id
    state = await store.sessions.load(made.id)
    assert state is not None
    assert state.session == made
    assert state.session.tool_policy == ToolPolicy(mode="always_ask")
    assert state.session.config["workspace"]["type"] == "local"
    assert (state.messages, state.tool_calls) == ([], [])


async def test_a_new_session_is_idle(store: SessionStore, session: Session) -> None:
    """steer says inactive, and nothing ever changes it."""
    assert session.status is SessionStatus.IDLE
    assert (await store.sessions.update("s", status="running")).status == "running"


async def test_the_whole_config_comes_back(
    store: SessionStore, session: Session
) -> None:
    """steer can't store a list of visible tools."""
    assert (await get(store)).config == CONFIG


@pytest.mark.parametrize(
    "policy",
    [
        ToolPolicy(mode="always_ask"),
        ToolPolicy(mode="pre_approved", tools=frozenset({"grep", "ls"})),
        ToolPolicy(mode="mixed", tools=frozenset({"grep"}), ask_for_others=True),
        ToolPolicy(mode="mixed", tools=frozenset({"grep"}), ask_for_others=False),
    ],
)
async def test_each_policy_comes_back_whole(
    store: SessionStore, policy: ToolPolicy
) -> None:
    """steer forgets whether to ask for the other tools."""
    made = await store.sessions.create(tool_policy=policy)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert found.tool_policy == policy


async def test_a_session_that_is_not_there_is_none(store: SessionStore) -> None:
    assert await store.sessions.load("nowhere") is None


async def test_a_loaded_session_has_messages_calls_and_its_last_seq(
    store: SessionStore, session: Session
) -> None:
    """steer drops the results of tools."""
    said = await store.messages.append("s", "user", text("hi"), id="msg1")
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    done = await store.tool_calls.update(
        "s", "tc1", status="completed", output="a b", result={"files": ["a", "b"]}
    )
    for _ in range(3):
        await store.events.append("s", "message_part")
    state = await store.sessions.load("s")
    assert state is not None
    assert (state.messages, state.tool_calls) == ([said], [done])
    assert done.result == {"files": ["a", "b"]}
    assert state.session.event_head == 3
    assert state.session.active_message_id == "msg1"


async def test_an_update_writes_metadata_policy_config_and_prompt(
    store: SessionStore, session: Session
) -> None:
    """steer leaves the system prompt as it was."""
    policy = ToolPolicy(mode="pre_approved", tools=frozenset({"ls"}))
    await store.sessions.update(
        "s",
        metadata={"branch": "main"},
        tool_policy=policy,
        config={"workspace": {"type": "remote"}},
        system_prompt="Be brief.",
    )
    found = await get(store)
    assert (found.metadata, found.tool_policy) == ({"branch": "main"}, policy)
    assert found.config == {"workspace": {"type": "remote"}}
    assert found.system_prompt == "Be brief."
    assert found.created_at == session.created_at
    assert found.updated_at > session.updated_at


async def test_updating_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """steer takes it for done."""
    with pytest.raises(SessionNotFound):
        await store.sessions.update("nowhere", metadata={})


async def test_deleting_a_session_takes_its_messages_calls_and_events(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for name in ("s", "other"):
        await store.messages.append(name, "user", text("hi"))
        await store.tool_calls.create(name, "ls", {})
        await store.events.append(name, "message_part")
    await store.sessions.delete("s")
    assert await store.sessions.load("s") is None
    other = await store.sessions.load("other")
    assert other is not None
    assert (len(other.messages), len(other.tool_calls)) == (1, 1)
    assert other.session.event_head == 1
    assert await store.admin.check() == []


async def test_deleting_a_session_that_is_not_there_is_no_error(
    store: SessionStore,
) -> None:
    assert await store.sessions.delete("nowhere") is False


# Lists of sessions


@pytest.fixture
async def three(store: SessionStore) -> None:
    """Sessions 0, 1 and 2, each an hour and a message more."""
    for number in range(3):
        await store.sessions.create(
            id=str(number),
            metadata={"index": str(number), "kind": "test"},
            created_at=START + timedelta(hours=number),
        )
    # Touched in another order.
    for name in ("2", "0", "1"):
        for _ in range(int(name)):
            await store.messages.append(name, "user", text("hi"))
        await store.events.append(name, "session_saved")


async def test_a_list_has_at_most_its_limit(store: SessionStore, three: None) -> None:
    assert await listed(store, order_by="created_at", limit=2) == ["2", "1"]


async def test_a_listed_session_has_its_count_and_metadata(
    store: SessionStore, three: None
) -> None:
    page = await store.sessions.list()
    assert [(each.id, each.message_count) for each in page.items] == [
        ("2", 2),
        ("1", 1),
        ("0", 0),
    ]
    assert page.items[0].metadata == {"index": "2", "kind": "test"}


@pytest.mark.parametrize(
    ("order_by", "ascending"),
    [
        ("created_at", ["0", "1", "2"]),
        ("updated_at", ["2", "0", "1"]),
        ("message_count", ["0", "1", "2"]),
    ],
)
async def test_a_list_is_in_either_direction_of_each_order(
    store: SessionStore, three: None, order_by: str, ascending: list[str]
) -> None:
    assert await listed(store, order_by=order_by, descending=False) == ascending
    assert await listed(store, order_by=order_by) == ascending[::-1]


async def test_bounds_on_creation_include_the_bound(
    store: SessionStore, three: None
) -> None:
    middle = START + timedelta(hours=1)
    assert await listed(store, created_after=middle) == ["2", "1"]
    assert await listed(store, created_before=middle) == ["1", "0"]
    assert await listed(store, created_after=middle, created_before=middle) == ["1"]


async def test_bounds_on_updates_include_the_bound(
    store: SessionStore, three: None
) -> None:
    """steer compares two notations of time as text."""
    first = await store.sessions.get("0")
    assert first is not None
    at = first.updated_at
    assert await listed(store, updated_after=at, order_by="updated_at") == ["1", "0"]
    assert await listed(store, updated_before=at, order_by="updated_at") == ["0", "2"]


async def test_a_list_can_be_of_one_status(store: SessionStore, three: None) -> None:
    await store.sessions.update("1", status="running")
    assert await listed(store, status="running") == ["1"]
    assert await listed(store, status="idle") == ["2", "0"]


async def test_a_list_can_be_of_those_with_some_metadata(
    store: SessionStore, three: None
) -> None:
    """steer ignores this filter."""
    assert await listed(store, metadata={"index": "1", "kind": "test"}) == ["1"]
    assert await listed(store, metadata={"index": "1", "kind": "other"}) == []


async def test_the_order_by_messages_keeps_the_filters(
    store: SessionStore, three: None
) -> None:
    """steer loses them."""
    bound = START + timedelta(hours=1)
    found = await listed(store, created_before=bound, order_by="message_count")
    assert found == ["1", "0"]


async def test_an_offset_needs_no_limit(store: SessionStore, three: None) -> None:
    """In steer it is a syntax error."""
    assert await listed(store, offset=1) == ["1", "0"]
    assert await listed(store, offset=1, limit=1) == ["1"]


async def test_pages_follow_one_another_without_gap_or_repeat(
    store: SessionStore, three: None
) -> None:
    """In steer the third page repeats the second."""
    found, cursor = [], None
    for _ in range(3):
        page = await store.sessions.list(limit=1, cursor=cursor)
        found += [each.id for each in page.items]
        cursor = page.next_cursor
    assert (found, cursor) == (["2", "1", "0"], None)


async def test_the_last_model_is_that_of_the_newest_event_that_names_one(
    store: SessionStore, session: Session
) -> None:
    async def last_model() -> str | None:
        [found] = (await store.sessions.list()).items
        return found.last_model

    assert await last_model() is None
    said = {"message": {"role": "assistant", "content": text("Hello")}}
    await store.events.append("s", "message_complete", said, model="claude")
    assert await last_model() == "claude"
    failed = {"tool_call_id": "tool1", "error": "Test error"}
    await store.events.append("s", "tool_call_failed", failed, model="gpt")
    assert await last_model() == "gpt"
    await store.events.append("s", "session_saved", {"session_id": "s"})
    assert await last_model() == "gpt"


async def test_no_event_spoils_a_list(store: SessionStore, session: Session) -> None:
    """In steer a model that it no longer knows does."""
    await store.events.append("s", "message_complete", ["odd"], model="retired")
    [found] = (await store.sessions.list(SessionFilter(last_model="retired"))).items
    assert found.id == "s"
