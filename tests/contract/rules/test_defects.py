"""Faults that session stores are known to have, one test each that it is not here.

Those that a sentence of the contract rules out are tested in the chapter of that
sentence; those of one database, of its schema and its migrations by its backend.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    Event,
    InvalidArgument,
    Message,
    NewEvent,
    NewMessage,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    Usage,
)

MOMENT: Final = datetime(2024, 1, 2, 12, tzinfo=UTC)
EAST: Final = timezone(timedelta(hours=9))
BEYOND: Final = [2**63, 2**64, -1]
NAMES: Final = [
    "../../etc/passwd",
    "/absolute",
    "a/b\\c",
    "C:",
    ".",
    "%2e%2e",
    "'; DROP TABLE sessions; --",
    '"quoted"',
    "a%b_c*?",
    " space ",
    "line\nfeed",
    "İß😀",
]
MESSAGE: Final[dict[str, Any]] = {
    "role": "assistant",
    "content": [{"type": "thinking", "text": "…", "signature": "x"}],
    "id": "m",
    "tool_calls": [{"id": "call_1", "type": "function", "extra": {"a": None}}],
    "tool_call_id": "call_0",
    "name": "n",
    "usage": Usage(
        prompt_tokens=1,
        completion_tokens=2,
        cache_read_tokens=3,
        cache_creation_tokens=4,
        thinking_tokens=5,
        api_calls=6,
    ),
    "agent_name": "a",
    "model": "m",
    "created_at": MOMENT,
}


# Numbers and times


@pytest.mark.parametrize("number", BEYOND)
async def test_a_number_beyond_64_bits_or_below_0_is_refused_not_cast(
    store: SessionStore, session: Session, number: int
) -> None:
    await store.events.append("s", "e")
    for call in (
        store.events.list("s", after=number),
        store.messages.list("s", after=number),
        store.events.delete_before("s", number),
        store.events.append("s", "e", expected_head=number),
    ):
        with pytest.raises(InvalidArgument):
            await call
    assert await store.events.head("s") == 1


async def test_the_greatest_number_is_no_sign_for_all_or_none(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e")
    await store.messages.append("s", "user")
    assert await store.events.list("s", after=2**63 - 1) == []
    assert await store.messages.list("s", after=2**63 - 1) == []
    assert len(await store.messages.list("s", before=2**63 - 1)) == 1


async def test_a_time_is_compared_as_a_moment_in_whatever_zone_it_is_given(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="utc", created_at=MOMENT)
    await store.sessions.create(id="east", created_at=MOMENT.astimezone(EAST))
    wanted = SessionFilter(created_after=MOMENT.astimezone(EAST), created_before=MOMENT)
    assert await store.sessions.count(wanted) == 2


async def test_a_whole_second_is_compared_as_one_with_a_fraction(
    store: SessionStore,
) -> None:
    for n in (0, 1, 500_000):
        moment = MOMENT + timedelta(microseconds=n)
        await store.sessions.create(id=f"{n}", created_at=moment)
    page = await store.sessions.list(SessionFilter(created_after=MOMENT))
    assert [each.id for each in page.items] == ["500000", "1", "0"]
    wanted = SessionFilter(created_before=MOMENT)
    assert await store.sessions.count(wanted) == 1


async def test_a_given_time_is_not_replaced_by_that_of_the_write(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s", created_at=MOMENT)
    await store.messages.append("s", "user", created_at=MOMENT)
    call = await store.tool_calls.create("s", "t", {}, created_at=MOMENT)
    await store.tool_calls.update("s", call.id, status="completed")
    updated = await store.sessions.update("s", title="t", ended_at=MOMENT)
    assert (updated.created_at, updated.ended_at) == (MOMENT, MOMENT)
    state = await store.sessions.load("s")
    assert state is not None
    rows: list[Any] = [*state.messages, *state.tool_calls]
    assert [each.created_at for each in rows] == [MOMENT, MOMENT]


# Fields


async def test_no_field_is_lost_on_the_way_to_a_fork(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", **MESSAGE)
    await store.events.append(
        "s", "e", {"a": None}, model="m", turn_id="t", created_at=MOMENT
    )
    fork = await store.sessions.fork("s", new_id="f")
    assert await store.messages.list(fork.id) == [
        Message(session_id="f", seq=1, **MESSAGE)
    ]
    assert await store.events.list(fork.id) == [
        Event(
            session_id="f",
            seq=1,
            type="e",
            data={"a": None},
            model="m",
            turn_id="t",
            created_at=MOMENT,
        )
    ]


async def test_the_error_of_a_failure_is_kept(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "t", {}, id="c")
    await store.tool_calls.update("s", "c", status="failed", error="no route")
    await store.tool_calls.update("s", "c", execution_time_ms=3)
    await store.sessions.update("s", status="failed", error="gave up")
    await store.sessions.update("s", title="t")
    state = await store.sessions.load("s")
    assert state is not None
    assert [each.error for each in state.tool_calls] == ["no route"]
    assert state.session.error == "gave up"


@pytest.mark.parametrize("unknown", ["colour", "id", "created_at", "usage"])
async def test_a_field_that_can_not_be_written_is_refused_not_ignored(
    store: SessionStore, session: Session, unknown: str
) -> None:
    fields: dict[str, Any] = {unknown: "x", "title": "t"}
    with pytest.raises(TypeError):
        await store.sessions.update("s", **fields)
    assert await store.sessions.get("s") == session


def test_an_unknown_filter_is_refused_not_ignored() -> None:
    unknown: dict[str, Any] = {"colour": "red"}
    with pytest.raises(TypeError):
        SessionFilter(**unknown)
    assert SessionFilter() == SessionFilter(ids=None)


# Sessions and their names


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_id_is_a_name_and_never_a_path_or_a_pattern(
    store: SessionStore, session: Session, name: str
) -> None:
    made = await store.sessions.create(id=name)
    assert await store.events.append(name, "e") == 1
    assert await store.sessions.count(SessionFilter(ids=[name])) == 1
    assert [each.id for each in (await store.sessions.list()).items] == [name, "s"]
    assert await store.sessions.delete(made.id) is True
    assert await store.sessions.get("s") == session


async def test_a_session_made_again_with_its_id_starts_afresh(
    store: SessionStore,
) -> None:
    await live_again(store, store)


async def test_a_session_that_another_store_made_again_starts_afresh(
    store: SessionStore, second_store: SessionStore
) -> None:
    await live_again(store, second_store)


async def live_again(store: SessionStore, other: SessionStore) -> None:
    """Create and delete a session in ``other`` several times, and use it in both."""
    for n in range(3):
        await other.sessions.create(id="s", title=str(n), metadata={"n": str(n)})
        for each in (store, other):
            await each.events.append("s", "e", idempotency_key=f"{n}")
            await each.messages.append("s", "user", idempotency_key="k", usage=Usage())
        assert (await store.messages.append("s", "user", id="m")).seq == 2
        await store.tool_calls.create("s", "t", {}, id="c")
        assert await other.events.head("s") == 1
        assert await other.sessions.delete("s")
        with pytest.raises(SessionNotFound):
            await store.events.append("s", "e")
        with pytest.raises(SessionNotFound):
            await store.messages.list("s")
    fresh = await other.sessions.create(id="s")
    assert (fresh.event_head, fresh.message_count, fresh.metadata) == (0, 0, {})
    assert fresh.usage == Usage() and fresh.tool_call_count == 0
    assert (await store.messages.append("s", "user", idempotency_key="k")).seq == 1


async def test_a_session_made_again_has_no_memory_of_keys(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "e", 1, idempotency_key="k")
    await store.messages.append("s", "user", 1, idempotency_key="k")
    await store.sessions.delete("s")
    await store.sessions.create(id="s")
    await store.events.append("s", "e", 2, idempotency_key="k")
    await store.messages.append("s", "user", 2, idempotency_key="k")
    assert [each.data for each in await store.events.list("s")] == [2]
    assert [each.content for each in await store.messages.list("s")] == [2]


async def test_what_users_said_in_one_project_is_not_shown_in_another(
    store: SessionStore,
) -> None:
    for root in ("/a", "/a/b", "/A", "/a/", None):
        made = await store.sessions.create(project_root=root)
        await store.messages.append(made.id, "user", f"in {root}")
    assert await store.messages.recent_user(9, project_root="/a") == ["in /a"]


async def test_a_refused_fork_leaves_nothing(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(InvalidArgument):
        await store.sessions.fork("s", at_message_seq=7, new_id="f")
    assert await store.sessions.get("f") is None
    assert await store.sessions.count(SessionFilter()) == 1


async def test_nobody_sees_a_part_of_a_fork_or_of_a_compaction(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="user", content=n) for n in range(50)]
    await store.messages.append_many("s", new)
    outcomes: list[Any] = await asyncio.gather(
        store.sessions.fork("s", new_id="f"),
        *(store.sessions.load("f") for _ in range(5)),
        store.messages.compact("s", "so far", preserve=10),
        *(store.messages.list("s", include_compacted=False) for _ in range(5)),
    )
    for state in outcomes[1:6]:
        assert state is None or len(state.messages) == 50
    for active in outcomes[7:]:
        assert len(active) in (50, 11)


# Tool calls


async def test_an_open_call_is_pending_whatever_was_said_since(
    store: SessionStore, session: Session
) -> None:
    asked = await store.messages.append(
        "s", "assistant", tool_calls=[{"id": "x"}, {"id": "y"}]
    )
    for call_id in ("x", "y"):
        await store.tool_calls.create(
            "s", "t", {}, id=call_id, call_id=call_id, message_id=asked.id
        )
    await store.tool_calls.update("s", "y", status="completed")
    await store.messages.append("s", "tool", "done", tool_call_id="y")
    await store.messages.append("s", "user", "and now?")
    assert await store.tool_calls.has_pending("s") is True
    assert [each.id for each in await store.tool_calls.pending("s")] == ["x"]


async def test_an_ended_call_is_not_pending_though_its_message_comes_last(
    store: SessionStore, session: Session
) -> None:
    asked = await store.messages.append("s", "assistant", tool_calls=[{"id": "x"}])
    await store.tool_calls.create("s", "t", {}, id="c", message_id=asked.id)
    await store.tool_calls.update("s", "c", status="denied")
    assert await store.tool_calls.has_pending("s") is False


async def test_calls_with_one_provider_id_are_changed_one_at_a_time(
    store: SessionStore, session: Session
) -> None:
    for n in ("1", "2"):
        await store.tool_calls.create("s", "t", {}, id=n, call_id="x")
    await store.tool_calls.update("s", "2", output="out")
    found = await store.tool_calls.find("s", "x")
    assert [each.output for each in found] == [None, "out"]


# Several stores on one database


async def test_reading_and_then_writing_does_not_fail_beside_another_store(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")

    async def work(store: SessionStore, agent: int) -> None:
        for n in range(10):
            seen = len(await store.events.list("s"))
            async with store.turn("s") as turn:
                turn.event("e", {"seen": seen})
                turn.message("user", n, agent_name=f"{agent}")

    await asyncio.gather(*(work(each, n) for n, each in enumerate(stores * 3)))
    assert await stores[0].events.head("s") == 60
    said = await stores[1].messages.list("s")
    for agent in "012345":
        own = [each.content for each in said if each.agent_name == agent]
        assert own == [*range(10)]


async def test_a_store_keeps_no_copy_that_another_store_makes_old(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    for n in range(1, 6):
        writer, reader = (first, second) if n % 2 else (second, first)
        assert await writer.events.append_many("s", [NewEvent(type="e")]) == [n]
        assert await reader.events.head("s") == n
        await writer.sessions.update("s", title=f"{n}")
        found = await reader.sessions.get("s")
        assert found is not None
        assert (found.title, found.event_head) == (f"{n}", n)


async def test_a_session_that_another_store_made_again_is_the_new_one(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    await first.events.append_many("s", [NewEvent(type="e")] * 3)
    await second.sessions.delete("s")
    await second.sessions.create(id="s")
    assert await first.events.append("s", "e") == 1
    assert await second.events.head("s") == 1
