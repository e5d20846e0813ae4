"""What PostgreSQL makes of a page once it plans without knowing the values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from turnstore import SessionFilter
from turnstore.sql.schema import session_heads
from turnstore.store.sessions import listing
from turnstore.store.sessions.filters import wanted

pytestmark = pytest.mark.anyio

SHARED = "CASE WHEN mod(n, 2) = 0 THEN 'many' ELSE 'few' || n END"
FILL = f"""
INSERT INTO sessions (id, agent_name, parent_session_id, status, created_at)
SELECT 's' || n, 'a', {SHARED}, 'idle', n FROM generate_series(1, 4000) n;
INSERT INTO session_heads (%s) SELECT %s FROM sessions;
ANALYZE
"""
COLUMNS = [each.name for each in session_heads.c if not each.nullable]


@pytest.fixture
async def filled(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A database where half of the sessions share a value, each other has its own."""
    connection = await asyncpg.connect(database)
    values = dict.fromkeys(COLUMNS, "0")
    values |= {"session_key": "session_key", "created_at": "created_at"}
    values |= {"updated_at": "created_at << 18", "last_model": "parent_session_id"}
    await connection.execute(FILL % (", ".join(values), ", ".join(values.values())))
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    yield connection
    await connection.close()


async def plan_of(
    connection: asyncpg.Connection, order_by: str, fields: dict[str, Any]
) -> str:
    given, order = wanted(SessionFilter(**fields)), listing.order_of(order_by, True)
    page = listing._page(listing.PageShape(given.conditions, order, 51))
    text, arrange = page._together._text(dialect())  # type: ignore[no-untyped-call]
    await connection.execute(f"PREPARE page AS {text}")
    values = ", ".join(f"'{each}'" for each in arrange(given.values))
    lines = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE page({values})")
    return "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("order_by", ["message_count", "total_tokens", "updated_at"])
@pytest.mark.parametrize(
    "fields",
    [
        {"parent_session_id": "many"},
        {"parent_session_id": "many", "status": "idle"},
        {"last_model": "many"},
    ],
    ids=str,
)
async def test_a_walk_goes_along_the_index_of_its_order(
    filled: asyncpg.Connection, order_by: str, fields: dict[str, Any]
) -> None:
    """Although few share a value on the average."""
    plan = await plan_of(filled, order_by, fields)
    assert f"using ix_session_heads_{order_by.replace('_at', '_period')}" in plan
    assert "ix_sessions_" not in plan and "_last_model_" not in plan


@pytest.mark.parametrize("order_by", ["created_at", "updated_at"])
async def test_pages_of_a_user_go_along_an_index(
    filled: asyncpg.Connection, order_by: str
) -> None:
    """Where users have many sessions each, on the average."""
    await filled.execute("UPDATE session_heads SET user_id = session_key % 25")
    await filled.execute("VACUUM ANALYZE session_heads")
    plan = await plan_of(filled, order_by, {"user_id": "1"})
    index = order_by.replace("_at", "_period") if "up" in order_by else order_by
    assert f"using ix_session_heads_user_id_{index} on" in plan


async def test_few_of_a_period_with_many_are_counted(
    filled: asyncpg.Connection,
) -> None:
    """Though the index of ``updated_at`` tells no times within a period."""
    period_us = 1 << 18
    await filled.execute(
        "UPDATE session_heads SET updated_at = $1 + created_at", 7_000_000 * period_us
    )
    last = datetime.fromtimestamp(0, UTC) + timedelta(
        microseconds=7_000_000 * period_us + 3_996
    )
    given = wanted(SessionFilter(updated_after=last, message_count_min=0))
    look = listing._look("postgresql", given.conditions)
    text, arrange = look._text(dialect())  # type: ignore[no-untyped-call]
    [counts] = await filled.fetch(text, *arrange(given.values))
    assert sorted(counts) == [5, 2_001]
