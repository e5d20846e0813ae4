"""Settings of a server, role or database that the store does not depend on."""

from __future__ import annotations

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
