"""What SQLite makes of the statements: which index serves which page and read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import Connection

from turnstore import NewEvent, NewMessage, SessionFilter, SessionStore, StoreOptions
from turnstore.sql.schema import metadata
from turnstore.store.sessions import OrderBy
from turnstore.store.sessions.filters import wanted
from turnstore.store.sessions.listing import order_of
from turnstore.store.sessions.plans import Keyset, after_values, gather, known, places

pytestmark = pytest.mark.anyio

SESSIONS = 3_000
START = datetime(2024, 1, 1, tzinfo=UTC)
ORDERS = get_args(OrderBy)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "store.db"
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    async with SessionStore(path) as store:
        await asyncio.gather(
            *(
                store.sessions.create(
                    id=f"s{n}",
                    user_id="many" if n % 10 else "few",
                    agent_name="many" if n % 10 else "few",
                    project_root="many" if n % 10 else "few",
                    provider="many" if n % 10 else "few",
                    model="many" if n % 10 else "few",
                    parent_session_id="many" if n % 10 else "few",
                    title="many words" if n % 10 else "few words",
                    status="idle" if n % 10 else "failed",
                    metadata={"k": "many"} if n % 10 else {"k": "few", "rare": "1"},
                    created_at=START + timedelta(seconds=n),
                )
                for n in range(SESSIONS)
            )
        )
        for n in range(50):
            await store.messages.append_many(
                f"s{n}", [NewMessage(role="user", content="x", model="few")] * 3
            )
            await store.tool_calls.create(f"s{n}", "t", {}, call_id="c")
            await store.events.append_many(f"s{n}", [NewEvent(type="e")] * 20)


@pytest.fixture
async def store(filled: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(filled, StoreOptions(readers=1)) as opened:
        yield opened


def explained(connection: Connection, statement: str, *values: Any) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    return [str(row.detail) for row in rows]


async def page_plan(
    store: SessionStore,
    order_by: str = "created_at",
    fields: dict[str, Any] = {},  # noqa: B006 - read only
    *,
    descending: bool = True,
    after: Keyset | None = None,
    is_gathered: bool = False,
) -> list[str]:
    """The query plan of the places of a page, where few or many match."""

    given, order = wanted(SessionFilter(**fields)), order_of(order_by, descending)

    def work(connection: Connection) -> list[str]:
        statement = places(
            given.conditions,
            order,
            gather(given.conditions[0], order, "sqlite") if is_gathered else None,
            rows_max=known(51),
            is_later=after is not None,
        ).limit(51)
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        params = {**compiled.params, **given.values, **after_values(after)}
        values = tuple(params[name] for name in compiled.positiontup or ())
        return explained(connection, str(compiled), *values)

    return await store._backend.read(work)


async def statements_of(
    store: SessionStore, read: Callable[[SessionStore], Awaitable[Any]]
) -> list[str]:
    """All statements that read something in a call, their values filled in."""
    made: list[str] = []

    def trace(connection: Connection, record: Callable[[str], None] | None) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(record)

    await store._backend.read(lambda connection: trace(connection, made.append))
    await read(store)
    await store._backend.read(lambda connection: trace(connection, None))
    statements = [each for each in made if each.startswith(("SELECT", "WITH"))]
    assert statements
    return statements


async def plan_of(
    store: SessionStore, read: Callable[[SessionStore], Awaitable[Any]]
) -> list[str]:
    """The query plans of all statements that a call makes."""
    statements = await statements_of(store, read)

    def work(connection: Connection) -> list[str]:
        return [line for each in statements for line in explained(connection, each)]

    return await store._backend.read(work)


def tables_read(lines: list[str]) -> set[str]:
    """The lines that read a table of the schema, without what they look up by."""
    names = tuple(f" {name} " for name in metadata.tables)
    return {each for each in lines if any(name in f"{each} " for name in names)}


def sorts(lines: list[str]) -> int:
    return sum("TEMP B-TREE" in each for each in lines)


def is_sorted(lines: list[str]) -> bool:
    return sorts(lines) > 0


EQUALITIES: list[tuple[str, Any, str]] = [
    *(
        (name, "many", f"sessions USING COVERING INDEX ix_sessions_{name}_created_at")
        for name in (
            "agent_name",
            "project_root",
            "provider",
            "model",
            "parent_session_id",
        )
    ),
    ("status", "idle", "sessions USING COVERING INDEX ix_sessions_status_created_at"),
    (
        "user_id",
        "many",
        "session_heads USING COVERING INDEX ix_session_heads_user_id_created_at",
    ),
    (
        "last_model",
        "few",
        "session_heads USING COVERING INDEX ix_session_heads_last_model_created_at",
    ),
]
equalities = pytest.mark.parametrize(
    ("name", "value", "index"), EQUALITIES, ids=[each[0] for each in EQUALITIES]
)


# Pages without a filter


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("descending", [True, False])
async def test_each_order_walks_its_own_index(
    store: SessionStore, order_by: str, descending: bool
) -> None:
    index = f"ix_session_heads_{order_by}" + "_created_at" * (order_by != "created_at")
    first = await page_plan(store, order_by, descending=descending)
    assert first == [f"SCAN session_heads USING COVERING INDEX {index}"]
    after = await page_plan(store, order_by, descending=descending, after=(5, 5, 5))
    assert len(after) == 1
    assert after[0].startswith(f"SEARCH session_heads USING COVERING INDEX {index} (")


# Pages by one filter in order of creation


@equalities
@pytest.mark.parametrize("descending", [True, False])
async def test_an_equality_goes_along_its_own_index(
    store: SessionStore, name: str, value: str, index: str, descending: bool
) -> None:
    lines = await page_plan(store, fields={name: value}, descending=descending)
    assert lines == [f"SEARCH {index} ({name}=?)"]
    after = await page_plan(
        store, fields={name: value}, descending=descending, after=(5, 5, 5)
    )
    sign = "<" if descending else ">"
    assert after == [f"SEARCH {index} ({name}=? AND created_at{sign}?)"]


async def test_several_statuses_merge_their_index_ranges(store: SessionStore) -> None:
    lines = await page_plan(store, fields={"status": ["idle", "failed"]})
    index = "sessions USING COVERING INDEX ix_sessions_status_created_at (status=?)"
    assert [each for each in lines if " sessions " in each] == [f"SEARCH {index}"] * 2


@pytest.mark.parametrize(
    ("name", "value", "index", "terms"),
    [
        ("metadata", {"k": "many"}, "key_value_created_at", "key=? AND value=?"),
        ("metadata_keys", ["k"], "key_created_at", "key=?"),
    ],
)
async def test_metadata_goes_along_its_own_index(
    store: SessionStore, name: str, value: Any, index: str, terms: str
) -> None:
    lines = await page_plan(store, fields={name: value})
    [first] = tables_read(lines)
    assert first.startswith("SEARCH session_metadata USING ")
    assert f"ix_session_metadata_{index}" in first and first.endswith(f"({terms})")


@pytest.mark.parametrize("name", ["metadata", "metadata_keys"])
async def test_metadata_needs_no_sort(store: SessionStore, name: str) -> None:
    value: Any = {"k": "many"} if name == "metadata" else ["k"]
    lines = await page_plan(store, fields={name: value})
    assert not is_sorted(lines)


@pytest.mark.parametrize(("wanted", "index"), [(True, "pending"), (False, "settled")])
async def test_pending_goes_along_its_partial_index(
    store: SessionStore, wanted: bool, index: str
) -> None:
    lines = await page_plan(store, fields={"has_pending_tool_calls": wanted})
    assert len(lines) == 1
    assert lines[0].startswith("SCAN session_heads USING ")
    assert lines[0].endswith(f"INDEX ix_session_heads_{index}")


@pytest.mark.parametrize("order_by", ORDERS[:3])
async def test_a_range_goes_along_the_index_of_its_order(
    store: SessionStore, order_by: str
) -> None:
    name, value = {
        "created_at": ("created_after", START),
        "updated_at": ("updated_after", START),
        "message_count": ("message_count_min", 0),
    }[order_by]
    lines = await page_plan(store, order_by, {name: value})
    assert len(lines) == 1
    index = f"ix_session_heads_{order_by}" + "_created_at" * (order_by != "created_at")
    assert (
        lines[0] == f"SEARCH session_heads USING COVERING INDEX {index} ({order_by}>?)"
    )


# Pages by a filter in another order


@pytest.mark.parametrize("order_by", ORDERS[1:])
@equalities
async def test_few_matches_are_gathered_in_other_orders(
    store: SessionStore, order_by: str, name: str, value: str, index: str
) -> None:
    few = "failed" if name == "status" else "few"
    lines = await page_plan(store, order_by, {name: few}, is_gathered=True)
    heads = "SEARCH session_heads USING INTEGER PRIMARY KEY (rowid=?)"
    [matches] = tables_read(lines) - {heads}
    if name in (
        "last_model",
        "user_id",
    ):  # the rows that its index finds tell the place too
        assert matches == f"SEARCH {index} ({name}=?)".replace(" COVERING", "")
    else:
        assert heads in lines
        assert matches == f"SEARCH {index} ({name}=?)"
    assert sorts(lines) == 1  # of what is gathered, not of what is looked up


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"updated_after": START}, "updated_at"),
        ({"message_count_min": 3}, "message_count"),
    ],
)
async def test_few_of_a_range_are_placed_by_its_index_alone(
    store: SessionStore, fields: dict[str, Any], column: str
) -> None:
    lines = await page_plan(store, "created_at", fields, is_gathered=True)
    index = f"ix_session_heads_{column}_created_at"
    assert tables_read(lines) == {
        f"SEARCH session_heads USING COVERING INDEX {index} ({column}>?)"
    }
    assert sorts(lines) == 1


@pytest.mark.parametrize("order_by", ORDERS[1:])
@pytest.mark.parametrize("name", ["agent_name", "project_root", "provider", "model"])
async def test_many_matches_are_walked_in_other_orders(
    store: SessionStore, order_by: str, name: str
) -> None:
    lines = await page_plan(store, order_by, {name: "many"})
    index = f"ix_session_heads_{order_by}_created_at"
    assert tables_read(lines) == {
        f"SCAN session_heads USING COVERING INDEX {index}",
        "SEARCH sessions USING INTEGER PRIMARY KEY (rowid=?)",
    }
    assert not is_sorted(lines)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({}, 1),
        ({"agent_name": "few"}, 1),
        ({"agent_name": "many"}, 1),
        ({"agent_name": "many", "model": "few"}, 2),
        ({"agent_name": "many", "model": "many"}, 2),
    ],
    ids=str,
)
async def test_a_page_takes_few_steps(
    store: SessionStore, fields: dict[str, Any], steps: int
) -> None:
    """One where few match or none is asked for; two filters take a look at both, and
    where many match the walk is a step more."""
    given = SessionFilter(**fields)
    made = await statements_of(
        store, lambda each: each.sessions.list(given, order_by="updated_at")
    )
    assert len(made) == steps


@pytest.mark.parametrize("order_by", ORDERS)
async def test_ids_are_looked_up(store: SessionStore, order_by: str) -> None:
    fields = {"ids": ["s1", "s2", "gone"]}
    lines = await page_plan(store, order_by, fields, is_gathered=True)
    assert tables_read(lines) == {
        "SEARCH session_heads USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH sessions USING COVERING INDEX sqlite_autoindex_sessions_1 (id=?)",
    }


async def test_few_titles_are_found_by_their_trigrams(store: SessionStore) -> None:
    lines = await page_plan(store, fields={"title_contains": "few"}, is_gathered=True)
    assert any("SCAN session_titles VIRTUAL TABLE INDEX" in each for each in lines)
    assert not any(
        each.startswith(("SCAN session_heads ", "SCAN sessions ")) for each in lines
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"agent_name": "many"},
        {"status": ["idle", "failed"]},
        {"metadata": {"k": "many"}},
        {"metadata_keys": ["k"]},
        {"has_pending_tool_calls": False},
        {"updated_after": START},
        {"message_count_min": 0},
    ],
    ids="".join,
)
async def test_a_look_at_how_many_match_sorts_nothing(
    store: SessionStore, fields: dict[str, Any]
) -> None:
    lines = await plan_of(
        store, lambda each: each.sessions.count(SessionFilter(**fields))
    )
    assert not is_sorted(lines)


async def test_the_narrowest_of_several_filters_drives(store: SessionStore) -> None:
    given = SessionFilter(agent_name="many", metadata_keys=["rare"], status="idle")
    lines = await plan_of(store, lambda each: each.sessions.list(given))
    assert not any(each.startswith("SCAN session") for each in lines)


# Reads of one session


READS: dict[str, Callable[[SessionStore], Awaitable[Any]]] = {
    "events": lambda store: store.events.list("s1"),
    "events of types": lambda store: store.events.list("s1", types=["e"]),
    "events after": lambda store: store.events.list("s1", after=3, limit=5),
    "messages": lambda store: store.messages.list("s1"),
    "last messages": lambda store: store.messages.list("s1", last=2),
    "messages of a role": lambda store: store.messages.list("s1", role="user"),
    "last of a role": lambda store: store.messages.last("s1", "user"),
}


@pytest.mark.parametrize("name", READS)
async def test_events_and_messages_are_read_by_primary_key(
    store: SessionStore, name: str
) -> None:
    lines = await plan_of(store, READS[name])
    table = "events" if name.startswith("events") else "messages"
    [read] = [each for each in lines if f" {table} " in each]
    assert (
        f"SEARCH {table} USING INDEX sqlite_autoindex_{table}_1 (session_key=?" in read
    )
    assert not is_sorted(lines)
    assert (
        "SEARCH sessions USING COVERING INDEX sqlite_autoindex_sessions_1 (id=?)"
        in (tables_read(lines))
    )


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda store: store.tool_calls.list("s1"), "sqlite_autoindex_tool_calls_1"),
        (
            lambda store: store.tool_calls.get("s1", "c"),
            "sqlite_autoindex_tool_calls_2",
        ),
        (lambda store: store.tool_calls.pending("s1"), "ix_tool_calls_open"),
        (lambda store: store.tool_calls.has_pending("s1"), "ix_tool_calls_open"),
        (
            lambda store: store.tool_calls.find("s1", "c"),
            "ix_tool_calls_session_key_call_id_seq",
        ),
    ],
    ids=["list", "get", "pending", "has_pending", "find"],
)
async def test_tool_calls_are_read_by_an_index(
    store: SessionStore,
    read: Callable[[SessionStore], Awaitable[Any]],
    index: str,
) -> None:
    lines = await plan_of(store, read)
    [first] = [each for each in lines if " tool_calls " in each]
    assert first.startswith(f"SEARCH tool_calls USING INDEX {index} (session_key=?")


async def test_a_session_is_read_without_a_scan(store: SessionStore) -> None:
    for read in (
        lambda each: each.sessions.get("s1"),
        lambda each: each.sessions.load("s1"),
        lambda each: each.messages.branch("s1"),
        lambda each: each.events.head("s1"),
    ):
        lines = tables_read(await plan_of(store, read))
        assert [each for each in lines if not each.startswith("SEARCH")] == []


async def test_recent_user_texts_walk_their_partial_index(store: SessionStore) -> None:
    lines = await plan_of(store, lambda each: each.messages.recent_user(5))
    assert any("INDEX ix_messages_user_created_at" in each for each in lines)
