"""A database that sorts text as people of some language do: what the contract says of
order and of what matches holds there too.

Every build of PostgreSQL has the sorting of the C library; the library has few
languages by itself, so one is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres.emptying import empty
from tests.support.postgres.server import PostgresServer, missing
from turnstore import SessionStore
from turnstore.testing import OpenStore, opening
from turnstore.testing.branches import Branches
from turnstore.testing.filters import Filters
from turnstore.testing.fork_points import ForkPoints
from turnstore.testing.listing import Listing
from turnstore.testing.message_reads import MessageReads
from turnstore.testing.pairs import Pairs
from turnstore.testing.usage import UsageTotals

LOCALE = "en_US"
DATABASE = "linguistic"
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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
    """The URL of an empty database that sorts so."""
    server = linguistic_postgres
    if DATABASE not in server.made:
        admin = await asyncpg.connect(server.url())
        await admin.execute(
            f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE '{LOCALE}.UTF-8'"
        )
        await admin.close()
        server.made.add(DATABASE)
        async with opening(server.url(DATABASE)) as open_store:
            await open_store(migrate="auto")
    await empty(server.url(DATABASE))
    return server.url(DATABASE)


async def test_the_database_sorts_by_language(linguistic_database: str) -> None:
    connection = await asyncpg.connect(linguistic_database)
    texts = ["B", "_", "a", "b", "A", '"a"', "#"]
    rows = await connection.fetch(
        "SELECT text FROM unnest($1::text[]) AS text ORDER BY text", texts
    )
    await connection.close()
    assert [text for (text,) in rows] != sorted(texts)


@pytest.mark.again
class TestLinguisticCollation(
    MessageReads, Pairs, UsageTotals, Listing, Filters, Branches, ForkPoints
):
    @pytest.fixture
    async def open_store(self, linguistic_database: str) -> AsyncIterator[OpenStore]:
        async with opening(linguistic_database, lanes=2) as open_store:
            yield open_store

    async def test_ids_are_told_apart_by_their_characters_alone(
        self, store: SessionStore
    ) -> None:
        names = ["a", "A", "á", "a ", "a-", "a_", "ａ"]
        for name in names:
            await store.sessions.create(id=name, agent_name=name)
        for name in names:
            found = await store.sessions.get(name)
            assert found is not None and found.agent_name == name
