"""Lanes: order of a session's writes, turns over several lanes, batches that fail."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.support.patience import LIMIT_S, patient, until
from tests.support.postgres.posting import (
    Broken,
    Note,
    Poison,
    blocked,
    held,
    opened,
    submitted,
    texts,
    works,
)
from tests.support.postgres.standby import connected
from turnstore import (
    BackendError,
    DatabaseCorrupt,
    InvalidArgument,
    SessionFilter,
    SessionNotFound,
    SessionStore,
    StoreClosed,
)
from turnstore.engine.postgres import lanes
from turnstore.engine.postgres.lanes import Lane
from turnstore.sql.codec import to_micros

pytestmark = pytest.mark.anyio

LANES = 4


def in_lane(number: int) -> str:
    """Return the id of a session of that lane."""
    names = (f"s{n}" for n in range(1_000))
    return next(each for each in names if zlib.crc32(each.encode()) % LANES == number)


A, B, C = in_lane(0), in_lane(1), in_lane(2)


async def test_lanes_do_not_wait_for_each_other(database: str) -> None:
    async with opened(database, lanes=LANES) as backend, held(backend, database, A):
        assert await backend.write(Note(B, 1, "b")) == 1


async def test_a_session_stays_where_it_is_under_way(database: str) -> None:
    """What comes after a command of two sessions comes after it for both."""
    async with opened(database, lanes=LANES) as backend:
        async with held(backend, database, A):
            writes = [
                asyncio.create_task(backend.write(each))
                for each in (Note(A, 1, "both", (B,)), Note(B, 1, "b"), Note(A, 1, "a"))
            ]
            await submitted(backend, 3)
            assert await backend.write(Note(C, 1, "c")) == 1
        await asyncio.gather(*writes)
        assert await backend.read(texts) == ["c", "both", "b", "a"]


async def test_a_command_waits_until_its_sessions_are_in_one_lane(
    database: str,
) -> None:
    async with opened(database, lanes=LANES) as backend:
        async with held(backend, database, A, 1):
            first_a = asyncio.create_task(backend.write(Note(A, 1, "a1")))
            async with held(backend, database, B, 2):
                first_b = asyncio.create_task(backend.write(Note(B, 1, "b1")))
                both = asyncio.create_task(backend.write(Note(C, 1, "both", (A, B))))
                await submitted(backend, 3)
                second_b = asyncio.create_task(backend.write(Note(B, 1, "b2")))
                second_a = asyncio.create_task(backend.write(Note(A, 1, "a2")))
                await submitted(backend, 5)
            await first_b
        await asyncio.gather(first_a, both, second_a, second_b)
        found = await backend.read(texts)
        assert found.index("both") > max(found.index("a1"), found.index("b1"))
        assert found.index("both") < min(found.index("a2"), found.index("b2"))
        await works(backend)


async def test_what_comes_after_a_command_that_was_just_let_in(database: str) -> None:
    """It has its lane from the end of ``b1`` on, which ``b2`` comes straight after."""
    async with opened(database, lanes=LANES) as backend:

        async def write_twice() -> None:
            await backend.write(Note(B, 1, "b1"))
            await backend.write(Note(B, 1, "b2"))

        async with held(backend, database, A, 1):
            first_a = asyncio.create_task(backend.write(Note(A, 1, "a1")))
            async with held(backend, database, B, 2):
                twice = asyncio.create_task(write_twice())
                both = asyncio.create_task(backend.write(Note(C, 1, "both", (A, B))))
                await submitted(backend, 3)
            await until(lambda: backend.statistics().commands == 2)
        await asyncio.gather(first_a, both, twice)
        assert await backend.read(texts) == ["b1", "a1", "both", "b2"]
        await works(backend)


async def test_random_commands_keep_the_order_of_each_session(
    store: SessionStore,
) -> None:
    names = [f"s{n}" for n in range(8)]
    await asyncio.gather(*(store.sessions.create(id=each) for each in names))

    async def turn(n: int) -> None:
        chosen = [names[n % 8], names[n * 3 % 8], names[n * 5 % 8]]
        async with store.turn(chosen[0]) as turn:
            for each in dict.fromkeys(chosen):
                turn.event("t", n, session_id=each)

    await asyncio.gather(*(turn(n) for n in range(200)))
    for each in names:
        found = [event.data for event in await store.events.list(each)]
        assert found == sorted(found)
        assert found


async def test_a_poisoned_command_fails_alone(database: str) -> None:
    async with opened(database, lanes=1) as backend:
        async with held(backend, database):
            writes = [
                asyncio.create_task(backend.write(each))
                for each in (
                    Note("a", 1, "a"),
                    Poison("b", 1, InvalidArgument("bad")),
                    Broken("c", 1),
                    Note("d", 1, "d"),
                )
            ]
            await submitted(backend, 4)
        found = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(found[1], InvalidArgument)
        assert type(found[2]) is DatabaseCorrupt
        assert [type(each) for each in found[::3]] == [int, int]
        assert await backend.read(texts) == ["a", "d"]
        await works(backend)


async def test_an_index_that_is_too_small_for_a_text_refuses_it_alone(
    store: SessionStore,
) -> None:
    wide = "".join(chr(0x4E00 + n % 5_000) for n in range(4_000))
    bad, good = await asyncio.gather(
        store.sessions.create(id="bad", agent_name=wide),
        store.sessions.create(id="good"),
        return_exceptions=True,
    )
    assert isinstance(bad, InvalidArgument)
    assert await store.sessions.get("bad") is None
    assert await store.sessions.get("good") == good


async def test_closing_commits_what_is_queued(database: str) -> None:
    async with opened(database, lanes=2) as backend:
        async with held(backend, database, "s"):
            queued = [
                asyncio.create_task(backend.write(Note("s", 1, text))) for text in "ab"
            ]
            await submitted(backend, 2)
            closing = asyncio.create_task(backend.close())
            await asyncio.sleep(0)
            with pytest.raises(StoreClosed):
                await backend.write(Note("s", 1, "late"))
        await closing
        assert await asyncio.gather(*queued) == [1, 2]


async def test_closing_gives_up_on_what_is_late(database: str) -> None:
    async with opened(database, lanes=1, close_timeout_s=0.05) as backend:
        try:
            async with held(backend, database):
                queued = asyncio.create_task(backend.write(Note("s", 1, "late")))
                await submitted(backend, 1)
                await backend.close()
        except BackendError:
            pass  # what was under way was cut off
        with pytest.raises(StoreClosed):
            await queued
    async with opened(database) as backend:
        assert await backend.read(texts) == []


async def test_closing_gives_lanes_no_more_than_what_is_left(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the time that was spent on a command that waits for its sessions."""
    given_s: list[float] = []
    close = Lane.close

    async def note_time(self: Lane, timeout_s: float) -> None:
        given_s.append(timeout_s)
        await close(self, timeout_s)

    monkeypatch.setattr(Lane, "close", note_time)
    async with opened(database, lanes=LANES, close_timeout_s=0.1) as backend:
        try:
            async with held(backend, database, A, 1), held(backend, database, B, 2):
                both = asyncio.create_task(backend.write(Note(A, 1, "both", (B,))))
                await submitted(backend, 1)
                await backend.close()
        except BackendError:
            pass  # what was under way was cut off
        assert len(given_s) == LANES
        assert max(given_s) < 0.01
        with pytest.raises(StoreClosed):
            await both


async def test_writes_of_many_sessions_share_commits(store: SessionStore) -> None:
    names = [f"s{n}" for n in range(40)]
    await asyncio.gather(*(store.sessions.create(id=each) for each in names))
    before = (await store.statistics()).batches
    await asyncio.gather(*(store.events.append(each, "t") for each in names))
    assert (await store.statistics()).batches - before <= 2 * 4


async def test_who_writes_to_no_session_is_told(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.events.append("nobody", "t")


async def test_durability_is_set_in_each_transaction(database: str) -> None:
    from sqlalchemy import Connection

    from turnstore.engine.commands import Command

    class Ask(Command[str], frozen=True):
        @staticmethod
        def apply(connection: Connection, commands: list[Ask]) -> list[str]:
            asked = connection.exec_driver_sql("SHOW synchronous_commit")
            return [str(asked.scalar_one())] * len(commands)

    found = []
    for durability in ("normal", "full"):
        async with opened(database, durability=durability) as backend:
            found.append(await backend.write(Ask("s", 0)))
    assert found == ["off", "on"]


async def test_what_waited_for_another_lane_has_the_later_time(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session's and a batch of several: time goes on while they wait."""
    monkeypatch.setattr(lanes, "FRESH_S", LIMIT_S)
    names = ["a", "b", "c"]
    loop = asyncio.get_running_loop()
    async with (
        SessionStore(database, patient(lanes=1)) as store,
        connected(database) as connection,
    ):
        for name in names:
            await store.sessions.create(id=name)
        for several in (["a"], names):
            # Before, as statements are made when they are first used.
            for _ in range(2):
                await asyncio.gather(
                    *(store.events.append(each, "t") for each in several)
                )
            async with connection.transaction():
                await connection.execute("SELECT FROM session_heads FOR UPDATE")
                sent_s = loop.time()
                appends = [
                    asyncio.create_task(store.events.append(each, "t"))
                    for each in several
                ]
                await blocked(connection)
                on_its_way_s = loop.time() - sent_s
                other = datetime.now(UTC)
                await connection.execute(
                    "UPDATE session_heads SET updated_at = $1",
                    to_micros(other, "other"),
                )
                # Nobody can count how long the statement was on its way.
                await asyncio.sleep(on_its_way_s)
            await asyncio.gather(*appends)
            for each in several:
                event = (await store.events.list(each))[-1]
                session = await store.sessions.get(each)
                assert session is not None
                assert event.created_at == session.updated_at >= other


@asynccontextmanager
async def under_way(database: str, session_id: str, *texts: str) -> AsyncIterator[None]:
    """What another lane has written to a session, and commits once a batch waits."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            key = await connection.fetchval(
                "SELECT session_key FROM session_heads JOIN sessions "
                "USING (session_key) WHERE id = $1 FOR UPDATE OF session_heads",
                session_id,
            )
            for text in texts:
                await connection.execute(text, key)
            yield
            await blocked(connection)
    finally:
        await connection.close()


async def test_recover_looks_at_sessions_again_once_they_are_locked(
    store: SessionStore, database: str
) -> None:
    for name in ("a", "b", "c"):
        await store.sessions.create(id=name, status="running")
        await store.tool_calls.create(name, "t", {}, id="call")
    async with (
        under_way(
            database, "a", "UPDATE sessions SET status='completed' WHERE session_key=$1"
        ),
        under_way(
            database,
            "b",
            "UPDATE sessions SET status='waiting_for_user_input' WHERE session_key=$1",
        ),
    ):
        recovering = asyncio.create_task(store.admin.recover())
    report = await recovering
    assert [each.id for each in report.sessions] == ["c"]
    assert [each.session_id for each in report.tool_calls] == ["a", "c"]
    statuses = [(await store.sessions.load(name)) for name in ("a", "b", "c")]
    assert [each and str(each.session.status) for each in statuses] == [
        "completed",
        "waiting_for_user_input",
        "interrupted",
    ]
    assert await store.tool_calls.has_pending("b")
    assert await store.admin.check() == []


async def test_recover_counts_the_calls_that_are_open_once_it_has_the_lock(
    store: SessionStore, database: str
) -> None:
    await store.sessions.create(id="s")
    await store.tool_calls.create("s", "t", {}, id="first")
    await store.tool_calls.create("s", "t", {}, id="second")
    async with under_way(
        database,
        "s",
        "UPDATE tool_calls SET status='completed' WHERE session_key=$1 AND id='first'",
        "UPDATE session_heads SET pending_tool_calls=1 WHERE session_key=$1",
    ):
        recovering = asyncio.create_task(store.admin.recover())
    assert [each.id for each in (await recovering).tool_calls] == ["second"]
    session = await store.sessions.get("s")
    assert session is not None and session.pending_tool_calls == 0
    assert await store.admin.check() == []


async def test_recover_passes_over_a_session_that_is_deleted_before_it_is_locked(
    store: SessionStore, database: str
) -> None:
    await store.sessions.create(id="s", status="running")
    await store.tool_calls.create("s", "t", {})
    async with under_way(database, "s", "DELETE FROM sessions WHERE session_key=$1"):
        recovering = asyncio.create_task(store.admin.recover())
    report = await recovering
    assert (report.sessions, report.tool_calls) == ([], [])


async def test_purge_counts_what_is_due_once_it_has_the_lock(
    store: SessionStore, database: str
) -> None:
    """A compaction that is taken back meanwhile leaves nothing to delete."""
    await store.sessions.create(id="s")
    for text in ("1", "2", "3"):
        await store.messages.append("s", "user", text)
    await store.messages.compact("s", "so far", preserve=1)
    async with under_way(
        database,
        "s",
        "DELETE FROM compactions WHERE session_key=$1",
        "DELETE FROM messages WHERE session_key=$1 AND summary_of IS NOT NULL",
        "UPDATE session_heads SET message_count=3 WHERE session_key=$1",
    ):
        purging = asyncio.create_task(store.archive.purge(older_than_days=0))
    assert await purging == 0
    assert [each.content for each in await store.messages.list("s")] == ["1", "2", "3"]
    session = await store.sessions.get("s")
    assert session is not None and session.message_count == 3
    assert await store.admin.check() == []


async def test_recover_goes_along_with_writes_of_another_store(
    store: SessionStore, second_store: SessionStore
) -> None:
    names = [f"s{n}" for n in range(12)]
    for name in names:
        await store.sessions.create(id=name, status="running")

    async def use(name: str) -> None:
        for n in range(10):
            await second_store.tool_calls.create(name, "t", {}, id=f"c{n}")
            await second_store.events.append(name, "e")

    async def recover() -> None:
        for _ in range(10):
            await store.admin.recover()

    await asyncio.gather(recover(), *(use(name) for name in names))
    assert await store.admin.check() == []
    await store.admin.recover()
    assert await store.sessions.count(SessionFilter(has_pending_tool_calls=True)) == 0
    assert await store.admin.check() == []
