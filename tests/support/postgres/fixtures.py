"""PostgreSQL servers and databases as fixtures, of every suite that asks for them.

Making a database takes longer than most tests, so those of the contract share one,
which is emptied before each.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import pooler as pgbouncer
from tests.support.postgres.emptying import empty
from tests.support.postgres.server import PostgresServer, missing
from tests.support.postgres.standby import connected
from turnstore import SessionStore, StoreOptions

TEMPLATE = "turnstore_template"
SHARED = "turnstore_shared"
LINGUISTIC = "linguistic"
LOCALE = "en_US"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of all tests of this process."""
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
    async with connected(postgres.url()) as admin:
        await _copy_template(admin, postgres, name)
        yield postgres.url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def shared_database(postgres: PostgresServer) -> str:
    """The URL of a database with the schema, and what the test before has left."""
    if SHARED not in postgres.made:
        async with connected(postgres.url()) as admin:
            await _copy_template(admin, postgres, SHARED)
    return postgres.url(SHARED)


@pytest.fixture
async def emptied_database(shared_database: str) -> str:
    """The URL of a database with the schema and no rows."""
    await empty(shared_database)
    return shared_database


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


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer) -> Iterator[pgbouncer.Pooler]:
    """One that gives each transaction another server connection."""
    reason = pgbouncer.missing()
    if reason is not None:
        pytest.skip(reason)
    pooler = pgbouncer.Pooler(postgres)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.remove()


# Every build of PostgreSQL has the sorting of the C library; the library has few
# languages by itself, so one is made.


@pytest.fixture(scope="session")
def locales() -> Iterator[Path]:
    """A folder of the C library with one language."""
    program = shutil.which("localedef")
    if program is None:
        pytest.skip("no localedef here to make a language of")
    # Not in pytest's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="turnstore-locales-"))
    folder.chmod(0o755)
    try:
        made = subprocess.run(
            [program, "-i", LOCALE, "-f", "UTF-8", folder / f"{LOCALE}.utf8"],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"localedef can't make {LOCALE}: {made.stderr.strip()}")
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def linguistic_postgres(locales: Path) -> Iterator[PostgresServer]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    server = PostgresServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "LOCPATH", str(locales))
        server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
async def linguistic_database(linguistic_postgres: PostgresServer) -> str:
    """The URL of an empty database that sorts text as people of some language do."""
    url = linguistic_postgres.url(LINGUISTIC)
    if LINGUISTIC not in linguistic_postgres.made:
        async with connected(linguistic_postgres.url()) as admin:
            await admin.execute(
                f"CREATE DATABASE {LINGUISTIC} TEMPLATE template0 "
                f"LOCALE '{LOCALE}.UTF-8'"
            )
        linguistic_postgres.made.add(LINGUISTIC)
        async with SessionStore(url, StoreOptions(migrate="auto")):
            pass
    await empty(url)
    return url
