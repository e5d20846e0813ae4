"""``admin.recover`` while other runtimes are alive: leases, filters, idle sessions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.sessions.leasing import DAY_S, pass_time
from turnstore import (
    InvalidArgument,
    LeaseLost,
    RecoveryReport,
    SessionFilter,
    SessionStore,
)


@pytest.fixture
async def running(store: SessionStore) -> None:
    """``a`` and ``b``, which run, each with an open tool call."""
    for name in ("a", "b"):
        await store.sessions.create(id=name, agent_name=name, status="running")
        await store.tool_calls.create(name, "t", {}, id="c", status="executing")


def names(report: RecoveryReport) -> list[str]:
    found = [each.id for each in report.sessions]
    assert [each.session_id for each in report.tool_calls] == found
    return found


async def test_a_held_session_is_left_to_its_holder(
    store: SessionStore, second_store: SessionStore, running: None
) -> None:
    async with store.sessions.lease("a", ttl_s=DAY_S) as lease:
        before = await store.sessions.load("a")
        assert names(await second_store.admin.recover()) == ["b"]
        assert await store.sessions.load("a") == before
        async with store.turn("a", lease=lease) as turn:
            turn.update_tool_call("c", status="completed")
    # Released, and still running: its runtime has left it.
    report = await second_store.admin.recover()
    assert [each.id for each in report.sessions] == ["a"]


async def test_a_filter_does_not_reach_a_held_session(
    store: SessionStore, running: None
) -> None:
    async with store.sessions.lease("a", ttl_s=DAY_S):
        report = await store.admin.recover(SessionFilter(ids=["a"]))
    assert names(report) == []


async def test_a_session_whose_lease_has_expired_is_closed_and_its_holder_shut_out(
    store: SessionStore, running: None
) -> None:
    async with store.sessions.lease("a", ttl_s=DAY_S) as lease:
        await pass_time(store, days=2)
        assert names(await store.admin.recover()) == ["a", "b"]
        # Also where the clock is put back.
        await pass_time(store, days=-2)
        with pytest.raises(LeaseLost):
            async with store.turn("a", lease=lease) as turn:
                turn.event("e")


@pytest.mark.parametrize(
    ("filter", "closed"),
    [
        (SessionFilter(agent_name="a"), ["a"]),
        (SessionFilter(ids=["b", "gone"]), ["b"]),
        (SessionFilter(status="running"), ["a", "b"]),
        (SessionFilter(status="idle"), []),
        (SessionFilter(has_pending_tool_calls=True, agent_name="b"), ["b"]),
        (SessionFilter(ids=[]), []),
    ],
)
async def test_a_filter_says_which_are_closed(
    store: SessionStore, running: None, filter: SessionFilter, closed: list[str]
) -> None:
    assert names(await store.admin.recover(filter)) == closed
    left = await store.admin.recover()
    assert names(left) == [each for each in ("a", "b") if each not in closed]


async def test_a_session_written_a_moment_ago_is_not_idle(
    store: SessionStore, running: None
) -> None:
    assert names(await store.admin.recover(idle_for_s=3_600)) == []
    await pass_time(store, hours=2)
    await store.events.append("b", "e")
    assert names(await store.admin.recover(idle_for_s=3_600)) == ["a"]
    assert names(await store.admin.recover()) == ["b"]


@pytest.mark.parametrize("idle_for_s", [-1, float("nan"), 1e12, True, "1", None])
async def test_what_is_no_time(store: SessionStore, idle_for_s: Any) -> None:
    with pytest.raises(InvalidArgument):
        await store.admin.recover(idle_for_s=idle_for_s)
    with pytest.raises(InvalidArgument):
        await store.admin.recover(idle_for_s)
