"""``store.sessions.fork``: histories that forks share, cut, delete and compact."""

from __future__ import annotations

import random

import pytest

from turnstore import NewEvent, NewMessage, Session, SessionStore


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


async def test_long_histories_are_read_whole(store: SessionStore) -> None:
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
