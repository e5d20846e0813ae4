"""What a runtime written for koda does to compact, and with what is archived."""

from __future__ import annotations

from datetime import UTC

import pytest

from tests.support.seeds import as_koda
from tests.support.seeds.as_koda import ROOT, context, talk
from tests.support.seeds.talking import answer, ask, say
from turnstore import (
    CompactedStatistics,
    InvalidArgument,
    PendingToolCalls,
    Session,
    SessionStore,
    Usage,
)
from turnstore.sql import codec

session = as_koda.session

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
    clock = codec.now_micros
    week_us = 7 * 24 * 3_600 * 1_000_000
    await talk(store, 6)
    monkeypatch.setattr(codec, "now_micros", lambda: clock() - week_us)
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
