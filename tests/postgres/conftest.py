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

from tests.support.patience import patient
from tests.support.postgres.emptying import empty
from tests.support.postgres.server import PostgresServer, missing
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    caught_up,
    replica_url,
)
from turnstore import SessionStore, StoreOptions

TEMPLATE = "turnstore_template"
SHARED = "turnstore_shared"
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
async def shared_database(postgres: PostgresServer) -> str:
    """The URL of a database with the schema, and what the test before has left."""
    if SHARED not in postgres.made:
        async with _connected(postgres) as admin:
            await _copy_template(admin, postgres, SHARED)
    return postgres.url(SHARED)


@pytest.fixture
async def emptied_database(shared_database: str) -> str:
    """The URL of a database with the schema and no rows."""
    await empty(shared_database)
    return shared_database


@pytest.fixture
async def store(database: str) -> AsyncIterator[SessionStore]:
    async with SessionStore(database, patient()) as opened:
        yield opened


@pytest.fixture
async def second_store(database: str) -> AsyncIterator[SessionStore]:
    """Another store on the database of ``store``."""
    async with SessionStore(database, patient()) as opened:
        yield opened


@pytest.fixture(scope="module")
def standby(postgres: PostgresServer) -> Iterator[Standby]:
    replica = Standby(postgres)
    try:
        replica.start()
        yield replica
    finally:
        replica.remove()


@pytest.fixture
def own_standby(postgres: PostgresServer) -> Iterator[Standby]:
    """One that may be promoted."""
    replica = Standby(postgres, "own")
    try:
        replica.start()
        yield replica
    finally:
        replica.remove()


@pytest.fixture
async def read_url(database: str, postgres: PostgresServer, standby: Standby) -> str:
    await caught_up(postgres, standby)
    return replica_url(database, postgres, standby)


@pytest.fixture
async def reading(database: str, read_url: str) -> AsyncIterator[SessionStore]:
    """A store that reads from the replica, with a session ``s``."""
    options = StoreOptions(read_url=read_url, **REPLICA_OPTIONS)
    async with SessionStore(database, options) as opened:
        await opened.sessions.create(id="s")
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
