"""The stores of each test of the contract, on every way to a store.

A test that asks for a store runs once on each way. Each way is a mark and a fixture of
its name with ``_way``, which gives an empty database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.contract.ways import OpenStore, Way
from tests.support.postgres.emptying import empty
from tests.support.postgres.pooler import Pooler
from turnstore import Session, SessionStore

WAYS: Final = ("sqlite_file", "sqlite_memory", "postgres")
AGAIN: Final = ("pgbouncer", "collation", "distributed")
UNSHARED: Final = "sqlite_memory"
"""The way on which each store has a database of its own."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" not in metafunc.fixturenames:
        return
    is_shared = "open_shared" in metafunc.fixturenames
    ways = [
        pytest.param(each, marks=getattr(pytest.mark, each))
        for each in WAYS
        if not (is_shared and each == UNSHARED)
    ]
    ways += [
        pytest.param(each, marks=[getattr(pytest.mark, each), pytest.mark.again])
        for each in AGAIN
    ]
    metafunc.parametrize("way", ways, indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """A new or emptied database."""
    found: Way = request.getfixturevalue(f"{request.param}_way")
    return found


@pytest.fixture
async def open_store(way: Way) -> AsyncIterator[OpenStore]:
    """Open the one store of a test, with other options than ``store`` has."""
    async with way.opening() as opening:
        yield opening


@pytest.fixture
async def open_shared(way: Way) -> AsyncIterator[OpenStore]:
    """Open several stores on one database, which is that of ``store``, too."""
    async with way.opening() as opening:
        yield opening


@pytest.fixture
async def store(open_store: OpenStore) -> SessionStore:
    return await open_store()


@pytest.fixture
async def second_store(store: SessionStore, open_shared: OpenStore) -> SessionStore:
    """Another store on the database of ``store``."""
    return await open_shared()


@pytest.fixture
async def session(store: SessionStore) -> Session:
    """A session ``s`` without anything in it."""
    return await store.sessions.create(id="s")


# The ways


@pytest.fixture
def sqlite_file_way(tmp_path: Path, sqlite_template: bytes) -> Way:
    path = tmp_path / "store.db"
    with path.open("xb") as file:
        file.write(sqlite_template)
    return Way(path, {})


@pytest.fixture
def sqlite_memory_way() -> Way:
    return Way("sqlite://", {})


@pytest.fixture
def postgres_way(emptied_database: str) -> Way:
    """With two lanes, as connecting takes the longest part of each test."""
    # Asking for TLS first would take longer than to connect.
    return Way(f"{emptied_database}?sslmode=disable", {"lanes": 2})


@pytest.fixture
async def pgbouncer_way(pooler: Pooler, shared_database: str) -> Way:
    """With fewer servers than the stores have connections. Nobody tells them of the
    pooler."""
    url = pooler.url(shared_database)
    await empty(url)
    return Way(url, {"lanes": 2})


@pytest.fixture
def collation_way(linguistic_database: str) -> Way:
    """A database that sorts text as people of some language do."""
    return Way(linguistic_database, {"lanes": 2})


@pytest.fixture
def distributed_way(postgres_way: Way, monkeypatch: pytest.MonkeyPatch) -> Way:
    """With the statements for distributed tables, on one plain server."""
    from turnstore.engine.postgres.connections import _Dialect

    monkeypatch.setattr(_Dialect, "is_distributed", True)
    return postgres_way
