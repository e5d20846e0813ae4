"""Triggers and tables that are not those of the schema are refused at open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnstore import DatabaseCorrupt, SessionStore, StoreOptions

pytestmark = pytest.mark.anyio

Connect = Callable[[Path], Any]
REFUSED = {
    "trigger": (
        "CREATE TRIGGER evil BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END",
        "'evil' on table 'events'",
    ),
    "trigger after": (
        "CREATE TRIGGER evil AFTER UPDATE ON sessions BEGIN DELETE FROM events; END",
        "'evil' on table 'sessions'",
    ),
    "own trigger": ("DROP TRIGGER session_titles_insert", "'session_titles_insert'"),
    "column": ("ALTER TABLE events ADD COLUMN more", "more"),
    "renamed column": ("ALTER TABLE events RENAME COLUMN type TO kind", "type, kind"),
    "table": ("ALTER TABLE settings RENAME TO old", "'settings' is missing"),
    "view": (
        "ALTER TABLE settings RENAME TO old; CREATE VIEW settings AS SELECT * FROM old",
        "'settings' is missing",
    ),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("kind", REFUSED)
async def test_what_another_program_changed_is_refused(
    made_store: Path, connect: Connect, kind: str, read_only: bool
) -> None:
    sql, text = REFUSED[kind]
    connect(made_store).executescript(sql)
    with pytest.raises(DatabaseCorrupt, match=text) as caught:
        async with SessionStore(made_store, StoreOptions(read_only=read_only)):
            pass
    assert caught.value.table


async def test_what_is_next_to_the_tables_is_allowed(
    made_store: Path, connect: Connect
) -> None:
    connect(made_store).executescript(
        "CREATE TABLE mine (x); CREATE VIEW seen AS SELECT * FROM events;"
        "CREATE INDEX more ON events (type);"
        "DROP INDEX ix_session_heads_pending;"
        "CREATE TRIGGER mine AFTER INSERT ON mine BEGIN SELECT 1; END"
    )
    async with SessionStore(made_store) as store:
        await store.sessions.create(id="s")
        assert await store.events.append("s", "t") == 1
        assert await store.admin.check() == []
