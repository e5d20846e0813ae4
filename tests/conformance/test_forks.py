"""``sessions.fork``: a session that goes on from a point of another."""

from __future__ import annotations

import random

import pytest

from turnstore import (
    InvalidArgument,
    MessageExists,
    NewEvent,
    NewMessage,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    ToolPolicy,
    Usage,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def parent(store: SessionStore) -> Session:
    """A session with five messages and six events."""
    session = await store.sessions.create(id="parent", title="Parent")
    await add_messages(store, "parent", 5)
    await add_events(store, "parent", 6)
    return session


async def add_messages(store: SessionStore, name: str, count: int) -> None:
    await store.messages.append_many(
        name,
        [
            NewMessage(role="user" if at % 2 else "assistant", content=f"{name} {at}")
            for at in range(1, count + 1)
        ],
    )


async def add_events(store: SessionStore, name: str, count: int) -> None:
    await store.events.append_many(
        name, [NewEvent(type=f"t{at % 2}", data=[name, at]) for at in range(count)]
    )


async def texts(store: SessionStore, name: str) -> list[object]:
    return [each.content for each in await store.messages.list(name)]


async def event_seqs(store: SessionStore, name: str) -> list[int]:
    return [each.seq for each in await store.events.list(name)]


async def test_a_fork_has_its_parents_messages_and_events(
    store: SessionStore, parent: Session
) -> None:
    fork = await store.sessions.fork("parent", new_id="fork")
    ours, theirs = (
        await store.messages.list("fork"),
        await store.messages.list("parent"),
    )
    assert [each.session_id for each in ours] == ["fork"] * 5
    assert [(each.id, each.seq, each.content, each.parent_id) for each in ours] == [
        (each.id, each.seq, each.content, each.parent_id) for each in theirs
    ]
    events = await store.events.list("fork")
    assert [(each.session_id, each.seq) for each in events] == [
        ("fork", seq) for seq in range(1, 7)
    ]
    assert [each.data for each in events] == [["parent", at] for at in range(6)]
    assert fork.id == "fork"
    assert (fork.message_count, fork.message_head, fork.event_head) == (5, 5, 6)


async def test_a_fork_has_its_parents_fields(store: SessionStore) -> None:
    given = {
        "agent_name": "coder",
        "project_root": "/repo",
        "title": "Title",
        "provider": "p",
        "model": "m",
        "system_prompt": "s",
        "user_prompt": "u",
        "config": {"a": [1]},
        "tool_policy": ToolPolicy(mode="mixed", tools=frozenset({"ls"})),
        "metadata": {"k": "v"},
    }
    await store.sessions.create(id="p", **given)  # type: ignore[arg-type]
    fork = await store.sessions.fork("p")
    assert {name: getattr(fork, name) for name in given} == given
    assert fork.parent_session_id == "p"
    assert fork.id != "p"


async def test_a_fork_starts_idle_without_usage_calls_or_result(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="p")
    used = Usage(prompt_tokens=3, completion_tokens=4)
    await store.messages.append("p", "assistant", "x", usage=used)
    await store.tool_calls.create("p", "f", {})
    await store.sessions.update("p", status="failed", error="e", result=1)
    fork = await store.sessions.fork("p")
    assert fork.status == "idle"
    assert (fork.result, fork.error, fork.ended_at) == (None, None, None)
    assert fork.usage == Usage()
    assert (fork.tool_call_count, fork.pending_tool_calls) == (0, 0)
    assert await store.tool_calls.list(fork.id) == []


async def test_a_point_bounds_messages_and_events(
    store: SessionStore, parent: Session
) -> None:
    fork = await store.sessions.fork("parent", at_message_seq=3, at_event_seq=2)
    assert await texts(store, fork.id) == ["parent 1", "parent 2", "parent 3"]
    assert await event_seqs(store, fork.id) == [1, 2]
    assert (fork.message_count, fork.message_head, fork.event_head) == (3, 3, 2)
    assert await store.events.head(fork.id) == 2


async def test_a_fork_at_the_start_is_empty(
    store: SessionStore, parent: Session
) -> None:
    fork = await store.sessions.fork("parent", at_message_seq=0, at_event_seq=0)
    assert await texts(store, fork.id) == []
    assert await event_seqs(store, fork.id) == []
    assert fork.active_message_id is None
    assert (await store.messages.append(fork.id, "user", "x")).seq == 1
    assert await store.events.append(fork.id, "t") == 1


async def test_both_go_on_apart(store: SessionStore, parent: Session) -> None:
    await store.sessions.fork("parent", at_message_seq=2, at_event_seq=1, new_id="fork")
    message = await store.messages.append("fork", "user", "mine")
    assert message.seq == 3
    assert await store.events.append("fork", "t") == 2
    await add_messages(store, "parent", 1)
    assert await texts(store, "fork") == ["parent 1", "parent 2", "mine"]
    assert len(await texts(store, "parent")) == 6
    assert await event_seqs(store, "fork") == [1, 2]
    assert await event_seqs(store, "parent") == [1, 2, 3, 4, 5, 6]


async def test_a_branch_runs_through_the_fork(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", at_message_seq=2, new_id="fork")
    await store.messages.append("fork", "assistant", "mine")
    branch = await store.messages.branch("fork")
    assert [each.content for each in branch] == ["parent 1", "parent 2", "mine"]
    shorter = await store.messages.branch("fork", branch[1].id)
    assert [each.content for each in shorter] == ["parent 1", "parent 2"]


async def test_the_active_message_is_the_parents(
    store: SessionStore, parent: Session
) -> None:
    theirs = await store.messages.list("parent")
    await store.messages.set_active("parent", theirs[1].id)
    fork = await store.sessions.fork("parent")
    assert fork.active_message_id == theirs[1].id
    later = await store.sessions.fork("parent", at_message_seq=4)
    assert later.active_message_id == theirs[1].id
    earlier = await store.sessions.fork("parent", at_message_seq=1)
    assert earlier.active_message_id == theirs[0].id


async def test_messages_of_the_parent_can_be_referred_to(
    store: SessionStore, parent: Session
) -> None:
    [first, *_] = await store.messages.list("parent")
    await store.sessions.fork("parent", new_id="fork")
    message = await store.messages.append("fork", "user", "x", parent_id=first.id)
    assert message.parent_id == first.id
    call = await store.tool_calls.create("fork", "f", {}, message_id=first.id)
    assert call.message_id == first.id
    await store.messages.set_active("fork", first.id)
    with pytest.raises(MessageExists):
        await store.messages.append("fork", "user", "x", id=first.id)


async def test_lists_are_cut_at_the_seam(store: SessionStore, parent: Session) -> None:
    await store.sessions.fork("parent", at_message_seq=3, at_event_seq=3, new_id="fork")
    await add_messages(store, "fork", 3)
    await add_events(store, "fork", 3)
    messages = await store.messages.list("fork", after=1, before=6, limit=3)
    assert [each.seq for each in messages] == [2, 3, 4]
    newest = await store.messages.list("fork", last=4)
    assert [each.seq for each in newest] == [3, 4, 5, 6]
    users = await store.messages.list("fork", role="user")
    assert [each.seq for each in users] == [1, 3, 4, 6]
    last = await store.messages.last("fork", "assistant")
    assert last is not None and last.content == "fork 2"
    events = await store.events.list("fork", after=2, limit=2)
    assert [each.seq for each in events] == [3, 4]
    odd = await store.events.list("fork", types=["t1"])
    assert [each.seq for each in odd] == [2, 5]
    streamed = [each.seq async for each in store.events.stream("fork", page_size=2)]
    assert streamed == [1, 2, 3, 4, 5, 6]


async def test_load_gives_the_whole_conversation(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", new_id="fork")
    await add_messages(store, "fork", 1)
    state = await store.sessions.load("fork")
    assert state is not None
    assert [each.seq for each in state.messages] == [1, 2, 3, 4, 5, 6]


async def test_deleting_the_parent_leaves_forks_whole(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", at_message_seq=2, at_event_seq=2, new_id="a")
    await store.sessions.fork("parent", new_id="b")
    await add_messages(store, "b", 1)
    before = [await store.messages.list(each) for each in ("a", "b")]
    events = [await store.events.list(each) for each in ("a", "b")]
    assert await store.sessions.delete("parent") is True
    assert await store.sessions.get("parent") is None
    assert [await store.messages.list(each) for each in ("a", "b")] == before
    assert [await store.events.list(each) for each in ("a", "b")] == events
    assert len(before[1]) == 6


async def test_a_fork_of_a_fork_shows_all_three(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", at_message_seq=2, at_event_seq=2, new_id="f")
    await add_messages(store, "f", 2)
    await add_events(store, "f", 2)
    await store.sessions.fork("f", at_message_seq=3, at_event_seq=3, new_id="g")
    await add_messages(store, "g", 1)
    assert await texts(store, "g") == ["parent 1", "parent 2", "f 1", "g 1"]
    assert await event_seqs(store, "g") == [1, 2, 3]
    await store.sessions.fork("f", at_message_seq=1, at_event_seq=0, new_id="h")
    assert await texts(store, "h") == ["parent 1"]
    assert await event_seqs(store, "h") == []


@pytest.mark.parametrize("order", [("parent", "f"), ("f", "parent")])
async def test_deleting_ancestors_in_any_order_leaves_forks_whole(
    store: SessionStore, parent: Session, order: tuple[str, str]
) -> None:
    await store.sessions.fork("parent", at_message_seq=2, at_event_seq=2, new_id="f")
    await add_messages(store, "f", 2)
    await store.sessions.fork("f", new_id="g")
    await add_messages(store, "g", 1)
    expected = await texts(store, "g")
    for name in order:
        await store.sessions.delete(name)
        assert await texts(store, "g") == expected
        assert await event_seqs(store, "g") == [1, 2]


async def test_deleting_a_fork_leaves_the_parent(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", new_id="fork")
    assert await store.sessions.delete("fork") is True
    assert len(await texts(store, "parent")) == 5


async def test_events_deleted_from_the_parent_stay_in_the_fork(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", new_id="fork")
    assert await store.events.delete_before("parent", 4) == 3
    assert await event_seqs(store, "parent") == [4, 5, 6]
    assert await event_seqs(store, "fork") == [1, 2, 3, 4, 5, 6]


async def test_events_deleted_from_the_fork_stay_in_the_parent(
    store: SessionStore, parent: Session
) -> None:
    await store.sessions.fork("parent", at_event_seq=4, new_id="fork")
    await add_events(store, "fork", 3)
    assert await store.events.delete_before("fork", 3) == 2
    assert await store.events.delete_before("fork", 3) == 0
    assert await event_seqs(store, "fork") == [3, 4, 5, 6, 7]
    assert await store.events.delete_before("fork", 6) == 3
    assert await event_seqs(store, "fork") == [6, 7]
    assert await event_seqs(store, "parent") == [1, 2, 3, 4, 5, 6]


async def test_compactions_are_apart(store: SessionStore, parent: Session) -> None:
    await store.sessions.fork("parent", new_id="fork")
    await store.messages.compact("parent", "theirs", preserve=1)
    context = await store.messages.context("fork")
    assert len(context) == 5
    assert all(each.compacted_at is None for each in await store.messages.list("fork"))
    await store.messages.compact("fork", "ours", preserve=2)
    context = await store.messages.context("fork")
    assert [each.content for each in context] == ["ours", "parent 4", "parent 5"]
    context = await store.messages.context("parent")
    assert [each.content for each in context] == ["theirs", "parent 5"]
    found = await store.messages.list("fork")
    assert [each.compacted_at is None for each in found] == [
        False,
        False,
        False,
        True,
        True,
        True,
    ]


async def test_a_fork_has_the_compactions_made_before_its_point(
    store: SessionStore, parent: Session
) -> None:
    await store.messages.compact("parent", "one", preserve=2)  # has seq 6
    await store.sessions.fork("parent", new_id="fork")
    await store.sessions.fork("parent", at_message_seq=5, new_id="earlier")
    context = await store.messages.context("fork")
    assert [each.content for each in context] == ["one", "parent 4", "parent 5"]
    assert len(await store.messages.context("earlier")) == 5


async def test_a_copied_compaction_can_be_taken_back_on_either_side(
    store: SessionStore, parent: Session
) -> None:
    await store.messages.compact("parent", "one", preserve=2)
    await store.sessions.fork("parent", new_id="a")
    await store.sessions.fork("parent", new_id="b")
    assert await store.messages.uncompact("a") is not None
    assert len(await store.messages.context("a")) == 5
    assert await store.messages.uncompact("parent") is not None
    assert len(await store.messages.context("parent")) == 5
    context = await store.messages.context("b")
    assert [each.content for each in context] == ["one", "parent 4", "parent 5"]


async def test_the_count_skips_missing_numbers(
    store: SessionStore, parent: Session
) -> None:
    await store.messages.compact("parent", "one", preserve=2)
    await store.messages.uncompact("parent")
    await store.messages.append("parent", "user", "seven")
    fork = await store.sessions.fork("parent", at_message_seq=6)
    assert (fork.message_count, fork.message_head) == (5, 6)
    whole = await store.sessions.fork("parent")
    assert (whole.message_count, whole.message_head) == (6, 7)


async def test_errors(store: SessionStore, parent: Session) -> None:
    with pytest.raises(SessionNotFound):
        await store.sessions.fork("nowhere")
    with pytest.raises(SessionExists):
        await store.sessions.fork("parent", new_id="parent")
    with pytest.raises(InvalidArgument, match="5 messages"):
        await store.sessions.fork("parent", at_message_seq=6)
    with pytest.raises(InvalidArgument, match="6 events"):
        await store.sessions.fork("parent", at_event_seq=7)
    with pytest.raises(InvalidArgument, match="at_event_seq"):
        await store.sessions.fork("parent", at_event_seq=-1)
    with pytest.raises(InvalidArgument, match="at_message_seq"):
        await store.sessions.fork("parent", at_message_seq=True)
    assert (await store.sessions.list()).items == [await store.sessions.get("parent")]


async def test_long_histories_are_read_in_steps(store: SessionStore) -> None:
    await store.sessions.create(id="p")
    await store.events.append_many(
        "p", [NewEvent(type="t", data=n) for n in range(5_000)]
    )
    await store.sessions.fork("p", at_event_seq=4_500, new_id="f")
    await store.events.append_many(
        "f", [NewEvent(type="t", data=n) for n in range(500)]
    )
    assert await event_seqs(store, "f") == list(range(1, 5_001))
    page = await store.events.list("f", after=4_400, limit=200)
    assert [each.seq for each in page] == list(range(4_401, 4_601))


async def test_random_families_match_a_model(
    store: SessionStore, rng: random.Random
) -> None:
    """Forks, appends, deletions of sessions and events, against plain dicts."""
    await store.sessions.create(id="s0")
    model: dict[str, tuple[list[str], dict[int, str]]] = {"s0": ([], {})}
    heads = {"s0": 0}
    for step in range(1, 150):
        name = rng.choice(sorted(model))
        messages, events = model[name]
        action = rng.random()
        if action < 0.35:
            await store.messages.append(name, "user", f"m{step}")
            messages.append(f"m{step}")
        elif action < 0.6:
            seq = await store.events.append(name, f"e{step}")
            heads[name] += 1
            assert seq == heads[name]
            events[seq] = f"e{step}"
        elif action < 0.8:
            at_message = rng.randint(0, len(messages))
            at_event = rng.randint(0, heads[name])
            fork = f"s{step}"
            await store.sessions.fork(
                name,
                at_message_seq=at_message,
                at_event_seq=at_event,
                new_id=fork,
            )
            shown = {seq: each for seq, each in events.items() if seq <= at_event}
            model[fork] = (messages[:at_message], shown)
            heads[fork] = at_event
        elif action < 0.9:
            before = rng.randint(0, heads[name] + 1)
            gone = [seq for seq in events if seq < before]
            assert await store.events.delete_before(name, before) == len(gone)
            for seq in gone:
                del events[seq]
        elif len(model) > 3:
            await store.sessions.delete(name)
            del model[name]
    assert len(model) > 3
    for name, (messages, events) in model.items():
        assert await texts(store, name) == messages
        found = await store.events.list(name)
        assert {each.seq: each.type for each in found} == events
        session = await store.sessions.get(name)
        assert session is not None
        assert session.message_count == len(messages)
