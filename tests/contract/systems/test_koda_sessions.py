"""What a runtime written for koda does with sessions and what is kept for them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.seeds import as_koda
from tests.support.seeds.as_koda import ROOT, START, talk
from tests.support.seeds.talking import ask
from turnstore import (
    InvalidArgument,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    Usage,
)

session = as_koda.session


async def listed(store: SessionStore, root: str = ROOT, limit: int = 50) -> list[str]:
    page = await store.sessions.list(SessionFilter(project_root=root), limit=limit)
    return [each.id for each in page.items]


# Sessions


async def test_each_session_gets_an_id_of_its_own(store: SessionStore) -> None:
    made = [
        await store.sessions.create(agent_name="default", project_root=ROOT)
        for _ in range(3)
    ]
    assert len({each.id for each in made}) == 3
    assert {(each.agent_name, each.project_root) for each in made} == {
        ("default", ROOT)
    }


async def test_sessions_of_a_project_are_listed_newest_first(
    store: SessionStore,
) -> None:
    for hours, name in ((1, "b"), (3, "c"), (0, "a")):
        at = START + timedelta(hours=hours)
        await store.sessions.create(id=name, project_root=ROOT, created_at=at)
    await store.sessions.create(id="elsewhere", project_root="/other")
    assert await listed(store) == ["c", "b", "a"]
    assert await listed(store, limit=2) == ["c", "b"]
    assert await listed(store, "/nowhere") == []


async def test_of_sessions_of_one_moment_the_later_made_is_first(
    store: SessionStore,
) -> None:
    for name in ("a", "c", "b"):
        await store.sessions.create(id=name, project_root=ROOT, created_at=START)
    assert await listed(store) == ["b", "c", "a"]


async def test_sessions_without_a_project_are_in_no_projects_list(
    store: SessionStore, session: Session
) -> None:
    """koda shows them in every project."""
    await store.sessions.create(id="rootless")
    assert await listed(store) == ["s"]


async def test_a_list_needs_a_limit_of_at_least_one(store: SessionStore) -> None:
    """In koda a negative one means all."""
    with pytest.raises(InvalidArgument):
        await store.sessions.list(limit=-1)


async def test_a_listed_session_tells_its_messages_and_tokens(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=100, completion_tokens=20, cache_read_tokens=7)
    await store.messages.append("s", "user", "hi")
    await store.messages.append("s", "assistant", "hello", usage=used)
    page = await store.sessions.list(SessionFilter(project_root=ROOT))
    [found] = page.items
    assert (found.id, found.agent_name, found.created_at) == ("s", "default", START)
    assert found.message_count == 2
    assert found.usage.prompt_tokens + found.usage.completion_tokens == 120


async def test_deleting_a_session_twice_is_true_then_false(
    store: SessionStore, session: Session
) -> None:
    assert await store.sessions.delete("s") is True
    assert await store.sessions.delete("s") is False


async def test_deleting_a_session_takes_all_it_has(
    store: SessionStore, session: Session
) -> None:
    """koda's later tables keep it from being deleted."""
    await talk(store, 3)
    await store.metadata.set("s", "mode", "plan")
    await store.todos.set("s", "- test")
    await store.events.append("s", "e")
    await store.messages.compact("s", "so far", preserve=1)
    assert await store.sessions.delete("s") is True
    assert await listed(store) == []
    assert await store.metadata.get("s", "mode") is None
    assert await store.todos.get("s") is None
    assert (await store.archive.statistics()).message_count == 0
    assert await store.admin.check() == []


# Pending tool calls


async def test_a_call_is_pending_until_it_is_settled(
    store: SessionStore, session: Session
) -> None:
    assert await store.tool_calls.has_pending("s") is False
    call = await store.tool_calls.create("s", "Read", {"path": "a"})
    assert await store.tool_calls.has_pending("s") is True
    await store.tool_calls.update("s", call.id, status="completed", output="text")
    assert await store.tool_calls.has_pending("s") is False


async def test_one_of_two_results_leaves_the_other_pending(
    store: SessionStore, session: Session
) -> None:
    """In koda any message after the calls settles them all."""
    first = await store.tool_calls.create("s", "Read", {"path": "a"})
    await store.tool_calls.create("s", "Read", {"path": "b"})
    await store.tool_calls.update("s", first.id, status="completed")
    await store.messages.append("s", "tool", "text of a", tool_call_id="c1")
    assert await store.tool_calls.has_pending("s") is True


async def test_calls_in_a_message_alone_are_not_pending(
    store: SessionStore, session: Session
) -> None:
    """In koda they are, an empty list of them too."""
    await store.messages.append("s", "assistant", None, tool_calls=[])
    await store.messages.append_many("s", [ask("c1")])
    assert await store.tool_calls.has_pending("s") is False


# Usage


async def test_an_empty_session_has_used_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.usage.session("s") == Usage()
    assert await store.usage.by_agent("s") == {}


async def test_usage_adds_up_over_messages(
    store: SessionStore, session: Session
) -> None:
    each = Usage(
        prompt_tokens=100,
        completion_tokens=20,
        cache_read_tokens=30,
        cache_creation_tokens=40,
        thinking_tokens=5,
    )
    await store.messages.append("s", "user", "hi")
    await store.messages.append("s", "assistant", "a", usage=each)
    await store.messages.append("s", "assistant", "b", usage=each)
    assert await store.usage.session("s") == Usage(
        prompt_tokens=200,
        completion_tokens=40,
        cache_read_tokens=60,
        cache_creation_tokens=80,
        thinking_tokens=10,
        api_calls=2,
    )


async def test_usage_by_agent_has_the_one_that_used_most_first(
    store: SessionStore, session: Session
) -> None:
    """koda counts what names no agent for "main", not for the session's own."""
    for name, tokens in ((None, 10), ("reviewer", 500), ("writer", 30), (None, 60)):
        used = Usage(prompt_tokens=tokens, completion_tokens=1)
        await store.messages.append("s", "assistant", "x", agent_name=name, usage=used)
    found = await store.usage.by_agent("s")
    assert [(name, each.prompt_tokens) for name, each in found.items()] == [
        ("reviewer", 500),
        ("default", 70),
        ("writer", 30),
    ]
    assert [each.api_calls for each in found.values()] == [1, 2, 1]


async def test_the_usage_of_an_unknown_session_is_an_error(
    store: SessionStore,
) -> None:
    """koda gives zeros."""
    with pytest.raises(SessionNotFound):
        await store.usage.session("nowhere")


# Metadata and to-do lists


async def test_metadata_is_none_until_it_is_set_and_then_replaced(
    store: SessionStore, session: Session
) -> None:
    assert await store.metadata.get("s", "mode") is None
    await store.metadata.set("s", "mode", "plan")
    assert await store.metadata.get("s", "mode") == "plan"
    await store.metadata.set("s", "mode", "")
    assert await store.metadata.get("s", "mode") == ""


async def test_sessions_have_their_own_metadata(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.metadata.set("s", "mode", "plan")
    assert await store.metadata.get("other", "mode") is None


async def test_a_todo_list_is_none_until_it_is_set_and_then_replaced(
    store: SessionStore, session: Session
) -> None:
    assert await store.todos.get("s") is None
    await store.todos.set("s", "- [ ] tests")
    await store.todos.set("s", "- [x] tests\n- [ ] docs")
    assert await store.todos.get("s") == "- [x] tests\n- [ ] docs"


async def test_a_todo_list_is_not_metadata(
    store: SessionStore, session: Session
) -> None:
    """In koda it is the metadata of the key "todo"."""
    await store.todos.set("s", "- [ ] tests")
    assert await store.metadata.get("s", "todo") is None
    await store.metadata.set("s", "todo", "x")
    assert await store.todos.get("s") == "- [ ] tests"


async def test_metadata_and_todos_need_their_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.metadata.set("nowhere", "mode", "plan")
    with pytest.raises(SessionNotFound):
        await store.todos.set("nowhere", "- [ ] tests")
