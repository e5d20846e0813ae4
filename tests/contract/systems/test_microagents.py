"""What a runtime written for microagents does, on this store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turnstore import Event, Json, SessionExists, SessionNotFound, SessionStore

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def notification(method: str, at: datetime = NOW, **params: Json) -> Any:
    """An event as it travels: a JSON-RPC notification."""
    return {
        "jsonrpc": "2.0",
        "method": method,
        "params": {"session_id": "1", **params, "timestamp": at.isoformat()},
    }


INIT = notification(
    "session.init",
    model="gpt-5.5",
    provider="openai",
    system="Answer briefly.",
    init_type="Start",
)


async def create_session(store: SessionStore, init: Any = INIT) -> None:
    params = init["params"]
    async with store.turn(params["session_id"]) as turn:
        turn.create_session(
            provider=params["provider"],
            model=params["model"],
            system_prompt=params["system"],
            created_at=datetime.fromisoformat(params["timestamp"]),
        )
        turn.event(init["method"], init)


async def update_session(store: SessionStore, event: Any) -> int:
    return await store.events.append("1", event["method"], event)


def types(events: list[Event]) -> list[str]:
    return [each.type for each in events]


async def test_another_store_reads_what_one_wrote(
    store: SessionStore, second_store: SessionStore
) -> None:
    await create_session(store)
    await update_session(second_store, notification("session.stop", success=True))
    assert await store.events.list("1") == await second_store.events.list("1")
    assert types(await store.events.list("1")) == ["session.init", "session.stop"]


# Creating


async def test_a_new_session_has_its_init_event_and_no_other(
    store: SessionStore,
) -> None:
    await create_session(store)
    [event] = await store.events.list("1")
    assert (event.session_id, event.seq, event.type) == ("1", 1, "session.init")
    assert event.data == INIT


async def test_a_new_session_has_a_record_too(store: SessionStore) -> None:
    """microagents has no sessions, only events that share an id."""
    await create_session(store)
    session = await store.sessions.get("1")
    assert session is not None
    assert (session.provider, session.model) == ("openai", "gpt-5.5")
    assert (session.system_prompt, session.created_at) == ("Answer briefly.", NOW)
    assert session.event_head == 1


async def test_a_session_can_not_be_created_twice(store: SessionStore) -> None:
    """microagents appends the second init event, or forgets the first."""
    await create_session(store)
    with pytest.raises(SessionExists):
        await create_session(store)
    assert types(await store.events.list("1")) == ["session.init"]


async def test_resuming_is_an_event_like_any_other(store: SessionStore) -> None:
    """microagents does not record it."""
    await create_session(store)
    resumed = {**INIT, "params": {**INIT["params"], "init_type": "Resume"}}
    assert await update_session(store, resumed) == 2
    kinds = [each.data["params"]["init_type"] for each in await store.events.list("1")]
    assert kinds == ["Start", "Resume"]


# Appending and reading


async def test_a_session_is_created_updated_and_read(store: SessionStore) -> None:
    await create_session(store)
    rest = [
        notification("user.prompt.submit", turn_id="t1", prompt="hello"),
        notification(
            "assistant.response", turn_id="t1", full_text="hello", tool_calls=None
        ),
        notification(
            "session.stop",
            result="hello",
            error=None,
            success=True,
            usage={"latency": 0, "input_chars": 0, "output_chars": 0},
        ),
    ]
    for each in rest:
        await update_session(store, each)
    found = await store.events.list("1")
    assert types(found) == [
        "session.init",
        "user.prompt.submit",
        "assistant.response",
        "session.stop",
    ]
    assert [each.data for each in found] == [INIT, *rest]


async def test_a_whole_turn_can_be_one_transaction(store: SessionStore) -> None:
    """microagents commits each delta by itself."""
    await create_session(store)
    async with store.turn("1") as turn:
        for delta in ("hel", "lo"):
            event = notification("stream.delta", turn_id="t1", delta=delta)
            turn.event("stream.delta", event, turn_id="t1")
        turn.message("assistant", "hello")
    assert turn.results[:2] == [2, 3]
    found = await store.events.list("1", types=["stream.delta"])
    assert [each.turn_id for each in found] == ["t1", "t1"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("stream.delta", {"delta": "héllo\x00", "delta_type": "Thinking"}),
        ("tool.any_call", {"name": "ls", "input": {"path": "."}, "tool_call_id": "c"}),
        ("tool.result", {"result": {"Ok": "a b"}, "tool_call_id": "c"}),
        ("tool.result", {"result": {"Err": "denied"}, "tool_call_id": "c"}),
        ("skill.load", {"skill_name": "review"}),
        ("assistant.response", {"content": [{"thinking": "…", "signature": None}]}),
        ("assistant.task", {"task_name": "fix", "task_status": "InProgress"}),
        ("session.fork", {"parent_session_id": "0"}),
        ("of.a.later.protocol", {"anything": [1, 2.5, None, {}]}),
    ],
)
async def test_an_event_of_any_kind_comes_back_as_it_was(
    store: SessionStore, method: str, params: dict[str, Any]
) -> None:
    """In microagents one event that it does not know makes a session unreadable."""
    await create_session(store)
    given = notification(method, turn_id="t1", **params)
    await update_session(store, given)
    [_, event] = await store.events.list("1")
    assert (event.type, event.data) == (method, given)


async def test_events_are_in_order_of_writing_whatever_their_times(
    store: SessionStore,
) -> None:
    """microagents sorts by the timestamps in the events."""
    await create_session(store)
    for minutes, method in ((2, "tool.any_call"), (-5, "tool.result"), (-5, "x")):
        at = NOW + timedelta(minutes=minutes)
        event = notification(method, at)
        await store.events.append("1", method, event, created_at=at)
    assert types(await store.events.list("1")) == [
        "session.init",
        "tool.any_call",
        "tool.result",
        "x",
    ]


async def test_updating_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """microagents takes an event for any id."""
    with pytest.raises(SessionNotFound):
        await update_session(store, notification("session.stop", success=True))


async def test_reading_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """microagents gives an empty list."""
    with pytest.raises(SessionNotFound):
        await store.events.list("1")


async def test_sessions_do_not_see_each_others_events(store: SessionStore) -> None:
    await create_session(store)
    other = {**INIT, "params": {**INIT["params"], "session_id": "2"}}
    await create_session(store, other)
    await update_session(store, notification("session.stop", success=True))
    assert types(await store.events.list("2")) == ["session.init"]
    assert await store.events.head("1") == 2


async def test_tasks_share_one_store_and_keep_their_order(store: SessionStore) -> None:
    names = [str(number) for number in range(8)]
    for name in names:
        init = {**INIT, "params": {**INIT["params"], "session_id": name}}
        await create_session(store, init)

    async def run(name: str) -> list[int]:
        return [await store.events.append(name, "delta", part) for part in range(5)]

    assert await asyncio.gather(*map(run, names)) == [[2, 3, 4, 5, 6]] * 8
    for name in names:
        found = await store.events.list(name, after=1)
        assert [each.data for each in found] == list(range(5))


async def test_a_fork_begins_with_the_events_of_its_parent(
    store: SessionStore,
) -> None:
    """microagents copies them one by one, each a commit."""
    await create_session(store)
    await update_session(store, notification("user.prompt.submit", prompt="hello"))
    fork = await store.sessions.fork("1", new_id="2")
    await store.events.append("2", "session.fork", {"parent_session_id": "1"})
    assert fork.parent_session_id == "1"
    assert types(await store.events.list("2")) == [
        "session.init",
        "user.prompt.submit",
        "session.fork",
    ]
    assert await store.events.head("1") == 2
