"""The statements of a store that takes its tables for distributed.

Citus is not here: the flag is set by hand, on one plain server. What is shown is that
the contract holds of what is written then, and that each statement has a form which
Citus's documentation says it takes. That Citus takes them is not shown.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import pytest

from tests.support.patience import patient
from tests.support.postgres.posting import blocked
from tests.support.postgres.server import PostgresServer
from turnstore import NewEvent, SessionStore, Usage
from turnstore.cli.citus import DISTRIBUTED
from turnstore.engine.postgres.connections import _Dialect
from turnstore.store.events.following.reads import list_blocks

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Dialect, "is_distributed", True)


# What an update sets, and what followers see


async def test_updates_of_several_sessions_set_each(store: SessionStore) -> None:
    """Texts, numbers, times and NULL, which go by value there."""
    names = [f"s{n}" for n in range(5)]
    await asyncio.gather(*(store.sessions.create(id=each) for each in names))
    await asyncio.gather(
        *(store.sessions.update(each, title=f"title {each}") for each in names),
        *(store.sessions.update(each, status="running") for each in names),
        *(store.messages.append(each, "user", each, model="m") for each in names),
    )
    for each in names:
        found = await store.sessions.get(each)
        assert found is not None
        assert (found.title, found.status, found.last_model) == (
            f"title {each}",
            "running",
            "m",
        )
        assert found.updated_at > found.created_at
        await store.messages.set_active(each, None)
        found = await store.sessions.get(each)
        assert found is not None and found.active_message_id is None


async def test_updated_at_is_never_before_created_at(store: SessionStore) -> None:
    await store.sessions.create(id="s", created_at=datetime(2999, 1, 1, tzinfo=UTC))
    await store.events.append("s", "t")
    found = await store.sessions.get("s")
    assert found is not None and found.updated_at == found.created_at


async def test_digests_are_those_of_other_stores(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("a", "b"):
        await store.sessions.create(id=each)
    await store.events.append_many("b", [NewEvent(type="t")] * 3)
    grouped = await store._backend.read(list_blocks)
    monkeypatch.setattr(_Dialect, "is_distributed", False)
    assert grouped == await store._backend.read(list_blocks)
    assert len(grouped) == 1


@pytest.mark.parametrize("is_distributed", [True, False])
@pytest.mark.parametrize("first", ["fork", "parent"])
async def test_a_fork_gets_no_copy_of_what_it_deletes_meanwhile(
    database: str, is_distributed: bool, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Dialect, "is_distributed", is_distributed)
    other = await asyncpg.connect(database)
    async with SessionStore(database, patient(lanes=2)) as store:
        await store.sessions.create(id="p")
        await store.events.append_many("p", [NewEvent(type="t")] * 4)
        await store.sessions.fork("p", new_id="f")
        # Both come as far as what the fork shows, one after the other.
        await other.execute("BEGIN; SELECT * FROM fork_sources FOR UPDATE")
        async with asyncio.TaskGroup() as both:
            calls = [("f", 4, 3), ("p", 3, 2)]  # session, before, deleted
            made = []
            for name, before, _ in calls if first == "fork" else calls[::-1]:
                call = store.events.delete_before(name, before)
                made.append((name, both.create_task(call)))
                await blocked(other, len(made))
            await other.execute("COMMIT")
        found = {name: task.result() for name, task in made}
        assert found == {name: deleted for name, _, deleted in calls}
        assert [each.seq for each in await store.events.list("f")] == [4]
        assert [each.seq for each in await store.events.list("p")] == [3, 4]
    await other.close()


# The form of the statements


async def talk(store: SessionStore) -> None:
    """Make calls of each kind, with two sessions and forks of one."""
    for each in ("a", "b"):
        await store.sessions.create(id=each, metadata={"k": "v"})
    await store.events.append("a", "t", {"x": 1}, model="m", idempotency_key="k")
    await store.events.append_many("a", [NewEvent(type="t")] * 3)
    await asyncio.gather(*(store.events.append(each, "t") for each in "abba"))
    async with store.turn("b") as turn:
        turn.message("user", "hello")
        turn.event("t", session_id="a")
    asked = await store.messages.append("a", "user", "hello")
    await store.messages.append("a", "assistant", "hello", model="m")
    call = await store.tool_calls.create("a", "grep", {}, message_id=asked.id)
    await store.tool_calls.update("a", call.id, status="executing")
    await store.tool_calls.update("a", call.id, status="completed", output="x")
    await store.usage.record("a", Usage(prompt_tokens=1))
    await store.sessions.update("a", title="other", status="running")
    await store.metadata.set("a", "k", "w")
    await store.sessions.fork("a", new_id="f")
    await store.sessions.fork("f", new_id="g")
    assert await store.events.delete_before("f", 3) == 2
    assert await store.events.delete_before("a", 5) == 4
    await store.messages.compact("a", "summary", preserve=1)
    await store.messages.uncompact("a")
    await store.sessions.delete("a")
    assert [each.seq for each in await store.events.list("g")][:2] == [1, 2]
    assert len(await store.messages.list("f")) == len(await store.messages.context("f"))
    assert await store.sessions.get("g") is not None
    assert await anext(store.events.follow_all()) is not None


class Logged(NamedTuple):
    """A statement of a server's process, and its parameters as they are logged."""

    process: str
    text: str
    parameters: str

    @property
    def key(self) -> int:
        """What the key of a head is compared with."""
        [place] = re.findall(r"session_heads\.session_key = \$(\d+)", self.text)
        [key] = re.findall(rf"\${place} = '(\d+)'", self.parameters)
        return int(key)

    @property
    def tables(self) -> set[str]:
        """The distributed tables that it reads or writes."""
        found = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", self.text)
        return set(found) & set(DISTRIBUTED)

    @property
    def is_lock(self) -> bool:
        return "FOR UPDATE" in self.text or self.text.startswith("UPDATE session_heads")

    @property
    def form(self) -> str | None:
        """Which form it has that Citus is said to take; None: which it may not."""
        written = re.match(r"INSERT INTO (\w+) \(session_key, ", self.text)
        if written:
            read = self.text[written.end() :]
            tables = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", read)) & self.tables
        else:
            tables = self.tables
        if not tables:
            return "rows that are given" if written else "reference tables alone"
        if all(self._is_by_value(each) for each in tables):
            return "by value"
        if self.is_lock or written or self.text.startswith("UPDATE"):
            return None
        if self.text.startswith("DELETE"):
            return None if " USING " in self.text else "a delete on each shard"
        if "= fork_sources.source_key" in self.text:
            return "a read by a join that repartitions"
        if all(self._names_key(each) for each in tables):
            return "a read by key"
        if "fork_sources.source_key = ANY" in self.text:
            return "a read of the forks of sessions"
        if "GROUP BY session_heads.session_key / " in self.text:
            return "a sum over all heads"
        return None

    def _is_by_value(self, table: str) -> bool:
        return bool(re.search(rf"\b{table}\.session_key = \$\d", self.text))

    def _names_key(self, table: str) -> bool:
        """Whether it is found by the key, which may be that of a joined row."""
        key = rf"\b{table}\.session_key"
        return bool(re.search(rf"{key} (=|IN|BETWEEN) |= {key}\b", self.text))


def logged(log: str) -> list[Logged]:
    """Return the statements that a server has logged."""
    joined = log.replace("\n\t", " ")
    found = re.findall(
        r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)"
        r"(?:\n.*DETAIL:  [Pp]arameters: (.*))?",
        joined,
    )
    return [Logged(*each) for each in found]


@pytest.fixture
async def statements(postgres: PostgresServer, database: str) -> list[Logged]:
    """What the server hears of a talk, by one lane."""
    connection = await asyncpg.connect(database)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(
        f"ALTER DATABASE {name} SET log_statement = 'all'; "
        f"ALTER DATABASE {name} SET log_min_messages = 'log'"
    )
    await connection.close()
    start = len(postgres.log())
    async with SessionStore(database, patient(lanes=1)) as store:
        await talk(store)
    return logged(postgres.log()[start:])


async def test_each_statement_has_a_form_that_citus_is_said_to_take(
    statements: list[Logged],
) -> None:
    """To which nodes it goes is not shown."""
    assert [each.text for each in statements if each.form is None] == []
    assert {each.form for each in statements} == {
        "a delete on each shard",
        "a read by a join that repartitions",
        "a read by key",
        "a read of the forks of sessions",
        "a sum over all heads",
        "by value",
        "reference tables alone",
        "rows that are given",
    }
    by_value = {
        (each.text.split()[0], table)
        for each in statements
        if each.form == "by value"
        for table in each.tables
    }
    assert by_value >= {
        ("UPDATE", "session_heads"),
        ("UPDATE", "tool_calls"),
        ("UPDATE", "fork_sources"),
        ("INSERT", "events"),
        ("INSERT", "messages"),
        ("INSERT", "session_metadata"),
        ("DELETE", "events"),
        ("SELECT", "session_heads"),
        ("SELECT", "fork_sources"),
    }


async def test_heads_are_locked_one_by_one_before_all_else(
    statements: list[Logged],
) -> None:
    """In order of keys; also by batches of one kind, which lock as they load."""
    ways: set[tuple[int, bool]] = set()
    transactions: list[list[Logged]] = []
    begun: dict[str, list[Logged]] = {}
    for each in statements:
        if each.text.startswith("BEGIN"):
            begun[each.process] = []
            transactions.append(begun[each.process])
        if each.process in begun:
            begun[each.process].append(each)
    for transaction in transactions:
        used = [each for each in transaction if each.tables]
        locked: list[int] = []
        for at, each in enumerate(used):
            if each.is_lock and each.tables == {"session_heads"}:
                if each.key not in locked:
                    locked.append(each.key)
                    assert all(other.is_lock for other in used[:at])
        assert locked == sorted(locked)
        ways.add((len(locked), bool(used) and "event_head" in used[0].text))
    # Two heads: locked as they are loaded by a batch of one kind, first by the turn.
    assert ways >= {(2, True), (2, False)}
