"""Triggers and rules of other programs on the tables, looked at when a store opens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from turnstore import DatabaseCorrupt, SessionStore

asyncpg = pytest.importorskip("asyncpg")
pytestmark = pytest.mark.anyio

FUNCTION = (
    "CREATE OR REPLACE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RETURN NULL; END'"
)
BEFORE = "CREATE TRIGGER evil BEFORE INSERT ON events FOR EACH ROW {}"
AFTER = "CREATE TRIGGER audit AFTER INSERT ON events FOR EACH ROW {}"
RULE = "CREATE RULE evil AS ON INSERT TO events DO INSTEAD NOTHING"
CALL = "EXECUTE FUNCTION leave_out()"


@pytest.fixture
async def run(emptied_database: str) -> AsyncIterator[object]:
    connection = await asyncpg.connect(emptied_database)
    await connection.execute(FUNCTION)
    try:
        yield connection.execute
    finally:
        await connection.execute(
            "DROP TRIGGER IF EXISTS evil ON events;"
            "DROP TRIGGER IF EXISTS audit ON events;"
            "DROP RULE IF EXISTS evil ON events; DROP FUNCTION leave_out()"
        )
        await connection.close()


@pytest.mark.parametrize("sql", [BEFORE.format(CALL), RULE])
async def test_what_can_change_what_is_written_is_refused(
    emptied_database: str, run: object, sql: str
) -> None:
    await run(sql)  # type: ignore[operator]
    with pytest.raises(DatabaseCorrupt, match="'evil' on table 'events'") as caught:
        async with SessionStore(emptied_database):
            pass
    assert caught.value.table == "events"


async def test_what_follows_a_write_is_allowed(
    emptied_database: str, run: object
) -> None:
    await run(AFTER.format(CALL))  # type: ignore[operator]
    async with SessionStore(emptied_database) as store:
        await store.sessions.create(id="s")
        assert await store.events.append("s", "e") == 1
