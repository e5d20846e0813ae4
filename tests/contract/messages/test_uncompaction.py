"""``store.messages.uncompact``: the last compaction is taken back."""

from __future__ import annotations

import random

import pytest

from tests.contract.messages.talks import sent, talk
from tests.contract.ways import OpenStore
from turnstore import (
    Compaction,
    InvalidArgument,
    Session,
    SessionStore,
    Usage,
)


async def test_uncompact_takes_the_last_compaction_back(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    before = await store.sessions.load("s")
    done = await store.messages.compact("s", "so far", preserve=1)
    assert await store.messages.uncompact("s") == done
    after = await store.sessions.load("s")
    assert before is not None and after is not None
    assert after.messages == before.messages
    assert await store.messages.context("s") == before.messages
    assert after.session.message_count == 4


async def test_uncompact_leaves_the_compactions_before(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 4)
    await store.messages.compact("s", "one", preserve=2)
    first = await store.messages.context("s")
    await store.messages.compact("s", "two", preserve=0)
    await store.messages.uncompact("s")
    assert await store.messages.context("s") == first
    await store.messages.uncompact("s")
    assert await sent(store) == ["m1", "m2", "m3", "m4"]


async def test_uncompact_keeps_what_was_said_since(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 2)
    await store.messages.compact("s", "so far", preserve=0)
    await store.messages.append("s", "user", "next")
    await store.messages.uncompact("s")
    assert await sent(store) == ["m1", "m2", "next"]


@pytest.mark.parametrize(
    ("by_message", "by_event", "since", "expected"),
    [
        (None, None, None, None),
        ("message", None, None, "message"),
        (None, "event", None, "event"),
        ("message", "event", None, "event"),
        ("message", "event", "since", "since"),
        ("message", "event", "summary", "summary"),
    ],
)
@pytest.mark.parametrize("of", ["session", "fork"])
async def test_last_model_is_no_longer_that_of_the_summary(
    store: SessionStore,
    session: Session,
    by_message: str | None,
    by_event: str | None,
    since: str | None,
    expected: str | None,
    of: str,
) -> None:
    await store.messages.append("s", "assistant", "hello", model=by_message)
    await store.events.append("s", "e", model=by_event)
    if of == "fork":
        await store.sessions.fork("s", new_id="f")
    name = "s" if of == "session" else "f"
    await store.messages.compact(name, "so far", preserve=0, model="summary")
    if since is not None:
        await store.events.append(name, "e", model=since)
    await store.messages.uncompact(name)
    found = await store.sessions.get(name)
    assert found is not None and found.last_model == expected


async def test_the_seq_of_a_summary_taken_back_is_not_used_again(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 2)
    await store.messages.compact("s", "so far", preserve=0)
    await store.messages.uncompact("s")
    assert (await store.messages.append("s", "user")).seq == 4


async def test_uncompact_with_no_compaction_does_nothing_and_gives_none(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 2)
    before = await store.sessions.load("s")
    assert await store.messages.uncompact("s") is None
    assert await store.sessions.load("s") == before


async def test_uncompact_leaves_the_usage_of_the_summary(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 2)
    used = Usage(prompt_tokens=5, api_calls=1)
    await store.messages.compact("s", "so far", preserve=0, usage=used)
    await store.messages.uncompact("s")
    assert await store.usage.session("s") == used
    found = await store.sessions.get("s")
    assert found is not None and found.usage == used


async def test_a_summary_taken_back_is_no_longer_active(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 2)
    done = await store.messages.compact("s", "so far", preserve=0)
    assert done.summary_message is not None
    await store.messages.set_active("s", done.summary_message.id)
    await store.messages.uncompact("s")
    found = await store.sessions.get("s")
    assert found is not None and found.active_message_id is None


async def test_uncompact_after_a_purge_of_its_messages_is_refused(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    await store.messages.compact("s", "so far", preserve=1)
    await store.archive.purge(older_than_days=0)
    with pytest.raises(InvalidArgument, match="purged"):
        await store.messages.uncompact("s")
    assert await sent(store) == ["so far", "m3"]
    found = await store.messages.list("s")
    assert [each.content for each in found] == ["m3", "so far"]


async def test_uncompact_after_a_purge_takes_a_later_compaction_back(
    store: SessionStore, session: Session
) -> None:
    await talk(store, 3)
    await store.messages.compact("s", "one", preserve=1)
    await store.archive.purge(older_than_days=0)
    await store.messages.compact("s", "two", preserve=0)
    assert await store.messages.uncompact("s") is not None
    assert await sent(store) == ["one", "m3"]


async def test_random_compactions_match_a_model(
    store: SessionStore, session: Session, rng: random.Random
) -> None:
    """Compactions stacked and taken back, against plain lists."""
    active: list[str] = []
    stack: list[list[str]] = []
    for step in range(120):
        action = rng.random()
        if action < 0.7:
            text = f"m{step}"
            await store.messages.append("s", "user", text)
            active.append(text)
            # What came after a compaction stays when it is taken back.
            for each in stack:
                each.append(text)
        elif action < 0.85:
            keep = rng.randrange(6)
            done = await store.messages.compact("s", f"s{step}", preserve=keep)
            expected = max(0, len(active) - keep)
            assert done.archived == expected
            if expected:
                stack.append(list(active))
                active = [f"s{step}", *active[expected:]]
        else:
            taken = await store.messages.uncompact("s")
            assert (taken is None) == (not stack)
            if stack:
                active = stack.pop()
        assert await sent(store) == active


# Several stores on one database


async def test_another_stores_compaction_can_be_taken_back(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    await talk(first, 3)
    done: Compaction = await first.messages.compact("s", "so far", preserve=1)
    assert await sent(second) == ["so far", "m3"]
    assert await second.messages.uncompact("s") == done
    assert await sent(first) == ["m1", "m2", "m3"]
