"""Damaged values: typed errors that name the row, the rest stays readable, checks tell
every one and repairs set it aside."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.contract.calls import EVERY
from tests.contract.ways import OpenStore, Way
from tests.support import damaging
from tests.support.damaging import KEPT, Damage, execute
from turnstore import BackendError, DatabaseCorrupt, Event, SessionStore, StoreError
from turnstore.sql.schema import metadata

pytestmark = pytest.mark.anyio

ROUNDS_OF_ALL: Final = 20
"""From so many ``--crash-rounds`` on every damage is tried, else a quarter of them."""
TABLES: Final = [str(each.name) for each in metadata.sorted_tables]
CALLS: Final = {
    name: call
    for name, call in EVERY.items()
    if not name.startswith("admin") and name != "events.follow_all of all"
}


async def made(way: Way, open_shared: OpenStore) -> Any:
    """Fill the store and close it; return how the session that stays sound reads."""
    store = await open_shared()
    await damaging.fill(store, "sound")
    before = await whole(store, "sound")
    await damaging.fill(store, "gone")
    await store.close()
    await execute(way.url, *KEPT)
    return before


async def whole(store: SessionStore, id: str) -> Any:
    return (
        await store.sessions.load(id),
        await store.events.list(id),
        await store.messages.context(id),
        await store.questions.list(id),
        [each.value for each in await store.settings.list(id)],
        await store.usage.by_agent(id),
        await store.todos.get(id),
    )


def statement(damage: Damage) -> str:
    keys = "SELECT session_key FROM sessions WHERE id = 'gone'"
    table = metadata.tables[damage.table]
    where = f" WHERE session_key IN ({keys})" if "session_key" in table.c else ""
    if damage.column in {each.name for each in table.primary_key}:
        where += " AND " if where else " WHERE "
        where += f'"{damage.column}" = (SELECT max("{damage.column}") FROM {table.name}'
        where += f" WHERE session_key IN ({keys}))" if "session_key" in table.c else ")"
    if damage.column == "id" and damage.table != "sessions":
        where += f" AND seq = (SELECT max(seq) FROM {table.name} "
        where += f"WHERE session_key IN ({keys}))"
    return f'UPDATE {table.name} SET "{damage.column}" = {damage.value}{where}'


def leaked(name: str, outcome: object) -> str | None:
    """Tell of an outcome that is neither a result nor a typed error."""
    if not isinstance(outcome, BaseException):
        return None
    if isinstance(outcome, StoreError) and type(outcome) is not BackendError:
        return None
    return f"{name}: {type(outcome).__name__} {outcome}"


@pytest.mark.parametrize("table", TABLES)
async def test_damage_is_typed_told_and_set_aside(
    way: Way,
    open_shared: OpenStore,
    table: str,
    rng: Random,
    rounds: int,
    tmp_path: Path,
    file_bytes: Callable[[Path], bytes],
) -> None:
    before = await made(way, open_shared)
    dialect = "sqlite" if isinstance(way.url, Path) else "postgresql"
    content = file_bytes(way.url) if isinstance(way.url, Path) else b""
    faults: list[str] = []
    damages = [each for each in damaging.every(dialect) if each.table == table]
    if rounds < ROUNDS_OF_ALL:
        damages = rng.sample(damages, math.ceil(len(damages) / 4))
    for at, damage in enumerate(damages):
        if isinstance(way.url, Path):
            # A new file for each, as reading one that is open drops locks.
            way = way._replace(url=tmp_path / f"{at}.sqlite")
            assert isinstance(way.url, Path)
            way.url.write_bytes(content)
            way.url.chmod(0o600)
        await execute(way.url, statement(damage))
        faults += [
            f"{damage.name}: {each}" for each in await faults_of(way, damage, before)
        ]
        if dialect == "postgresql":
            before = await made_again(way, open_shared)
    assert "\n".join(faults) == ""


async def made_again(way: Way, open_shared: OpenStore) -> Any:
    from tests.support.postgres.emptying import empty

    assert isinstance(way.url, str)
    await empty(way.url)
    return await made(way, open_shared)


async def faults_of(way: Way, damage: Damage, before: Any) -> list[str]:
    async with way.opening() as opening:
        store = await opening()
        problems = await store.admin.check()
        faults = []
        if not any(damage.table in each and damage.column in each for each in problems):
            faults.append(f"the check tells {problems}")
        for name, call in CALLS.items():
            if name in ("sessions.delete", "archive.purge"):
                continue
            try:
                async with asyncio.timeout(30):
                    outcome: object = await call(store)
            except Exception as error:
                outcome = error
            fault = leaked(name, outcome)
            if fault is not None:
                faults.append(fault)
        if damage.table not in ("imports", "source_rows"):
            now = await whole(store, "sound")
            if now[1:] != before[1:]:
                faults.append("the other session differs")
        await store.admin.check(repair=True)
        left = await store.admin.check()
        if left:
            faults.append(f"after the repair: {left}")
        page = await store.sessions.list()
        if "sound" not in {each.id for each in page.items}:
            faults.append("the repair lost a session")
    return faults


async def test_the_error_names_the_row(way: Way, open_shared: OpenStore) -> None:
    await made(way, open_shared)
    damage = Damage("events", "data", "cut", "'{'")
    keys = "SELECT session_key FROM sessions WHERE id = 'gone'"
    await execute(
        way.url, f"{statement(damage)} AND session_key IN ({keys}) AND seq = 3"
    )
    store = await open_shared()
    with pytest.raises(DatabaseCorrupt) as caught:
        await store.events.list("gone")
    error = caught.value
    assert (error.table, error.column) == ("events", "data")
    assert (error.session_id, error.seq) == ("gone", 3)
    assert "'gone'" in str(error) and "events seq 3" in str(error)
    assert [each.seq for each in await store.events.list("gone", limit=2)] == [1, 2]
    assert [each.seq for each in await store.events.list("gone", after=3)] == [4]
    told = await store.admin.check(repair=True)
    assert len(told) == 1 and told[0].endswith("the row was set aside")
    assert [each.seq for each in await store.events.list("gone")] == [1, 2, 4]
    assert await store.events.append("gone", "e") == 5


async def test_sessions_around_a_damaged_one_are_listed(
    way: Way, open_shared: OpenStore
) -> None:
    store = await open_shared()
    for each in ("a", "gone", "z"):
        await store.sessions.create(id=each, title=each)
    await store.close()
    await execute(way.url, statement(Damage("sessions", "title", "cut", "'{'")))
    store = await open_shared()
    for order_by in ("created_at", "updated_at"):
        with pytest.raises(DatabaseCorrupt) as caught:
            await store.sessions.list(order_by=order_by)
        assert (caught.value.table, caught.value.session_id) == ("sessions", "gone")
        before = await store.sessions.list(order_by=order_by, limit=1)
        behind = await store.sessions.list(order_by=order_by, limit=5, offset=2)
        assert [each.id for each in (*before.items, *behind.items)] == ["z", "a"]


async def test_a_damaged_head_fails_its_own_write_alone(
    way: Way, open_shared: OpenStore
) -> None:
    if not isinstance(way.url, Path):
        pytest.skip("PostgreSQL keeps integers in such columns")
    store = await open_shared()
    for each in ("a", "gone", "z"):
        await store.sessions.create(id=each)
    await store.close()
    await execute(way.url, statement(Damage("session_heads", "event_head", "", "'x'")))
    store = await open_shared()
    outcomes = await asyncio.gather(
        *(store.events.append(each, "e") for each in ("a", "gone", "z", "a")),
        return_exceptions=True,
    )
    assert [outcomes[0], *outcomes[2:]] == [1, 1, 2]
    error = outcomes[1]
    assert isinstance(error, DatabaseCorrupt)
    assert (error.table, error.column) == ("session_heads", "event_head")
    assert error.session_id == "gone"


async def test_a_head_behind_its_rows_is_typed_and_mended(
    way: Way, open_shared: OpenStore
) -> None:
    await made(way, open_shared)
    await execute(way.url, statement(Damage("session_heads", "event_head", "", "2")))
    store = await open_shared()
    outcomes = await asyncio.gather(
        store.events.append("gone", "e"),
        store.events.append("sound", "e"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], DatabaseCorrupt)
    assert outcomes[1] == 5
    told = await store.admin.check(repair=True)
    assert told == [
        "session 'gone': event_head is 2, and there is a row 4: counted anew"
    ]
    assert await store.events.append("gone", "e") == 5


async def test_damage_that_follows_what_was_read(
    way: Way, open_shared: OpenStore
) -> None:
    await made(way, open_shared)
    await execute(
        way.url, statement(Damage("events", "data", "cut", "'{'")) + " AND seq = 3"
    )
    store = await open_shared()

    def stream(after: int) -> AsyncIterator[Event]:
        return store.events.stream("gone", after=after, page_size=1)

    def follow(after: int) -> AsyncIterator[Event]:
        return store.events.follow("gone", after=after, idle_timeout_s=0.1)

    for read in (stream, follow):
        with pytest.raises(DatabaseCorrupt) as caught:
            async for _ in read(1):
                pass
        assert caught.value.seq == 3
        assert [each.seq async for each in read(3)] == [4]
