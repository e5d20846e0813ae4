"""Roles of messages."""

from __future__ import annotations

import pytest

from turnstore import InvalidArgument, Role, Session, SessionStore

KNOWN = [each for each in Role if each is not Role.UNKNOWN]


async def test_every_role_is_stored_and_listed(
    store: SessionStore, session: Session
) -> None:
    for role in KNOWN:
        made = await store.messages.append("s", str(role), "text")
        assert (made.role, made.role_raw) == (role, None)
        assert await store.messages.list("s", role=role) == [made]
        assert await store.messages.last("s", role) == made
    listed = await store.messages.list("s")
    assert [each.role for each in listed] == KNOWN
    with pytest.raises(InvalidArgument, match="developer"):
        await store.messages.append("s", "unknown", "text")


async def test_a_developer_message_counts_as_one_of_the_system_does(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", Role.DEVELOPER, "be brief")
    for n in range(4):
        await store.messages.append("s", Role.USER, f"{n}")

    assert [each.role for each in await store.messages.context("s")][:2] == [
        Role.DEVELOPER,
        Role.USER,
    ]
    done = await store.messages.compact("s", "said so far", preserve=1)
    assert done.archived == 4
    assert await store.messages.recent_user(1) == ["3"]
