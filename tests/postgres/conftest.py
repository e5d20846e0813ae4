"""A server for all tests of this folder, and a database of its own for each.

Making a database takes longer than most tests, so those of the contract share one,
which is emptied before each.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from postgres_server import PostgresServer, missing

from turnstore import SessionStore, StoreOptions
from turnstore.schema import metadata

TEMPLATE = "turnstore_template"
SHARED = "turnstore_shared"
EMPTY = "; ".join(
    f"DELETE FROM {each.name}" for each in reversed(metadata.sorted_tables)
)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a new database with the schema."""
    name = f"test_{next(_numbers)}"
    async with _connected(postgres) as admin:
        await _copy_template(admin, postgres, name)
        yield postgres.url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def emptied_database(postgres: PostgresServer) -> str:
    """The URL of a database with the schema and no rows."""
    if SHARED not in postgres.made:
        async with _connected(postgres) as admin:
            await _copy_template(admin, postgres, SHARED)
    async with _connected(postgres, SHARED) as connection:
        await connection.execute(EMPTY)
    return postgres.url(SHARED)


@pytest.fixture
async def store(database: str) -> AsyncIterator[SessionStore]:
    async with SessionStore(database) as opened:
        yield opened


@pytest.fixture
async def second_store(database: str) -> AsyncIterator[SessionStore]:
    """Another store on the database of ``store``."""
    async with SessionStore(database) as opened:
        yield opened


async def _copy_template(admin: Any, postgres: PostgresServer, name: str) -> None:
    if TEMPLATE not in postgres.made:
        postgres.made.add(TEMPLATE)
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        async with SessionStore(postgres.url(TEMPLATE), StoreOptions(migrate="auto")):
            pass
    await admin.execute(
        f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"
    )
    postgres.made.add(name)


@asynccontextmanager
async def _connected(
    postgres: PostgresServer, name: str = "postgres"
) -> AsyncIterator[Any]:
    import asyncpg

    connection = await asyncpg.connect(postgres.url(name))
    try:
        yield connection
    finally:
        await connection.close()
