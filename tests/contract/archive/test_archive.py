"""``store.archive``: what compactions have archived, and purging it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    CompactedStatistics,
    InvalidArgument,
    NewMessage,
    Session,
    SessionStore,
    Usage,
)
from turnstore.sql import codec

EMPTY: Final = CompactedStatistics(
    message_count=0, session_count=0, size_bytes=0, oldest=None
)


# statistics


async def test_nothing_is_archived_at_first(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", "x")
    assert await store.archive.statistics() == EMPTY


async def test_statistics_count_archived_messages_and_their_sessions(
    store: SessionStore,
) -> None:
    await compacted(store, "a", 4)
    await compacted(store, "b", 2)
    [first, *_] = await store.messages.list("a")
    found = await store.archive.statistics()
    assert (found.message_count, found.session_count) == (6, 2)
    # Each is two characters and two quotes.
    assert found.size_bytes == 6 * 4
    assert found.oldest is not None
    assert found.oldest == first.compacted_at


async def test_statistics_count_bytes_not_characters(store: SessionStore) -> None:
    sizes = []
    for name, text in (("a", "xx"), ("b", "日本")):
        await store.sessions.create(id=name)
        await store.messages.append(name, "user", text)
        await store.messages.compact(name, "so far", preserve=0)
        found = await store.archive.statistics(session_id=name)
        sizes.append(found.size_bytes)
    assert sizes[1] - sizes[0] == len("日本".encode()) - len("xx")


async def test_statistics_count_the_bytes_of_tool_calls_without_content(
    store: SessionStore, session: Session
) -> None:
    calls = [{"id": "x" * 1_000}]
    await store.messages.append("s", "assistant", None, tool_calls=calls)
    await store.messages.compact("s", "so far", preserve=0)
    assert (await store.archive.statistics()).size_bytes >= 1_000


async def test_statistics_count_the_bytes_of_content_and_tool_calls(
    store: SessionStore, session: Session
) -> None:
    calls = [{"id": "é"}]
    await store.messages.append("s", "assistant", "日本", tool_calls=calls)
    await store.messages.append("s", "assistant", None)
    await store.messages.compact("s", "so far", preserve=0)
    found = await store.archive.statistics()
    size_bytes = len('"日本"'.encode()) + len('[{"id":"é"}]'.encode())
    assert (found.message_count, found.size_bytes) == (2, size_bytes)


async def test_a_summary_counts_once_it_is_archived(store: SessionStore) -> None:
    await compacted(store, "s", 2)
    assert (await store.archive.statistics()).message_count == 2
    await store.messages.compact("s", "again", preserve=0)
    assert (await store.archive.statistics()).message_count == 4


async def test_what_is_taken_back_counts_no_more(store: SessionStore) -> None:
    await compacted(store, "s", 2)
    await store.messages.uncompact("s")
    assert await store.archive.statistics() == EMPTY


@pytest.mark.parametrize(
    ("scope", "count"),
    [
        ({}, 6),
        ({"project_root": "/a"}, 1),
        ({"project_root": "/gone"}, 0),
        ({"session_id": "b"}, 2),
        ({"session_id": "b", "project_root": "/a"}, 0),
        ({"session_id": "gone"}, 0),
    ],
    ids=str,
)
async def test_statistics_stay_within_their_scope(
    store: SessionStore, scope: dict[str, Any], count: int
) -> None:
    await three_projects(store)
    found = await store.archive.statistics(**scope)
    assert found.message_count == count
    if count == 0:
        assert found == EMPTY
    else:
        assert found.session_count == (1 if scope else 3)


# purge


async def test_a_purge_deletes_archived_messages_and_counts_them(
    store: SessionStore,
) -> None:
    await compacted(store, "s", 3)
    assert await store.archive.purge(older_than_days=0) == 3
    assert await contents(store, "s") == ["kept", "so far"]
    assert await store.archive.statistics() == EMPTY
    assert await store.archive.purge(older_than_days=0) == 0


async def test_a_purge_leaves_the_context(store: SessionStore) -> None:
    await compacted(store, "s", 3)
    before = await store.messages.context("s")
    await store.archive.purge(older_than_days=0)
    assert await store.messages.context("s") == before


async def test_a_purge_leaves_sessions_without_a_compaction(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", "x")
    before = await store.sessions.load("s")
    await compacted(store, "other", 3)
    await store.archive.purge(older_than_days=0)
    assert await store.sessions.load("s") == before


async def test_message_count_counts_what_a_purge_keeps(store: SessionStore) -> None:
    await compacted(store, "s", 3)
    await store.archive.purge(older_than_days=0)
    found = await store.sessions.get("s")
    assert found is not None
    assert (found.message_count, found.message_head) == (2, 5)


async def test_a_purge_leaves_what_was_archived_lately(store: SessionStore) -> None:
    await compacted(store, "s", 3)
    assert await store.archive.purge(older_than_days=1) == 0
    assert len(await contents(store, "s")) == 5


async def test_a_purge_deletes_what_was_archived_long_ago(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = codec.now_micros
    week_us = 7 * 24 * 3_600 * 1_000_000
    monkeypatch.setattr(codec, "now_micros", lambda: clock() - week_us)
    await compacted(store, "s", 3)
    monkeypatch.undo()
    await store.messages.append("s", "user", "new")
    await store.messages.compact("s", "again", preserve=0)
    purge = store.archive.purge
    assert await purge(older_than_days=8, dry_run=True) == 0
    assert await purge(older_than_days=6, dry_run=True) == 3
    assert await purge(older_than_days=6) == 3
    # What the second compaction archived is left, with the first one's summary.
    assert await contents(store, "s") == ["kept", "so far", "new", "again"]


@pytest.mark.parametrize(("days", "count"), [(0, 3), (1, 0)])
async def test_a_dry_run_only_counts(
    store: SessionStore, days: int, count: int
) -> None:
    await compacted(store, "s", 3)
    before = await store.sessions.load("s")
    purge = store.archive.purge
    assert await purge(older_than_days=days, dry_run=True) == count
    assert await store.sessions.load("s") == before


@pytest.mark.parametrize(
    ("scope", "count", "left"),
    [
        ({}, 6, [2, 2, 2]),
        ({"project_root": "/a"}, 1, [2, 4, 5]),
        ({"session_id": "b"}, 2, [3, 2, 5]),
        ({"session_id": "b", "project_root": "/a"}, 0, [3, 4, 5]),
        ({"session_id": "gone"}, 0, [3, 4, 5]),
    ],
    ids=str,
)
async def test_a_purge_stays_within_its_scope(
    store: SessionStore, scope: dict[str, Any], count: int, left: list[int]
) -> None:
    await three_projects(store)
    purge = store.archive.purge
    assert await purge(older_than_days=0, dry_run=True, **scope) == count
    assert await purge(older_than_days=0, **scope) == count
    assert [len(await contents(store, name)) for name in "abc"] == left


async def test_a_purge_leaves_usage(store: SessionStore, session: Session) -> None:
    used = Usage(prompt_tokens=3, completion_tokens=4, api_calls=1)
    await store.messages.append(
        "s", "assistant", usage=used, agent_name="coder", model="m"
    )
    await store.messages.compact("s", "so far", preserve=0)
    await store.archive.purge(older_than_days=0)
    found = await store.sessions.get("s")
    assert found is not None
    assert found.usage == await store.usage.session("s") == used
    assert await store.usage.by_agent("s") == {"coder": used}
    assert await store.usage.by_model("s") == {"m": used}
    assert list((await store.usage.by_day()).values()) == [used]


async def test_a_purge_of_the_parent_leaves_forks_whole(store: SessionStore) -> None:
    await compacted(store, "s", 3)
    await store.sessions.fork("s", at_message_seq=2, new_id="early")
    await store.sessions.fork("s", new_id="late")
    assert await store.archive.purge(older_than_days=0, session_id="s") == 3
    assert await contents(store, "s") == ["kept", "so far"]
    assert await contents(store, "early") == ["m1", "m2"]
    late = await contents(store, "late")
    assert late == ["m1", "m2", "m3", "kept", "so far"]


async def test_a_purge_of_a_fork_leaves_the_parent(store: SessionStore) -> None:
    await compacted(store, "s", 3)
    await store.sessions.fork("s", new_id="fork")
    found = await store.archive.statistics(session_id="fork")
    assert found.message_count == 3
    purge = store.archive.purge
    assert await purge(older_than_days=0, session_id="fork", dry_run=True) == 3
    assert await purge(older_than_days=0, session_id="fork") == 3
    assert await contents(store, "fork") == ["kept", "so far"]
    assert len(await contents(store, "s")) == 5


@pytest.mark.parametrize("step", range(0, 40, 4))
async def test_a_purge_that_has_deleted_returns_its_count_though_cancelled(
    store: SessionStore, step: int
) -> None:
    await compacted(store, "s", 3)
    returned: list[int] = []

    async def purge() -> None:
        returned.append(await store.archive.purge(older_than_days=0))
        await asyncio.Event().wait()

    task = asyncio.create_task(purge())
    while len(await contents(store, "s")) == 5:
        pass
    for _ in range(step):
        await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert (returned, caught.value.args) == ([3], ("enough",))


@pytest.mark.parametrize("days", [-1, 1.5, "1", None, 10**9], ids=repr)
async def test_older_than_days_is_a_count(store: SessionStore, days: Any) -> None:
    await compacted(store, "s", 3)
    with pytest.raises(InvalidArgument, match="older_than_days"):
        await store.archive.purge(older_than_days=days)
    assert len(await contents(store, "s")) == 5


# Several stores on one database


async def test_of_two_stores_that_purge_one_deletes(open_shared: OpenStore) -> None:
    stores = [await open_shared(), await open_shared()]
    await compacted(stores[0], "s", 3)
    counts = await asyncio.gather(
        *(each.archive.purge(older_than_days=0) for each in stores)
    )
    assert sorted(counts) == [0, 3]
    for each in stores:
        assert await contents(each, "s") == ["kept", "so far"]


async def compacted(
    store: SessionStore, name: str, count: int, *, root: str | None = None
) -> None:
    """A session with so many archived messages, one that is kept, and a summary."""
    await store.sessions.create(id=name, project_root=root)
    texts = [*(f"m{n}" for n in range(1, count + 1)), "kept"]
    new = [NewMessage(role="user", content=text) for text in texts]
    await store.messages.append_many(name, new)
    await store.messages.compact(name, "so far", preserve=1)


async def three_projects(store: SessionStore) -> None:
    """Sessions a, b and c with 1, 2 and 3 archived messages, c of no project."""
    await compacted(store, "a", 1, root="/a")
    await compacted(store, "b", 2, root="/b")
    await compacted(store, "c", 3)


async def contents(store: SessionStore, name: str) -> list[Any]:
    return [each.content for each in await store.messages.list(name)]
