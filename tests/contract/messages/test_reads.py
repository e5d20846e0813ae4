"""``store.messages.list``, ``last`` and ``recent_user``: what was said."""

from __future__ import annotations

from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    NewMessage,
    Role,
    Session,
    SessionStore,
)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"after": 0}, [1, 2, 3, 4, 5, 6]),
        ({"after": 2}, [3, 4, 5, 6]),
        ({"after": 6}, []),
        ({"before": 3}, [1, 2]),
        ({"before": 1}, []),
        ({"before": 0}, []),
        ({"after": 1, "before": 5}, [2, 3, 4]),
        ({"after": 4, "before": 2}, []),
        ({"after": 1, "before": 6, "limit": 2}, [2, 3]),
        ({"after": 1, "before": 6, "last": 2}, [4, 5]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 99}, [1, 2, 3, 4, 5, 6]),
        ({"after": 3, "limit": 2}, [4, 5]),
        ({"last": 2}, [5, 6]),
        ({"last": 99}, [1, 2, 3, 4, 5, 6]),
        ({"before": 4, "last": 2}, [2, 3]),
        ({"after": 4, "last": 4}, [5, 6]),
        ({"role": "user"}, [1, 4]),
        ({"role": "user", "last": 1}, [4]),
        ({"role": Role.TOOL, "limit": 1}, [3]),
        ({"role": Role.TOOL, "last": 1}, [6]),
        ({"role": "assistant", "after": 2}, [5]),
        ({"role": "assistant", "after": 1, "before": 5}, [2]),
        ({"role": "system"}, []),
    ],
    ids=str,
)
async def test_list_gives_a_window_by_seq(
    store: SessionStore,
    session: Session,
    window: dict[str, Any],
    expected: list[int],
) -> None:
    roles = ["user", "assistant", "tool"] * 2
    await store.messages.append_many("s", [NewMessage(role=each) for each in roles])
    found = await store.messages.list("s", **window)
    assert [each.seq for each in found] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 1, "last": 1},
        {"limit": 0},
        {"last": 0},
        {"last": True},
        {"after": -1},
        {"before": -1},
        {"role": "nobody"},
    ],
    ids=str,
)
async def test_a_window_out_of_bounds_is_refused(
    store: SessionStore, session: Session, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.messages.list("s", **wrong)


async def test_list_gives_the_messages_of_one_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    mine = await store.messages.append("s", "user", "mine")
    await store.messages.append("other", "user", "theirs")
    assert await store.messages.list("s") == [mine]


async def test_a_long_conversation_is_read_whole(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="user", content=n) for n in range(2_500)]
    made = await store.messages.append_many("s", new)
    made.append(await store.messages.append("s", "user", "x" * 3_000_000))
    made += await store.messages.append_many("s", new[:1_500])
    assert await store.messages.list("s") == made
    assert await store.messages.list("s", last=2_600) == made[-2_600:]
    assert await store.messages.list("s", last=2_600, before=3_000) == made[399:2_999]
    assert await store.messages.list("s", limit=1_100, after=5) == made[5:1_105]
    state = await store.sessions.load("s")
    assert state is not None and state.messages == made


# last and recent_user


async def test_last_is_the_newest_message_of_a_role(
    store: SessionStore, session: Session
) -> None:
    made = [await store.messages.append("s", role) for role in ("user",) * 2]
    await store.messages.append("s", "assistant")
    assert await store.messages.last("s", "user") == made[1]
    assert await store.messages.last("s", Role.TOOL) is None


async def test_last_of_an_unknown_role_is_refused(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(InvalidArgument):
        await store.messages.last("s", "nobody")


async def test_recent_user_gives_texts_of_users_newest_first(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for name, text in (("s", "one"), ("other", "two"), ("s", "three")):
        await store.messages.append(name, "user", text)
        await store.messages.append(name, "assistant", "no")
    assert await store.messages.recent_user(9) == ["three", "two", "one"]
    assert await store.messages.recent_user(2) == ["three", "two"]


async def test_recent_user_stays_within_the_project_asked_for(
    store: SessionStore,
) -> None:
    for root in ("/a", "/b", None):
        made = await store.sessions.create(project_root=root)
        await store.messages.append(made.id, "user", f"of {root}")
    assert await store.messages.recent_user(9, project_root="/a") == ["of /a"]
    assert await store.messages.recent_user(9, project_root="/c") == []
    assert await store.messages.recent_user(9, project_root="") == []
    assert len(await store.messages.recent_user(9)) == 3


async def test_recent_user_counts_what_is_of_the_project_asked_for(
    store: SessionStore,
) -> None:
    for name in "ab":
        await store.sessions.create(id=name, project_root=f"/{name}")
    for n, name in enumerate("abba"):
        await store.messages.append(name, "user", f"{name}{n}")
    assert await store.messages.recent_user(9, project_root="/b") == ["b2", "b1"]
    assert await store.messages.recent_user(1, project_root="/b") == ["b2"]
    assert await store.messages.recent_user(1, project_root="/a") == ["a3"]


@pytest.mark.parametrize(
    ("count", "where"), [(0, {}), (1, {"project_root": 5})], ids=str
)
async def test_recent_user_refuses_arguments_out_of_bounds(
    store: SessionStore, count: int, where: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.messages.recent_user(count, **where)


@pytest.mark.parametrize("content", [None, "", ["text"]], ids=repr)
async def test_recent_user_passes_over_messages_without_text(
    store: SessionStore, session: Session, content: Any
) -> None:
    await store.messages.append("s", "user", "text")
    await store.messages.append("s", "user", content)
    assert await store.messages.recent_user(1) == ["text"]


@pytest.mark.parametrize("first", [*"\"'!#(09AZ_az{~ \x00\n", "é", "日", "😀"])
async def test_recent_user_gives_text_whatever_it_begins_with(
    store: SessionStore, session: Session, first: str
) -> None:
    for text in (first, f"{first} and more"):
        await store.messages.append("s", "user", text)
    for other in ({first: first}, [first], 5, -1, True):
        await store.messages.append("s", "user", other)
    assert await store.messages.recent_user(9) == [f"{first} and more", first]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
async def test_recent_user_gives_once_what_forks_show_too(
    store: SessionStore, session: Session, count: int
) -> None:
    texts = ["one", "two", "three", "two", "five"]
    for text in texts:
        await store.messages.append("s", "user", text)
    await store.events.append("s", "e")
    for name in ("f", "g", "h"):
        await store.sessions.fork("s", new_id=name)
    newest = texts[::-1][:count]
    assert await store.messages.recent_user(count) == newest
    await store.events.delete_before("s", 2)  # copies to its forks what they show
    assert await store.messages.recent_user(count) == newest
    await store.sessions.delete("s")
    assert await store.messages.recent_user(count) == newest
