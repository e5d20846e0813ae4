"""``store.admin``: the recovery after a crash, checks and care.

Left to a backend's own tests: backups, what a check finds in a damaged database, and
what care does to its files.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.contract.statuses import FINAL, OPEN
from tests.contract.ways import OpenStore
from turnstore import (
    NewEvent,
    NewMessage,
    ReadOnlyStore,
    Session,
    SessionStore,
    StoreClosed,
    Usage,
)

NOT_RUNNING: Final = ["idle", "completed", "failed", "interrupted"]
CARE: Final = ["check", "checkpoint", "vacuum", "recover"]


async def use(store: SessionStore, name: str) -> None:
    """Make a session, and do to it what changes counts, heads and totals."""
    await store.sessions.create(id=name, metadata={"k": "v"})
    new = [
        NewMessage(role="user", content=n, usage=Usage(prompt_tokens=n))
        for n in range(6)
    ]
    await store.messages.append_many(name, new)
    for status in [*OPEN, *FINAL]:
        await store.tool_calls.create(name, "t", {}, id=status, status=status)
    await store.events.append_many(name, [NewEvent(type="e")] * 5)
    await store.events.delete_before(name, 4)
    await store.usage.record(name, Usage(prompt_tokens=3))
    await store.sessions.fork(name, new_id=f"{name}-fork", at_message_seq=3)
    await store.messages.append(f"{name}-fork", "user", usage=Usage(prompt_tokens=1))
    await store.usage.record(f"{name}-fork", Usage(prompt_tokens=3))
    await store.tool_calls.update(name, "pending", status="completed")
    await store.tool_calls.interrupt(name)
    await store.messages.compact(name, "so far", preserve=2)


# recover


async def test_recover_interrupts_what_runs(store: SessionStore) -> None:
    made = await store.sessions.create(id="s", status="running")
    report = await store.admin.recover()
    [closed] = report.sessions
    assert (closed.id, closed.status) == ("s", "interrupted")
    assert closed.ended_at is not None
    assert closed.ended_at >= made.created_at
    assert await store.sessions.get("s") == closed


@pytest.mark.parametrize("status", NOT_RUNNING)
async def test_recover_leaves_sessions_that_do_not_run(
    store: SessionStore, status: str
) -> None:
    made = await store.sessions.create(id="s", status=status)
    assert (await store.admin.recover()).sessions == []
    assert await store.sessions.get("s") == made


@pytest.mark.parametrize("status", OPEN)
@pytest.mark.parametrize("of_session", ["running", *NOT_RUNNING])
async def test_recover_fails_open_tool_calls(
    store: SessionStore, of_session: str, status: str
) -> None:
    await store.sessions.create(id="s", status=of_session)
    await store.tool_calls.create("s", "t", {}, id="c", status=status)
    report = await store.admin.recover()
    assert len(report.sessions) == (of_session == "running")
    found = await store.sessions.get("s")
    left = "interrupted" if of_session == "running" else of_session
    assert found is not None and found.status == left
    [closed] = report.tool_calls
    assert (closed.session_id, closed.id) == ("s", "c")
    assert (closed.status, closed.error) == ("failed", "interrupted")
    assert closed.completed_at is not None
    assert await store.tool_calls.get("s", "c") == closed
    assert await store.tool_calls.has_pending("s") is False


@pytest.mark.parametrize("status", FINAL)
async def test_recover_leaves_tool_calls_that_have_ended(
    store: SessionStore, session: Session, status: str
) -> None:
    made = await store.tool_calls.create("s", "t", {}, status=status)
    assert (await store.admin.recover()).tool_calls == []
    assert await store.tool_calls.list("s") == [made]


async def test_recover_leaves_a_session_that_waits_for_the_user(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s", status="waiting_for_user_input")
    await store.tool_calls.create("s", "ask_user", {})
    before = await store.sessions.load("s")
    report = await store.admin.recover()
    assert (report.sessions, report.tool_calls) == ([], [])
    assert await store.sessions.load("s") == before


async def test_recover_lists_what_it_closed_of_every_session(
    store: SessionStore,
) -> None:
    for name in ("b", "a"):
        await store.sessions.create(id=name, status="running")
        for call, status in (("1", "executing"), ("2", "completed"), ("3", "pending")):
            await store.tool_calls.create(name, "t", {}, id=call, status=status)
    report = await store.admin.recover()
    assert [each.id for each in report.sessions] == ["b", "a"]
    for session in report.sessions:
        assert session.pending_tool_calls == 0
        assert await store.sessions.get(session.id) == session
    closed = [(each.session_id, each.id) for each in report.tool_calls]
    assert closed == [("b", "1"), ("b", "3"), ("a", "1"), ("a", "3")]
    for each in report.tool_calls:
        assert await store.tool_calls.get(each.session_id, each.id) == each
    ended = await store.tool_calls.get("a", "2")
    assert ended is not None and ended.status == "completed"
    assert await store.admin.check() == []


async def test_recover_closes_nothing_twice(store: SessionStore) -> None:
    await store.sessions.create(id="s", status="running")
    await store.tool_calls.create("s", "t", {})
    first, *later = await asyncio.gather(store.admin.recover(), store.admin.recover())
    assert (len(first.sessions), len(first.tool_calls)) == (1, 1)
    for report in (*later, await store.admin.recover()):
        assert (report.sessions, report.tool_calls) == ([], [])


async def test_recover_keeps_what_was_written(store: SessionStore) -> None:
    await store.sessions.create(id="s", status="running")
    await store.messages.append("s", "user", "hello")
    await store.events.append("s", "e")
    before = (await store.messages.list("s"), await store.events.list("s"))
    await store.admin.recover()
    assert (await store.messages.list("s"), await store.events.list("s")) == before


# check, checkpoint, vacuum


async def test_a_new_store_has_no_problems(store: SessionStore) -> None:
    assert await store.admin.check() == []


async def test_a_used_store_has_no_problems(store: SessionStore) -> None:
    for name in ("a", "b"):
        await use(store, name)
    assert await store.admin.check() == []
    assert await store.archive.purge(older_than_days=0) > 0
    await store.messages.uncompact("a-fork")
    assert await store.sessions.delete("a") is True
    assert await store.admin.check() == []


async def test_a_head_beyond_its_rows_is_no_problem(
    store: SessionStore, session: Session
) -> None:
    await store.events.append_many("s", [NewEvent(type="e")] * 5)
    await store.events.delete_before("s", 100)
    assert await store.events.list("s") == []
    assert await store.admin.check() == []


async def test_a_store_has_no_problems_after_refused_calls(store: SessionStore) -> None:
    await use(store, "s")
    await asyncio.gather(
        store.events.append("s", "e", expected_head=99),
        store.messages.append("s", "user", parent_id="none"),
        store.tool_calls.create("s", "t", {}, id="pending"),
        store.sessions.create(id="s"),
        store.usage.record("none", Usage()),
        return_exceptions=True,
    )
    assert await store.admin.check() == []


@pytest.mark.parametrize("call", ["checkpoint", "vacuum"])
async def test_care_leaves_the_content_as_it_is(store: SessionStore, call: str) -> None:
    await use(store, "s")
    before = (await store.sessions.load("s"), await store.events.list("s"))
    await getattr(store.admin, call)()
    after = (await store.sessions.load("s"), await store.events.list("s"))
    assert after == before
    assert await store.admin.check() == []


@pytest.mark.parametrize("call", ["check", "checkpoint", "vacuum"])
async def test_care_goes_along_with_writes(
    store: SessionStore, session: Session, call: str
) -> None:
    care: Any = getattr(store.admin, call)
    outcomes = await asyncio.gather(
        *(store.events.append("s", "e") for _ in range(20)),
        care(),
        *(store.events.append("s", "e") for _ in range(20)),
    )
    appended = outcomes[:20] + outcomes[21:]
    assert appended == [*range(1, 41)]


@pytest.mark.parametrize("call", CARE)
async def test_care_of_a_closed_store(store: SessionStore, call: str) -> None:
    await store.close()
    with pytest.raises(StoreClosed):
        await getattr(store.admin, call)()


# Several stores on one database


@pytest.mark.parametrize("call", ["checkpoint", "vacuum", "recover"])
async def test_care_that_writes_is_refused_by_a_read_only_store(
    store: SessionStore, open_shared: OpenStore, call: str
) -> None:
    reading = await open_shared(read_only=True)
    with pytest.raises(ReadOnlyStore):
        await getattr(reading.admin, call)()
    assert await reading.admin.check() == []


async def test_another_store_recovers_what_one_left_open(
    open_shared: OpenStore,
) -> None:
    first = await open_shared()
    await first.sessions.create(id="s", status="running")
    await first.tool_calls.create("s", "t", {}, id="c")
    await first.close()
    second = await open_shared()
    report = await second.admin.recover()
    assert [each.id for each in report.sessions] == ["s"]
    assert [each.id for each in report.tool_calls] == ["c"]
    assert await second.admin.check() == []
