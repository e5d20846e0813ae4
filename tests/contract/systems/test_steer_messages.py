"""What a runtime written for steer does with messages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.seeds import as_steer
from tests.support.seeds.as_steer import START, get, text
from turnstore import MessageNotFound, Role, Session, SessionNotFound, SessionStore

session = as_steer.session


async def test_a_message_is_appended_and_read(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", text("Hello"), id="msg1")
    [found] = await store.messages.list("s")
    assert (found.id, found.role, found.seq) == ("msg1", Role.USER, 1)
    assert found.content == text("Hello")


@pytest.mark.parametrize(
    ("role", "content"),
    [
        ("user", [{"command": "ls", "stdout": "a\n", "stderr": "", "exit_code": 0}]),
        ("assistant", [{"thought": {"text": "hm", "signature": "x"}}, *text("Hi")]),
        ("tool", {"tool_use_id": "tc1", "result": {"Bash": {"exit_code": 1}}}),
        ("system", "Be brief."),
    ],
)
async def test_content_of_any_shape_comes_back(
    store: SessionStore, session: Session, role: str, content: Any
) -> None:
    """steer can't read a message of role system."""
    await store.messages.append("s", role, content)
    [found] = await store.messages.list("s")
    assert (str(found.role), found.content) == (role, content)


async def test_the_time_of_a_message_is_its_own(
    store: SessionStore, session: Session
) -> None:
    """steer keeps the time of writing alone."""
    await store.messages.append("s", "user", text("hi"), created_at=START)
    [found] = await store.messages.list("s")
    assert found.created_at == START


async def test_messages_after_a_seq_exclude_it_and_0_means_all(
    store: SessionStore, session: Session
) -> None:
    """steer counts from 0, so that after=0 leaves out the first one."""
    for content in ("one", "two", "three"):
        await store.messages.append("s", "user", text(content))
    assert [each.seq for each in await store.messages.list("s")] == [1, 2, 3]
    assert [each.seq for each in await store.messages.list("s", after=0)] == [1, 2, 3]
    found = await store.messages.list("s", after=1)
    assert [each.content for each in found] == [text("two"), text("three")]
    assert await store.messages.list("s", after=3) == []


async def test_messages_of_an_unknown_session_are_an_error(
    store: SessionStore,
) -> None:
    """steer gives an empty list."""
    with pytest.raises(SessionNotFound):
        await store.messages.list("nowhere")
    with pytest.raises(SessionNotFound):
        await store.messages.append("nowhere", "user", text("hi"))


async def test_ids_are_unique_in_their_session_only(
    store: SessionStore, session: Session
) -> None:
    """In steer those of messages and tool calls are unique over all sessions."""
    await store.sessions.create(id="other")
    for name in ("s", "other"):
        await store.messages.append(name, "user", text(name), id="msg1")
        await store.tool_calls.create(name, "ls", {"in": name}, id="tc1")
    await store.tool_calls.update("s", "tc1", status="completed")
    [left] = await store.tool_calls.pending("other")
    assert left.arguments == {"in": "other"}


async def test_the_active_message_is_where_the_next_one_goes_on(
    store: SessionStore, session: Session
) -> None:
    for name in ("a", "b"):
        await store.messages.append("s", "user", text(name), id=name)
    await store.messages.set_active("s", "a")
    assert (await get(store)).active_message_id == "a"
    await store.messages.append("s", "user", text("c"), id="c")
    assert [each.id for each in await store.messages.branch("s")] == ["a", "c"]
    assert [each.id for each in await store.messages.branch("s", "b")] == ["a", "b"]
    assert (await get(store)).active_message_id == "c"


async def test_a_message_can_name_its_parent(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", text("a"), id="a")
    await store.messages.append("s", "user", text("b"), id="b")
    made = await store.messages.append("s", "user", text("c"), parent_id="a")
    assert made.parent_id == "a"


async def test_no_active_message_is_no_branch(
    store: SessionStore, session: Session
) -> None:
    """steer takes the last message then."""
    await store.messages.append("s", "user", text("a"), id="a")
    await store.messages.set_active("s", None)
    assert (await get(store)).active_message_id is None
    assert await store.messages.branch("s") == []


async def test_the_active_message_must_be_there(
    store: SessionStore, session: Session
) -> None:
    """steer does not look."""
    with pytest.raises(MessageNotFound):
        await store.messages.set_active("s", "nowhere")
    with pytest.raises(SessionNotFound):
        await store.messages.set_active("nowhere", None)
    assert await store.sessions.get("s") == session
