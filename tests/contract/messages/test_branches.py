"""``store.messages.branch`` and ``set_active``: the tree of a conversation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    MessageNotFound,
    NewMessage,
    Session,
    SessionStore,
)


async def test_an_append_follows_the_active_message_and_becomes_it(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user")
    second = await store.messages.append("s", "assistant")
    assert (first.parent_id, second.parent_id) == (None, first.id)
    assert await active(store) == second.id


async def test_append_many_makes_a_chain(store: SessionStore, session: Session) -> None:
    new = [NewMessage(role="user", id=name) for name in "abc"]
    made = await store.messages.append_many("s", new)
    assert [each.parent_id for each in made] == [None, "a", "b"]
    assert await active(store) == "c"


async def test_a_given_parent_makes_a_branch(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    assert await branch(store, "c") == "abc"
    assert await branch(store, "e") == "ade"


async def test_branch_is_root_to_the_active_message_unless_told_otherwise(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    assert await branch(store) == "ade"
    await store.messages.set_active("s", "b")
    assert await branch(store) == "ab"


async def test_branch_to_the_root_is_the_root(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    assert await branch(store, "a") == "a"


async def test_branch_gives_the_messages_as_list_does(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    listed = {each.id: each for each in await store.messages.list("s")}
    found = await store.messages.branch("s")
    assert found == [listed[name] for name in "ade"]


async def test_branch_with_none_active_is_empty(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.branch("s") == []
    await add_branches(store)
    await store.messages.set_active("s", None)
    assert await store.messages.branch("s") == []


async def test_an_append_with_none_active_is_another_root(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    await store.messages.set_active("s", None)
    assert (await store.messages.append("s", "user", id="z")).parent_id is None
    assert await branch(store) == "z"
    assert await branch(store, "c") == "abc"


async def test_set_active_is_in_the_session(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    await store.messages.set_active("s", "b")
    assert await active(store) == "b"
    await store.messages.set_active("s", None)
    assert await active(store) is None


async def test_set_active_changes_no_message(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    before = await store.messages.list("s")
    await store.messages.set_active("s", "b")
    assert await store.messages.list("s") == before


async def test_an_unknown_message_has_no_branch_and_can_not_be_active(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    with pytest.raises(MessageNotFound) as caught:
        await store.messages.branch("s", "gone")
    assert (caught.value.session_id, caught.value.message_id) == ("s", "gone")
    with pytest.raises(MessageNotFound):
        await store.messages.set_active("s", "gone")
    assert await active(store) == "e"


async def test_gathered_appends_and_set_active_keep_call_order(
    store: SessionStore, session: Session
) -> None:
    outcomes: Any = await asyncio.gather(
        store.messages.append("s", "user", id="a"),
        store.messages.append("s", "user", id="b"),
        store.messages.set_active("s", "a"),
        store.messages.append("s", "user", id="c"),
        store.messages.set_active("s", "d"),
        store.messages.append("s", "user", id="d"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[4], MessageNotFound)
    assert (outcomes[3].parent_id, outcomes[5].parent_id) == ("a", "c")


async def test_a_branch_stays_in_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for name in ("other", "s"):
        await store.messages.append(name, "user", id="a")
        await store.messages.append(name, "user", id="b")
    await store.messages.append("other", "user", id="theirs")
    found = await store.messages.branch("s", "b")
    assert [(each.session_id, each.id) for each in found] == [
        ("s", "a"),
        ("s", "b"),
    ]
    with pytest.raises(MessageNotFound):
        await store.messages.set_active("s", "theirs")


async def test_last_gives_the_newest_of_a_branch_oldest_first(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    for last, names in ((1, "e"), (2, "de"), (3, "ade"), (9, "ade")):
        found = await store.messages.branch("s", last=last)
        assert "".join(each.id for each in found) == names
    found = await store.messages.branch("s", "c", last=2)
    assert "".join(each.id for each in found) == "bc"
    await store.sessions.fork("s", new_id="f")
    found = await store.messages.branch("f", last=2)
    assert "".join(each.id for each in found) == "de"


@pytest.mark.parametrize("wrong", [0, -1, True, "1"], ids=repr)
async def test_last_is_1_or_more(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises(InvalidArgument, match="last"):
        await store.messages.branch("s", last=wrong)


# What a model is sent


async def test_a_context_is_of_the_active_branch(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    assert await context(store) == "ade"
    await store.messages.set_active("s", "c")
    assert await context(store) == "abc"
    await store.messages.set_active("s", None)
    assert await context(store) == ""


async def test_a_context_is_of_the_branch_of_a_given_message(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    assert await context(store, "c") == "abc"
    assert await context(store, "d") == "ad"
    await store.sessions.fork("s", new_id="f")
    found = await store.messages.context("f", message_id="c")
    assert "".join(each.id for each in found) == "abc"
    with pytest.raises(MessageNotFound):
        await store.messages.context("s", message_id="gone")
    with pytest.raises(MessageNotFound):
        await store.messages.context("f", message_id="gone")


async def test_a_compaction_counts_along_the_active_branch(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    done = await store.messages.compact("s", "so far", preserve=2)
    assert (done.archived, done.boundary_seq) == (1, 2)
    assert done.summary_message is not None
    summary = done.summary_message.id
    assert await context(store) == f"{summary}de"
    assert await context(store, "c") == f"{summary}bc"
    # An archived message has only the summary.
    assert await context(store, "a") == summary
    await store.messages.append("s", "user", id="f", parent_id="a")
    assert await context(store) == f"{summary}f"
    await store.messages.uncompact("s")
    assert await context(store) == "af"


async def test_a_compaction_with_nothing_of_the_active_branch_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    await add_branches(store)
    await store.messages.set_active("s", None)
    await store.messages.append("s", "user", id="z")
    assert (await store.messages.compact("s", "so far", preserve=1)).archived == 0
    assert [each.id for each in await store.messages.list("s")] == [*"abcdez"]


async def test_a_compaction_splits_no_call_from_its_result_on_another_branch(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", id="a")
    calls = [{"id": "1"}]
    await store.messages.append("s", "assistant", id="b", tool_calls=calls)
    await store.messages.append("s", "user", id="c", parent_id="a")
    await store.messages.append("s", "tool", id="d", parent_id="b", tool_call_id="1")
    await store.messages.append("s", "user", id="e", parent_id="c")
    done = await store.messages.compact("s", "so far", preserve=1)
    assert (done.archived, done.boundary_seq) == (1, 2)


# Several stores on one database


async def test_an_append_follows_what_another_store_made_active(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    await add_branches(first)
    await second.messages.append("s", "user", id="f")
    assert await branch(first) == "adef"
    await second.messages.set_active("s", "b")
    assert (await first.messages.append("s", "user")).parent_id == "b"


async def add_branches(store: SessionStore) -> None:
    """The messages a-b-c, and d-e, which follow a too."""
    for name in "abc":
        await store.messages.append("s", "user", id=name)
    await store.messages.append("s", "user", id="d", parent_id="a")
    await store.messages.append("s", "user", id="e")


async def active(store: SessionStore) -> str | None:
    session = await store.sessions.get("s")
    assert session is not None
    return session.active_message_id


async def context(store: SessionStore, message_id: str | None = None) -> str:
    """The ids of a context."""
    found = await store.messages.context("s", message_id=message_id)
    return "".join(each.id for each in found)


async def branch(store: SessionStore, message_id: str | None = None) -> str:
    """The ids of a branch, each a letter."""
    found = await store.messages.branch("s", message_id)
    return "".join(each.id for each in found)
