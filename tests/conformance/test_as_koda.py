"""What a runtime written for koda does, on this store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from talking import answer, ask, say, shape

from turnstore import (
    CompactedStatistics,
    InvalidArgument,
    PendingToolCalls,
    Role,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    Usage,
    _codec,
)

pytestmark = pytest.mark.anyio

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ROOT = "/repo"


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(
        id="s", agent_name="default", project_root=ROOT, created_at=START
    )


async def talk(store: SessionStore, count: int, session_id: str = "s") -> None:
    """Turns of user and assistant: m1, m2, …"""
    await store.messages.append_many(
        session_id,
        [
            say("user" if at % 2 else "assistant", f"m{at}")
            for at in range(1, count + 1)
        ],
    )


async def context(store: SessionStore) -> list[tuple[Any, ...]]:
    return shape(await store.messages.context("s"))


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


# Compaction


async def test_a_compaction_tells_how_many_it_archived(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 10)
    done = await store.messages.compact("s", "so far", preserve=2)
    assert done.archived == 8


async def test_after_a_compaction_the_summary_comes_before_the_kept_tail(
    store: SessionStore, session: Session
) -> None:
    """koda sends the tail, the summary, and a hint to go on; there is no hint here."""
    await talk(store, 10)
    await store.messages.compact("s", "so far", preserve=2)
    assert await context(store) == [
        ("system", "so far", None),
        ("user", "m9", None),
        ("assistant", "m10", None),
    ]


async def test_preserving_none_leaves_the_summary(
    store: SessionStore, session: Session
) -> None:
    """koda leaves the hint too."""
    await talk(store, 6)
    done = await store.messages.compact("s", "so far", preserve=0)
    assert done.archived == 6
    assert await context(store) == [("system", "so far", None)]


@pytest.mark.parametrize("preserve", [3, 4])
async def test_preserving_all_writes_nothing(
    store: SessionStore, session: Session, preserve: int
) -> None:
    await talk(store, 3)
    before = await store.sessions.load("s")
    done = await store.messages.compact("s", "so far", preserve=preserve)
    assert done.archived == 0
    assert await store.sessions.load("s") == before


async def test_compacting_an_empty_session_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    done = await store.messages.compact("s", "so far", preserve=0)
    assert done.archived == 0
    assert await store.messages.list("s") == []


async def test_all_messages_are_listed_after_a_compaction_too(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 5)
    await store.messages.compact("s", "so far", preserve=2)
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["m1", "m2", "m3", "m4", "m5", "so far"]
    assert [each.compacted_at is None for each in found] == [False] * 3 + [True] * 3


async def test_a_second_compaction_archives_the_first_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    await store.messages.compact("s", "one", preserve=2)
    done = await store.messages.compact("s", "two", preserve=1)
    assert done.archived == 2
    assert await context(store) == [
        ("system", "two", None),
        ("assistant", "m6", None),
    ]


async def test_compacting_with_open_tool_calls_is_refused(
    store: SessionStore, session: Session
) -> None:
    """In koda the caller has to look first."""
    await talk(store, 6)
    call = await store.tool_calls.create("s", "Read", {})
    with pytest.raises(PendingToolCalls) as caught:
        await store.messages.compact("s", "so far")
    assert caught.value.open_calls == [call.id]
    assert (await store.archive.statistics()).message_count == 0


async def test_a_compaction_keeps_a_call_with_its_result(
    store: SessionStore, session: Session
) -> None:
    """koda splits them, and sends neither."""
    given = [say("user", "Read a."), ask("c1"), answer("c1"), say("user", "thanks")]
    await store.messages.append_many("s", given)
    done = await store.messages.compact("s", "so far", preserve=2)
    assert done.archived == 1
    assert await context(store) == [
        ("system", "so far", None),
        ("assistant", None, ["c1"]),
        ("tool", "done", "c1"),
        ("user", "thanks", None),
    ]


@pytest.mark.parametrize("summary", ["", " \n"])
async def test_a_summary_must_say_something(
    store: SessionStore, session: Session, summary: str
) -> None:
    await talk(store, 6)
    with pytest.raises(InvalidArgument):
        await store.messages.compact("s", summary)
    assert (await store.archive.statistics()).message_count == 0


async def test_a_compaction_leaves_the_usage(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=9, completion_tokens=1, api_calls=1)
    await store.messages.append("s", "assistant", "x", usage=used)
    await talk(store, 4)
    await store.messages.compact("s", "so far", preserve=1)
    assert await store.usage.session("s") == used


async def test_the_tokens_of_the_summary_count(
    store: SessionStore, session: Session
) -> None:
    """koda does not record them."""
    await talk(store, 4)
    used = Usage(prompt_tokens=900, completion_tokens=50, api_calls=1)
    await store.messages.compact("s", "so far", usage=used, preserve=1)
    assert await store.usage.session("s") == used


# What is archived, and purging it


async def test_at_first_nothing_is_archived(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    assert await store.archive.statistics() == CompactedStatistics(
        message_count=0, session_count=0, size_bytes=0, oldest=None
    )


async def test_statistics_are_over_all_sessions(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other", project_root="/other")
    for name in ("s", "other"):
        await talk(store, 4, name)
        await store.messages.compact(name, "so far", preserve=1)
    [oldest, *_] = await store.messages.list("s")
    found = await store.archive.statistics()
    assert (found.message_count, found.session_count) == (6, 2)
    assert found.oldest == oldest.compacted_at
    assert found.oldest is not None
    assert found.oldest.tzinfo is UTC


async def test_archived_size_is_in_bytes_and_counts_calls_without_content(
    store: SessionStore, session: Session
) -> None:
    """koda counts characters, and nothing of a message without content."""
    given = [say("user", "é" * 100), ask("c" * 100)]
    await store.messages.append_many("s", given)
    await store.messages.compact("s", "so far", preserve=0)
    # Two bytes a letter, and a hundred of the call's id.
    assert (await store.archive.statistics()).size_bytes > 200 + 100


async def test_a_purge_of_zero_days_deletes_all_that_is_archived(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    await store.messages.compact("s", "so far", preserve=2)
    assert await store.archive.purge(older_than_days=0) == 4
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["m5", "m6", "so far"]
    assert await context(store) == [
        ("system", "so far", None),
        ("user", "m5", None),
        ("assistant", "m6", None),
    ]
    assert await store.archive.purge(older_than_days=0) == 0


async def test_a_purge_leaves_what_was_archived_lately(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    await store.messages.compact("s", "so far", preserve=2)
    assert await store.archive.purge(older_than_days=1) == 0
    assert (await store.archive.statistics()).message_count == 4


async def test_a_purge_deletes_what_was_archived_days_ago(
    store: SessionStore, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _codec.now_micros
    week_us = 7 * 24 * 3_600 * 1_000_000
    await talk(store, 6)
    monkeypatch.setattr(_codec, "now_micros", lambda: clock() - week_us)
    await store.messages.compact("s", "so far", preserve=2)
    monkeypatch.undo()
    assert await store.archive.purge(older_than_days=8) == 0
    assert await store.archive.purge(older_than_days=6) == 4


async def test_a_purge_leaves_the_usage(store: SessionStore, session: Session) -> None:
    """koda deletes it with the messages."""
    used = Usage(prompt_tokens=9, completion_tokens=1, api_calls=1)
    await store.messages.append("s", "assistant", "x", usage=used)
    await store.messages.append("s", "user", "y")
    await store.messages.compact("s", "so far", preserve=0)
    assert await store.archive.purge(older_than_days=0) == 2
    assert await store.usage.session("s") == used
    assert await store.usage.by_agent("s") == {"default": used}


async def test_a_purge_can_keep_to_a_project(
    store: SessionStore, session: Session
) -> None:
    """koda purges every project."""
    await store.sessions.create(id="other", project_root="/other")
    for name in ("s", "other"):
        await talk(store, 4, name)
        await store.messages.compact(name, "so far", preserve=1)
    assert await store.archive.purge(older_than_days=0, project_root=ROOT) == 3
    assert len(await store.messages.list("other")) == 5


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
