"""Settings of a server, role or database that the store does not depend on."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres.server import PostgresServer
from turnstore import InvalidArgument, NewEvent, SessionStore, StoreOptions

MAKING = StoreOptions(migrate="auto")


async def test_array_nulls_may_be_off(database: str) -> None:
    admin = await asyncpg.connect(database)
    try:
        name = await admin.fetchval("SELECT current_database()")
        await admin.execute(f'ALTER DATABASE "{name}" SET array_nulls = off')
    finally:
        await admin.close()
    async with SessionStore(database, MAKING) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "e")
        many = [NewEvent(type="e"), NewEvent(type="e", model="m")]
        await store.events.append_many("s", many)
        [alone, first, second] = await store.events.list("s")
        assert (alone.model, first.model, second.model) == (None, None, "m")
        assert (alone.data, first.data, first.turn_id) == (None, None, None)


@pytest.mark.parametrize(
    ("option", "name"), [("", "turnstore"), ("?application_name=mine", "mine")]
)
async def test_connections_have_a_name(database: str, option: str, name: str) -> None:
    async with SessionStore(database + option, MAKING):
        admin = await asyncpg.connect(database)
        try:
            found = await admin.fetch(
                "SELECT DISTINCT application_name FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        finally:
            await admin.close()
    assert [each["application_name"] for each in found] == [name]


async def test_a_missing_tls_file_is_said_and_not_tried_again(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = f"{postgres.url()}?sslmode=verify-full&sslrootcert={tmp_path / 'no.pem'}"
    with pytest.raises(InvalidArgument, match=r"no\.pem"):
        await SessionStore(url).open()


@pytest.mark.parametrize("path", ["elsewhere", "mine"])
async def test_a_schema_that_is_not_seen_is_named(database: str, path: str) -> None:
    """It is not in the search_path, or the user has no USAGE on it."""
    async with SessionStore(database, MAKING):
        pass
    admin = await asyncpg.connect(database)
    name = await admin.fetchval("SELECT current_database()")
    user = f"user_{name}"
    try:
        await admin.execute("ALTER SCHEMA public RENAME TO mine")
        await admin.execute("REVOKE ALL ON SCHEMA mine FROM PUBLIC")
        await admin.execute(f'ALTER DATABASE "{name}" SET search_path = {path}')
        await admin.execute(f'CREATE ROLE "{user}" LOGIN')
        url = re.sub("//[^@/]*@", f"//{user}@", database)
        for options in (StoreOptions(read_only=True), StoreOptions()):
            with pytest.raises(InvalidArgument, match="of the store in schema mine"):
                await SessionStore(url, options).open()
    finally:
        await admin.execute(f'DROP ROLE IF EXISTS "{user}"')
        await admin.close()
