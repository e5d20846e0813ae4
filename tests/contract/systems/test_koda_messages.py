"""What a runtime written for koda does with messages, and what it sends to a model."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.seeds import as_koda
from tests.support.seeds.as_koda import ROOT, START, context, talk
from tests.support.seeds.talking import answer, ask, say, shape
from turnstore import (
    InvalidArgument,
    Role,
    Session,
    SessionNotFound,
    SessionStore,
    Usage,
)

session = as_koda.session

# Messages


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
async def test_a_role_reads_as_it_is_written(
    store: SessionStore, session: Session, role: str
) -> None:
    made = await store.messages.append("s", role, "text")
    assert made.role is Role(role)
    assert f"{made.role}" == role
    assert await store.messages.last("s", role) == made


async def test_a_role_it_does_not_know_is_refused(
    store: SessionStore, session: Session
) -> None:
    """koda stores it, and reads it as user."""
    with pytest.raises(InvalidArgument):
        await store.messages.append("s", "phase", "planning")
    assert await store.messages.list("s") == []


async def test_a_message_comes_back_with_every_field(
    store: SessionStore, session: Session
) -> None:
    calls = [{"id": "c1", "function_name": "Read", "arguments": '{"path": "a"}'}]
    used = Usage(
        prompt_tokens=100,
        completion_tokens=20,
        cache_read_tokens=30,
        cache_creation_tokens=40,
        thinking_tokens=5,
    )
    await store.messages.append("s", "assistant", "Reading.", tool_calls=calls)
    await store.messages.append("s", "tool", "text of a", tool_call_id="c1")
    await store.messages.append("s", "assistant", "Done.", usage=used)
    asked, told, done = await store.messages.list("s")
    assert (asked.content, asked.tool_calls) == ("Reading.", calls)
    assert (asked.usage, asked.tool_call_id) == (None, None)
    assert (told.role, told.tool_call_id) == (Role.TOOL, "c1")
    assert (told.content, told.tool_calls) == ("text of a", None)
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (100, 20)
    assert (done.usage.cache_read_tokens, done.usage.cache_creation_tokens) == (30, 40)
    assert done.usage.thinking_tokens == 5


async def test_no_content_and_empty_content_are_not_the_same(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "assistant", None)
    await store.messages.append("s", "assistant", "")
    assert [each.content for each in await store.messages.list("s")] == [None, ""]


async def test_ids_of_messages_are_text_and_their_order_is_seq(
    store: SessionStore, session: Session
) -> None:
    """In koda the id is a number over all sessions, and the order."""
    await store.sessions.create(id="other")
    for name in ("s", "other", "s"):
        await store.messages.append(name, "user", "x")
    found = await store.messages.list("s")
    assert [each.seq for each in found] == [1, 2]
    assert all(type(each.id) is str for each in found)


async def test_a_message_names_the_agent_that_wrote_it(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "assistant", "a", agent_name="reviewer")
    await store.messages.append("s", "assistant", "b")
    found = await store.messages.list("s")
    assert [each.agent_name for each in found] == ["reviewer", None]


async def test_a_message_needs_its_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.messages.append("nowhere", "user", "hi")


async def test_a_message_touches_its_session_in_the_same_commit(
    store: SessionStore, session: Session
) -> None:
    """koda commits the two apart."""
    commits = (await store.statistics()).batches
    await store.messages.append("s", "user", "hi")
    assert (await store.statistics()).batches == commits + 1
    found = await store.sessions.get("s")
    assert found is not None
    assert found.updated_at > session.updated_at


# Context


async def test_a_context_is_in_order_and_complete(
    store: SessionStore, session: Session
) -> None:
    given = [
        say("system", "Be brief."),
        say("user", "Read a."),
        ask("c1", text="Reading."),
        answer("c1", "text of a"),
        say("assistant", "Read."),
    ]
    await store.messages.append_many("s", given)
    assert await context(store) == [
        ("system", "Be brief.", None),
        ("user", "Read a.", None),
        ("assistant", "Reading.", ["c1"]),
        ("tool", "text of a", "c1"),
        ("assistant", "Read.", None),
    ]


async def test_a_call_cut_off_loses_the_call_and_keeps_its_text(
    store: SessionStore, session: Session
) -> None:
    """koda drops the whole message."""
    given = [say("user", "Read a."), ask("c1", text="Reading.")]
    await store.messages.append_many("s", given)
    assert await context(store) == [
        ("user", "Read a.", None),
        ("assistant", "Reading.", None),
    ]


async def test_a_result_without_its_call_is_not_sent(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many("s", [say("user", "Read a."), answer("c1")])
    assert await context(store) == [("user", "Read a.", None)]


async def test_of_parallel_calls_the_answered_ones_are_sent(
    store: SessionStore, session: Session
) -> None:
    """koda drops the message and leaves the result of the answered one alone."""
    await store.messages.append_many("s", [ask("c1", "c2"), answer("c1")])
    assert await context(store) == [
        ("assistant", None, ["c1"]),
        ("tool", "done", "c1"),
    ]


async def test_a_repeated_call_id_pairs_by_position(
    store: SessionStore, session: Session
) -> None:
    """koda pairs any two messages with the id."""
    given = [ask("c", text="one"), answer("c"), ask("c", text="two")]
    await store.messages.append_many("s", given)
    assert await context(store) == [
        ("assistant", "one", ["c"]),
        ("tool", "done", "c"),
        ("assistant", "two", None),
    ]


async def test_a_list_of_all_messages_is_not_pruned(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many("s", [answer("c0"), ask("c1", text="Reading.")])
    assert shape(await store.messages.list("s")) == [
        ("tool", "done", "c0"),
        ("assistant", "Reading.", ["c1"]),
    ]


async def test_an_unknown_session_has_no_context(store: SessionStore) -> None:
    """koda gives an empty one."""
    with pytest.raises(SessionNotFound):
        await store.messages.context("nowhere")
    with pytest.raises(SessionNotFound):
        await store.messages.list("nowhere")


# The last messages


async def test_recent_prompts_of_all_projects_are_newest_first(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other", project_root="/other")
    for seconds, (name, text) in enumerate(
        [("s", "one"), ("other", "two"), ("s", "three"), ("s", ""), ("s", None)]
    ):
        at = START + timedelta(seconds=seconds)
        await store.messages.append(name, "user", text, created_at=at)
    await store.messages.append("s", "assistant", "four")
    assert await store.messages.recent_user(10) == ["three", "two", "one"]
    assert await store.messages.recent_user(2) == ["three", "two"]


async def test_recent_prompts_can_be_those_of_one_project(
    store: SessionStore, session: Session
) -> None:
    """koda shows those of every project."""
    await store.sessions.create(id="other", project_root="/other")
    await store.messages.append("s", "user", "mine")
    await store.messages.append("other", "user", "not mine")
    assert await store.messages.recent_user(10, project_root=ROOT) == ["mine"]


async def test_recent_prompts_are_there_after_a_compaction(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    await store.messages.compact("s", "so far", preserve=0)
    assert sorted(await store.messages.recent_user(10)) == ["m1", "m3"]


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_an_empty_session_has_no_last_message(
    store: SessionStore, session: Session, role: str
) -> None:
    """koda gives empty text."""
    assert await store.messages.last("s", role) is None


async def test_the_last_message_is_that_of_its_role(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    for role, text in (("user", "m3"), ("assistant", "m4")):
        found = await store.messages.last("s", role)
        assert found is not None
        assert found.content == text


async def test_the_last_message_may_be_one_of_calls_alone(
    store: SessionStore, session: Session
) -> None:
    """koda passes over what has no text."""
    await store.messages.append_many("s", [say("assistant", "hello"), ask("c1")])
    found = await store.messages.last("s", "assistant")
    assert found is not None
    assert (found.content, found.seq) == (None, 2)


async def test_a_compaction_is_nobodys_last_message(
    store: SessionStore, session: Session
) -> None:
    """After one, koda gives the hint that it added as the last answer."""
    await talk(store, 4)
    await store.messages.compact("s", "so far", preserve=0)
    found = await store.messages.last("s", "assistant")
    assert found is not None
    assert found.content == "m4"
    assert await store.messages.last("s", "system") is None
