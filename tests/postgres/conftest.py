"""Stores on a database of their own for each test, and standbys of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.patience import patient
from tests.support.postgres.server import PostgresServer
from tests.support.postgres.standby import (
    REPLICA_OPTIONS,
    Standby,
    caught_up,
    replica_url,
)
from turnstore import SessionStore, StoreOptions


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
