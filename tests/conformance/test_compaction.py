"""``messages.compact`` and ``uncompact``."""

from __future__ import annotations

import random

import pytest

from tests.support.seeds.talking import answer, ask, say, shape
from turnstore import (
    InvalidArgument,
    NewMessage,
    PendingToolCalls,
    Role,
    Session,
    SessionNotFound,
    SessionStore,
    Usage,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create()


async def talk(store: SessionStore, session: Session, count: int) -> None:
    head = (await store.sessions.get(session.id) or session).message_head
    await store.messages.append_many(
        session.id,
        [
            say("user" if at % 2 else "assistant", f"m{at}")
            for at in range(head + 1, head + 1 + count)
        ],
    )


async def contents(store: SessionStore, session: Session) -> list[object]:
    return [each.content for each in await store.messages.context(session.id)]


async def test_the_summary_comes_before_the_kept_tail(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 6)
    done = await store.messages.compact(session.id, "so far", preserve=2)
    assert await contents(store, session) == ["so far", "m5", "m6"]
    assert done.archived == 4
    assert done.boundary_seq == 5
    assert done.summary_message is not None
    assert done.summary_message.role is Role.SYSTEM
    assert done.summary_message.seq == 7
    assert done.created_at == done.summary_message.created_at


async def test_four_messages_stay_unless_told_otherwise(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 6)
    await store.messages.compact(session.id, "so far")
    assert await contents(store, session) == ["so far", "m3", "m4", "m5", "m6"]


async def test_list_keeps_the_order_and_marks_the_archived(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 3)
    done = await store.messages.compact(session.id, "so far", preserve=1)
    found = await store.messages.list(session.id)
    assert [each.content for each in found] == ["m1", "m2", "m3", "so far"]
    assert [each.compacted_at for each in found] == [
        done.created_at,
        done.created_at,
        None,
        None,
    ]
    assert [each.is_summary for each in found] == [False, False, False, True]
    assert [each.seq for each in found] == [1, 2, 3, 4]


async def test_the_active_ones_can_be_listed_alone(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 3)
    await store.messages.compact(session.id, "so far", preserve=1)
    active = await store.messages.list(session.id, include_compacted=False)
    assert [each.content for each in active] == ["m3", "so far"]
    newest = await store.messages.list(session.id, include_compacted=False, last=1)
    assert [each.content for each in newest] == ["so far"]
    users = await store.messages.list(session.id, include_compacted=False, role="user")
    assert [each.content for each in users] == ["m3"]


async def test_messages_after_a_compaction_come_after_the_tail(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 4)
    await store.messages.compact(session.id, "so far", preserve=1)
    await talk(store, session, 2)
    assert await contents(store, session) == ["so far", "m4", "m6", "m7"]


async def test_a_second_compaction_archives_the_first_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 4)
    await store.messages.compact(session.id, "one", preserve=2)
    await talk(store, session, 2)
    done = await store.messages.compact(session.id, "two", preserve=2)
    assert await contents(store, session) == ["two", "m6", "m7"]
    assert done.archived == 3
    found = await store.messages.list(session.id)
    archived = [each.content for each in found if each.compacted_at is not None]
    assert archived == ["m1", "m2", "m3", "m4", "one"]


async def test_nothing_to_archive_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 4)
    before = await store.sessions.get(session.id)
    done = await store.messages.compact(session.id, "so far", preserve=4)
    assert (done.archived, done.summary_message, done.created_at) == (0, None, None)
    assert await store.sessions.get(session.id) == before
    assert len(await store.messages.list(session.id)) == 4


async def test_an_empty_session_has_nothing_to_archive(
    store: SessionStore, session: Session
) -> None:
    done = await store.messages.compact(session.id, "so far", preserve=0)
    assert done.archived == 0
    assert await store.messages.list(session.id) == []


async def test_preserving_nothing_leaves_the_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 3)
    done = await store.messages.compact(session.id, "so far", preserve=0)
    assert done.archived == 3
    assert await contents(store, session) == ["so far"]
    await talk(store, session, 1)
    assert await contents(store, session) == ["so far", "m5"]


async def test_the_boundary_moves_so_that_no_call_is_split_from_its_result(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many(
        session.id,
        [
            say("user", "go"),
            ask("a", "b"),
            answer("a"),
            answer("b"),
            say("user", "thanks"),
        ],
    )
    done = await store.messages.compact(session.id, "so far", preserve=2)
    assert done.archived == 1
    assert done.boundary_seq == 2
    assert shape(await store.messages.context(session.id)) == [
        ("system", "so far", None),
        ("assistant", None, ["a", "b"]),
        ("tool", "done", "a"),
        ("tool", "done", "b"),
        ("user", "thanks", None),
    ]


async def test_the_boundary_moves_until_it_splits_no_pair(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many(
        session.id,
        [say("user", "go"), ask("a"), ask("b"), answer("a"), answer("b")],
    )
    done = await store.messages.compact(session.id, "so far", preserve=1)
    assert done.boundary_seq == 2


async def test_a_boundary_moved_to_the_start_leaves_nothing_to_archive(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many(session.id, [ask("a"), answer("a")])
    done = await store.messages.compact(session.id, "so far", preserve=1)
    assert done.archived == 0
    assert len(await store.messages.list(session.id)) == 2


async def test_open_tool_calls_refuse_a_compaction(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 6)
    call = await store.tool_calls.create(session.id, "f", {})
    with pytest.raises(PendingToolCalls) as caught:
        await store.messages.compact(session.id, "so far")
    assert caught.value.session_id == session.id
    assert caught.value.open_calls == [call.id]
    assert len(await store.messages.list(session.id)) == 6
    await store.tool_calls.update(session.id, call.id, status="completed")
    assert (await store.messages.compact(session.id, "so far")).archived == 2


async def test_an_unanswered_call_without_a_row_does_not_refuse(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 5)
    await store.messages.append_many(session.id, [ask("a")])
    assert (await store.messages.compact(session.id, "so far")).archived == 2


async def test_counts_and_numbers_go_on(store: SessionStore, session: Session) -> None:
    await talk(store, session, 6)
    await store.messages.compact(session.id, "so far", preserve=2)
    found = await store.sessions.get(session.id)
    assert found is not None
    assert (found.message_count, found.message_head) == (7, 7)
    message = await store.messages.append(session.id, "user", "next")
    assert message.seq == 8


async def test_the_active_message_stays_and_the_summary_is_in_no_branch(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 3)
    before = await store.sessions.get(session.id)
    await store.messages.compact(session.id, "so far", preserve=1)
    after = await store.sessions.get(session.id)
    assert before is not None and after is not None
    assert after.active_message_id == before.active_message_id
    await store.messages.append(session.id, "user", "next")
    branch = await store.messages.branch(session.id)
    assert [each.content for each in branch] == ["m1", "m2", "m3", "next"]
    assert [each.compacted_at is None for each in branch] == [
        False,
        False,
        True,
        True,
    ]


async def test_summaries_are_not_the_last_message_of_a_role(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append(session.id, "system", "be brief")
    await talk(store, session, 3)
    await store.messages.compact(session.id, "so far", preserve=0)
    last = await store.messages.last(session.id, "system")
    assert last is not None
    assert last.content == "be brief"
    assert last.compacted_at is not None


async def test_the_usage_of_a_compaction_counts(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=9, completion_tokens=3)
    await store.messages.append(session.id, "assistant", "a", usage=used)
    await talk(store, session, 1)
    own = Usage(prompt_tokens=100, completion_tokens=20)
    done = await store.messages.compact(
        session.id, "so far", preserve=0, usage=own, model="small"
    )
    assert done.summary_message is not None
    assert done.summary_message.usage == own
    assert done.summary_message.model == "small"
    found = await store.sessions.get(session.id)
    assert found is not None
    assert found.usage == Usage(prompt_tokens=109, completion_tokens=23, api_calls=2)


async def test_load_gives_archived_messages_too(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 3)
    done = await store.messages.compact(session.id, "so far", preserve=1)
    state = await store.sessions.load(session.id)
    assert state is not None
    assert state.messages == await store.messages.list(session.id)
    assert state.messages[0].compacted_at == done.created_at


async def test_uncompact_takes_the_last_one_back(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 4)
    before = await store.messages.list(session.id)
    done = await store.messages.compact(session.id, "so far", preserve=1)
    assert await store.messages.uncompact(session.id) == done
    assert await store.messages.list(session.id) == before
    assert await store.messages.context(session.id) == before
    found = await store.sessions.get(session.id)
    assert found is not None
    assert found.message_count == 4
    # Its number is not used again.
    assert (await store.messages.append(session.id, "user", "next")).seq == 6


async def test_uncompact_goes_back_one_at_a_time(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 4)
    await store.messages.compact(session.id, "one", preserve=2)
    first = await store.messages.context(session.id)
    await store.messages.compact(session.id, "two", preserve=1)
    await store.messages.uncompact(session.id)
    assert await store.messages.context(session.id) == first
    await store.messages.uncompact(session.id)
    assert await contents(store, session) == ["m1", "m2", "m3", "m4"]


async def test_uncompact_without_a_compaction_does_nothing(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 2)
    assert await store.messages.uncompact(session.id) is None
    assert len(await store.messages.list(session.id)) == 2


async def test_uncompact_keeps_the_usage(store: SessionStore, session: Session) -> None:
    await talk(store, session, 2)
    used = Usage(prompt_tokens=5, api_calls=1)
    await store.messages.compact(session.id, "so far", preserve=0, usage=used)
    await store.messages.uncompact(session.id)
    found = await store.sessions.get(session.id)
    assert found is not None
    assert found.usage == used


async def test_an_active_summary_is_active_no_more_once_taken_back(
    store: SessionStore, session: Session
) -> None:
    await talk(store, session, 2)
    done = await store.messages.compact(session.id, "so far", preserve=0)
    assert done.summary_message is not None
    await store.messages.set_active(session.id, done.summary_message.id)
    await store.messages.uncompact(session.id)
    found = await store.sessions.get(session.id)
    assert found is not None
    assert found.active_message_id is None


@pytest.mark.parametrize("summary", ["", " \n", None, 7, ["x"]])
async def test_a_summary_must_say_something(
    store: SessionStore, session: Session, summary: str
) -> None:
    await talk(store, session, 6)
    with pytest.raises(InvalidArgument, match="summary"):
        await store.messages.compact(session.id, summary)
    assert len(await store.messages.list(session.id)) == 6


@pytest.mark.parametrize("preserve", [-1, 1.5, "4", True])
async def test_preserve_is_a_count(
    store: SessionStore, session: Session, preserve: int
) -> None:
    with pytest.raises(InvalidArgument, match="preserve"):
        await store.messages.compact(session.id, "x", preserve=preserve)


async def test_unknown_sessions_are_errors(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.messages.compact("nowhere", "x")
    with pytest.raises(SessionNotFound):
        await store.messages.uncompact("nowhere")


async def test_random_histories_match_a_model(
    store: SessionStore, rng: random.Random
) -> None:
    """Compactions stacked and taken back, against plain lists."""
    session = await store.sessions.create()
    active: list[str] = []
    stack: list[list[str]] = []
    for step in range(120):
        done = rng.random()
        if done < 0.7:
            text = f"m{step}"
            await store.messages.append_many(
                session.id, [NewMessage(role="user", content=text)]
            )
            active.append(text)
            # What came after a compaction stays when it is taken back.
            for each in stack:
                each.append(text)
        elif done < 0.85:
            keep = rng.randrange(6)
            result = await store.messages.compact(session.id, f"s{step}", preserve=keep)
            expected = max(0, len(active) - keep)
            assert result.archived == expected
            if expected:
                stack.append(list(active))
                active = [f"s{step}", *active[expected:]]
        else:
            taken = await store.messages.uncompact(session.id)
            assert (taken is None) == (not stack)
            if stack:
                active = stack.pop()
        assert await contents(store, session) == active
