"""``store.messages.compact``: a summary in place of what was said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.messages.talks import answer, ask, say, sent, talk
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    NewMessage,
    PendingToolCalls,
    Role,
    Session,
    SessionStore,
    Usage,
)

# What is archived, and what stays


async def test_compact_archives_all_but_the_last_active_messages(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    done = await store.messages.compact("s", "so far", preserve=2)
    assert (done.archived, done.boundary_seq) == (4, 5)
    assert await archived(store) == ["m1", "m2", "m3", "m4"]
    assert await sent(store) == ["so far", "m5", "m6"]


async def test_compact_preserves_4_unless_told_otherwise(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    await store.messages.compact("s", "so far")
    assert await sent(store) == ["so far", "m3", "m4", "m5", "m6"]


async def test_preserving_none_leaves_the_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    assert (await store.messages.compact("s", "so far", preserve=0)).archived == 3
    assert await sent(store) == ["so far"]
    await store.messages.append("s", "user", "next")
    assert await sent(store) == ["so far", "next"]


async def test_what_is_said_later_follows_the_kept_tail(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    await store.messages.compact("s", "so far", preserve=1)
    await store.messages.append_many("s", [say("user", "m6"), say("user", "m7")])
    assert await sent(store) == ["so far", "m4", "m6", "m7"]


async def test_archived_messages_stay_in_list_with_their_time(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    done = await store.messages.compact("s", "so far", preserve=1)
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["m1", "m2", "m3", "so far"]
    assert [each.seq for each in found] == [1, 2, 3, 4]
    times = [each.compacted_at for each in found]
    assert times == [done.created_at, done.created_at, None, None]
    assert done.created_at is not None
    assert [each.is_summary for each in found] == [False, False, False, True]
    state = await store.sessions.load("s")
    assert state is not None and state.messages == found


async def test_list_leaves_compacted_messages_out_when_told(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    await store.messages.compact("s", "so far", preserve=1)
    found = await store.messages.list("s", include_compacted=False)
    assert [each.content for each in found] == ["m3", "so far"]
    last = await store.messages.list("s", include_compacted=False, last=1)
    assert [each.content for each in last] == ["so far"]
    users = await store.messages.list("s", include_compacted=False, role="user")
    assert [each.content for each in users] == ["m3"]


async def test_list_leaves_nothing_out_when_nothing_is_compacted(
    store: SessionStore, session: Session
) -> None:
    made = await store.messages.append_many("s", [say("user")] * 3)
    assert await store.messages.list("s", include_compacted=False) == made
    last = await store.messages.list("s", include_compacted=False, last=1)
    assert last == made[2:]


async def test_a_second_compaction_archives_the_first_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    await store.messages.compact("s", "one", preserve=2)
    await store.messages.append_many("s", [say("user", "m6"), say("user", "m7")])
    done = await store.messages.compact("s", "two", preserve=2)
    assert done.archived == 3
    assert await sent(store) == ["two", "m6", "m7"]
    assert await archived(store) == ["m1", "m2", "m3", "m4", "one"]


@pytest.mark.parametrize("preserve", [3, 4, 99])
async def test_nothing_to_archive_writes_nothing(
    store: SessionStore, session: Session, preserve: int
) -> None:
    await talk(store, 3)
    before = await store.sessions.load("s")
    done = await store.messages.compact("s", "so far", preserve=preserve)
    assert (done.archived, done.summary_message, done.created_at) == (0, None, None)
    assert await store.sessions.load("s") == before


async def test_an_empty_session_has_nothing_to_archive(
    store: SessionStore, session: Session
) -> None:
    assert (await store.messages.compact("s", "so far", preserve=0)).archived == 0
    assert await store.sessions.get("s") == session


# The boundary


@pytest.mark.parametrize(
    ("given", "preserve", "boundary_seq"),
    [
        ([say("user"), ask("a"), answer("a")], 1, 2),
        ([say("user"), ask("a", "b"), answer("a"), answer("b")], 1, 2),
        ([say("user"), ask("a", "b"), answer("a"), answer("b")], 2, 2),
        ([say("user"), ask("a"), ask("b"), answer("a"), answer("b")], 1, 2),
        ([ask("a"), answer("a"), ask("a"), answer("a")], 1, 3),
        ([ask("a"), answer("a"), say("user")], 1, 3),
        ([say("user"), ask("a", "b"), answer("a"), answer("b"), say("user")], 2, 2),
    ],
    ids=[
        *("pair", "parallel", "between results", "crossed"),
        *("repeated id", "clear", "before the last result"),
    ],
)
async def test_the_boundary_moves_earlier_to_split_no_call_from_its_result(
    store: SessionStore,
    session: Session,
    given: list[NewMessage],
    preserve: int,
    boundary_seq: int,
) -> None:
    made = await store.messages.append_many("s", given)
    done = await store.messages.compact("s", "so far", preserve=preserve)
    assert (done.boundary_seq, done.archived) == (boundary_seq, boundary_seq - 1)
    summary, *kept = await store.messages.context("s")
    assert summary == done.summary_message
    # A result that came after another call stands directly after its own.
    assert sorted(kept, key=lambda each: each.seq) == made[boundary_seq - 1 :]


async def test_a_boundary_moved_to_the_start_leaves_nothing_to_archive(
    store: SessionStore, session: Session
) -> None:
    made = await store.messages.append_many("s", [ask("a"), answer("a")])
    assert (await store.messages.compact("s", "so far", preserve=1)).archived == 0
    assert await store.messages.list("s") == made


# The summary


async def test_the_summary_is_a_system_message_with_its_own_seq(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    done = await store.messages.compact("s", "so far", preserve=1)
    summary = done.summary_message
    assert summary is not None
    assert (summary.role, summary.seq) == (Role.SYSTEM, 4)
    assert (summary.content, summary.is_summary) == ("so far", True)
    assert summary.created_at == done.created_at
    assert await store.messages.list("s", last=1) == [summary]
    assert (await store.messages.append("s", "user")).seq == 5


async def test_message_count_counts_every_message_kept(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 6)
    await store.messages.compact("s", "so far", preserve=2)
    found = await store.sessions.get("s")
    assert found is not None
    assert (found.message_count, found.message_head) == (7, 7)


async def test_a_summary_is_not_the_last_message_of_its_role(
    store: SessionStore, session: Session
) -> None:
    said = await store.messages.append("s", "system", "be brief")
    await talk(store, 3)
    await store.messages.compact("s", "so far", preserve=3)
    last = await store.messages.last("s", "system")
    assert last is not None
    assert (last.id, last.content) == (said.id, "be brief")
    assert last.compacted_at is not None


async def test_the_usage_and_model_of_a_summary_count(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=9, completion_tokens=3, api_calls=1)
    await store.messages.append("s", "assistant", usage=used)
    await talk(store, 1)
    own = Usage(prompt_tokens=100, completion_tokens=20)
    done = await store.messages.compact(
        "s", "so far", preserve=0, usage=own, model="small"
    )
    assert done.summary_message is not None
    assert (done.summary_message.model, done.summary_message.usage) == ("small", own)
    total = Usage(prompt_tokens=109, completion_tokens=23, api_calls=2)
    assert await store.usage.session("s") == total
    found = await store.sessions.get("s")
    assert found is not None and found.usage == total


async def test_compact_leaves_the_usage_of_what_it_archives(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=9, api_calls=1)
    await store.messages.append("s", "assistant", usage=used)
    await store.messages.compact("s", "so far", preserve=0)
    found = await store.sessions.get("s")
    assert found is not None
    assert found.usage == await store.usage.session("s") == used


async def test_a_branch_goes_on_through_a_compaction(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    before = await store.sessions.get("s")
    await store.messages.compact("s", "so far", preserve=1)
    after = await store.sessions.get("s")
    assert before is not None and after is not None
    assert after.active_message_id == before.active_message_id
    await store.messages.append("s", "user", "next")
    branch = await store.messages.branch("s")
    assert [each.content for each in branch] == ["m1", "m2", "m3", "next"]
    compacted = [each.compacted_at is not None for each in branch]
    assert compacted == [True, True, False, False]


# Refused


@pytest.mark.parametrize("status", ["pending", "approved", "executing"])
async def test_open_tool_calls_refuse_a_compaction(
    store: SessionStore, session: Session, status: str
) -> None:
    await talk(store, 6)
    call = await store.tool_calls.create("s", "f", {}, status=status)
    before = await store.sessions.load("s")
    with pytest.raises(PendingToolCalls) as caught:
        await store.messages.compact("s", "so far")
    assert (caught.value.session_id, caught.value.open_calls) == ("s", [call.id])
    assert await store.sessions.load("s") == before


@pytest.mark.parametrize("status", ["completed", "failed", "denied"])
async def test_closed_tool_calls_refuse_no_compaction(
    store: SessionStore, session: Session, status: str
) -> None:
    await talk(store, 6)
    call = await store.tool_calls.create("s", "f", {})
    await store.tool_calls.update("s", call.id, status=status)
    assert (await store.messages.compact("s", "so far")).archived == 2


async def test_an_unanswered_call_without_a_row_refuses_no_compaction(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 5)
    await store.messages.append_many("s", [ask("a")])
    assert (await store.messages.compact("s", "so far")).archived == 2


@pytest.mark.parametrize("wrong", ["", " \n", None, 7, ["x"]], ids=repr)
async def test_a_summary_says_something(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    await talk(store, 6)
    with pytest.raises(InvalidArgument, match="summary"):
        await store.messages.compact("s", wrong)
    assert await archived(store) == []


@pytest.mark.parametrize("wrong", [-1, 1.5, "4", True], ids=repr)
async def test_preserve_is_a_count(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    await talk(store, 6)
    with pytest.raises(InvalidArgument, match="preserve"):
        await store.messages.compact("s", "so far", preserve=wrong)
    assert await archived(store) == []


# Several stores on one database


async def test_of_two_stores_that_compact_one_archives(open_shared: OpenStore) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    await talk(stores[0], 6)
    done = await asyncio.gather(
        *(each.messages.compact("s", "so far", preserve=3) for each in stores)
    )
    # The other one finds the first one's summary and the 3 that it preserved.
    assert sorted(each.archived for each in done) == [1, 3]
    for each in stores:
        assert await sent(each) == ["so far", "m4", "m5", "m6"]


async def archived(store: SessionStore) -> list[Any]:
    found = await store.messages.list("s")
    return [each.content for each in found if each.compacted_at is not None]
