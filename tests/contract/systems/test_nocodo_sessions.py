"""What a runtime written for nocodo does with sessions and their messages."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.support.seeds import as_nocodo
from tests.support.seeds.as_nocodo import STARTED
from turnstore import (
    InvalidArgument,
    Session,
    SessionNotFound,
    SessionStatus,
    SessionStore,
)

session = as_nocodo.session


async def test_handlers_share_one_store(store: SessionStore) -> None:
    async def handle(number: int) -> list[object]:
        made = await store.sessions.create(agent_name="sqlite", status="running")
        await store.messages.append(made.id, "user", number)
        call = await store.tool_calls.create(made.id, "query", {"number": number})
        await store.tool_calls.update(made.id, call.id, status="completed")
        await store.messages.append(made.id, "assistant", -number)
        await store.sessions.update(made.id, status="completed")
        return [each.content for each in await store.messages.list(made.id)]

    told = await asyncio.gather(*(handle(number) for number in range(1, 21)))
    assert told == [[number, -number] for number in range(1, 21)]
    statuses = {each.status for each in (await store.sessions.list()).items}
    assert statuses == {SessionStatus.COMPLETED}


# Sessions


async def test_a_session_comes_back_with_every_field(
    store: SessionStore, session: Session
) -> None:
    found = await store.sessions.get("1")
    assert found == session
    assert found is not None
    assert (found.agent_name, found.provider, found.model) == (
        "sqlite",
        "anthropic",
        "claude",
    )
    assert found.system_prompt == "You read databases."
    assert found.user_prompt == "Which tables are there?"
    assert found.config == {"type": "sqlite", "db_path": "/data/shop.db"}
    assert (found.status, found.created_at) == (SessionStatus.RUNNING, STARTED)
    assert (found.ended_at, found.result, found.error) == (None, None, None)


async def test_ids_are_text_and_the_store_can_make_them(store: SessionStore) -> None:
    """nocodo numbers its sessions and ignores an id it is given."""
    made = await store.sessions.create(agent_name="sqlite")
    given = await store.sessions.create(id="17", agent_name="sqlite")
    assert isinstance(made.id, str)
    assert made.id != given.id == "17"


@pytest.mark.parametrize(
    "status", ["running", "completed", "failed", "waiting_for_user_input"]
)
async def test_each_status_of_a_session_comes_back(
    store: SessionStore, status: str
) -> None:
    made = await store.sessions.create(status=status)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert str(found.status) == status


async def test_a_status_it_does_not_know_is_refused(
    store: SessionStore, session: Session
) -> None:
    """nocodo reads any other status as running."""
    with pytest.raises(InvalidArgument):
        await store.sessions.update("1", status="paused")
    assert await store.sessions.get("1") == session


@pytest.mark.parametrize("config", [None, {}, {"type_names": ["Café"], "depth": None}])
async def test_no_config_and_an_empty_one_are_not_the_same(
    store: SessionStore, config: Any
) -> None:
    """nocodo can't read a session back that has none."""
    made = await store.sessions.create(config=config)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert found.config == config


@pytest.mark.parametrize("id", ["404", "no number"])
async def test_a_session_that_is_not_there_is_none(
    store: SessionStore, session: Session, id: str
) -> None:
    """For nocodo an id that is no number is an error."""
    assert await store.sessions.get(id) is None


async def test_an_update_ends_a_session_with_its_result(
    store: SessionStore, session: Session
) -> None:
    ended = STARTED + timedelta(seconds=9)
    await store.sessions.update(
        "1", status="completed", ended_at=ended, result="3 tables"
    )
    found = await store.sessions.get("1")
    assert found is not None
    assert (found.status, found.ended_at) == (SessionStatus.COMPLETED, ended)
    assert (found.result, found.error) == ("3 tables", None)
    assert (found.config, found.user_prompt) == (session.config, session.user_prompt)


async def test_a_failed_session_keeps_its_error_and_is_ended(
    store: SessionStore, session: Session
) -> None:
    found = await store.sessions.update("1", status="failed", error="no such file")
    assert (found.status, found.error) == (SessionStatus.FAILED, "no such file")
    assert found.ended_at is not None


async def test_a_session_waits_for_the_user_and_goes_on(
    store: SessionStore, session: Session
) -> None:
    waiting = await store.sessions.update("1", status="waiting_for_user_input")
    assert waiting.ended_at is None
    await store.sessions.update(
        "1", status="running", expected_status="waiting_for_user_input"
    )
    found = await store.sessions.get("1")
    assert found is not None
    assert (found.status, found.ended_at) == (SessionStatus.RUNNING, None)


async def test_updating_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """nocodo takes it for done."""
    with pytest.raises(SessionNotFound):
        await store.sessions.update("404", status="completed")


# Messages


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
async def test_a_message_of_each_role_comes_back(
    store: SessionStore, session: Session, role: str
) -> None:
    made = await store.messages.append("1", role, "text", created_at=STARTED)
    [found] = await store.messages.list("1")
    assert found == made
    assert (found.session_id, str(found.role)) == ("1", role)
    assert (found.content, found.created_at) == ("text", STARTED)


async def test_a_role_it_does_not_know_is_refused(
    store: SessionStore, session: Session
) -> None:
    """nocodo reads any other role as user."""
    with pytest.raises(InvalidArgument):
        await store.messages.append("1", "critic", "text")
    assert await store.messages.list("1") == []


async def test_messages_are_in_order_of_writing_whatever_their_times(
    store: SessionStore, session: Session
) -> None:
    """nocodo sorts by the caller's clock, in seconds."""
    for seconds, text in ((5, "one"), (5, "two"), (1, "three")):
        at = STARTED + timedelta(seconds=seconds)
        await store.messages.append("1", "user", text, created_at=at)
    found = await store.messages.list("1")
    assert [each.content for each in found] == ["one", "two", "three"]


async def test_a_message_needs_its_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.messages.append("404", "user", "hello")


async def test_messages_of_a_session_that_is_not_there_are_an_error(
    store: SessionStore,
) -> None:
    """nocodo gives an empty list."""
    with pytest.raises(SessionNotFound):
        await store.messages.list("404")
