"""The migration scripts and ``turnstore migrate`` on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.patience import LIMIT_S, patient
from tests.support.postgres.server import PostgresServer
from turnstore import InvalidArgument, SchemaTooOld, SessionFilter, SessionStore
from turnstore.sql import migrations
from turnstore.sql.schema import metadata

pytestmark = pytest.mark.anyio

NEWEST = migrations.newest()
STORAGE = (
    "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' "
    "AND relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL"
)
INDEX = (
    "SELECT indexdef FROM pg_indexes "
    "WHERE schemaname = 'public' AND indexname = 'session_titles'"
)


@pytest.fixture
async def empty(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    admin = await asyncpg.connect(postgres.url())
    await admin.execute("CREATE DATABASE empty")
    yield postgres.url("empty")
    await admin.execute("DROP DATABASE empty WITH (FORCE)")
    await admin.execute("DROP ROLE IF EXISTS plain")
    await admin.close()


async def by_sqlalchemy(url: str, work: Any) -> Any:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        found = await connection.run_sync(work)
    await engine.dispose()
    return found


async def fetch(url: str, text: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    found = [tuple(each) for each in await connection.fetch(text)]
    await connection.close()
    return found


def turnstore(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turnstore", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def migrate(connection: Connection) -> None:
    migrations.prepare(connection, "auto")


def compared(connection: Connection) -> Any:
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": migrations.is_ours,
            "include_object": migrations.is_of("postgresql"),
        },
    )
    return compare_metadata(context, metadata)


def constraints(connection: Connection) -> Any:
    """Beyond what alembic compares."""
    found = inspect(connection)

    def by_name(listed: Any) -> Any:
        return sorted(
            (each for each in listed if each["name"] != migrations.TITLE_INDEX),
            key=lambda each: str(each["name"]),
        )

    return {
        name: (
            found.get_pk_constraint(name),
            by_name(found.get_foreign_keys(name)),
            by_name(found.get_unique_constraints(name)),
            by_name(found.get_indexes(name)),
        )
        for name in metadata.tables
    }


async def test_an_upgrade_from_nothing_equals_the_schema(empty: str) -> None:
    await by_sqlalchemy(empty, migrate)
    assert await by_sqlalchemy(empty, compared) == []
    made = await by_sqlalchemy(empty, constraints)
    stored = await fetch(empty, STORAGE)
    assert stored != []
    await fetch(empty, "DROP SCHEMA public CASCADE")
    await fetch(empty, "CREATE SCHEMA public")
    await by_sqlalchemy(empty, metadata.create_all)
    assert made == await by_sqlalchemy(empty, constraints)
    assert stored == await fetch(empty, STORAGE)


async def test_titles_are_indexed(empty: str) -> None:
    await by_sqlalchemy(empty, migrate)
    [(index,)] = await fetch(empty, INDEX)
    assert "USING gin (title_folded gin_trgm_ops)" in index


async def test_the_extension_may_lie_in_another_schema(empty: str) -> None:
    await fetch(empty, 'CREATE SCHEMA "Its Own"')
    await fetch(empty, 'CREATE EXTENSION pg_trgm SCHEMA "Its Own"')
    await by_sqlalchemy(empty, migrate)
    assert len(await fetch(empty, INDEX)) == 1
    async with SessionStore(empty) as store:
        await store.sessions.create(id="s", title="The failing tests")
        page = await store.sessions.list(SessionFilter(title_contains="ING TEST"))
        assert [each.id for each in page.items] == ["s"]


async def test_without_the_right_to_extensions_titles_have_no_index(
    postgres: PostgresServer, empty: str
) -> None:
    await fetch(empty, "CREATE ROLE plain LOGIN")
    await fetch(empty, "GRANT CREATE ON SCHEMA public TO plain")
    url = empty.replace("postgres@", "plain@")
    await by_sqlalchemy(url, migrate)
    assert await fetch(empty, INDEX) == []
    assert await by_sqlalchemy(url, compared) == []
    async with SessionStore(url) as store:
        await store.sessions.create(id="s", title="The failing tests")
        page = await store.sessions.list(SessionFilter(title_contains="ING TEST"))
        assert [each.id for each in page.items] == ["s"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_takes_every_text_or_is_refused(
    postgres: PostgresServer, encoding: str
) -> None:
    admin = await asyncpg.connect(postgres.url())
    await admin.execute(
        f"CREATE DATABASE encoded ENCODING {encoding} LOCALE 'C' TEMPLATE template0"
    )
    url = postgres.url("encoded")
    store = SessionStore(url, patient(migrate="auto"))
    if encoding == "LATIN1":
        with pytest.raises(InvalidArgument, match="LATIN1"):
            await store.open()
        tables = "SELECT FROM pg_tables WHERE schemaname = 'public'"
        assert await fetch(url, tables) == []
    else:
        async with store:
            made = await store.sessions.create(title="naïve …", metadata={"ü": "…"})
            page = await store.sessions.list(SessionFilter(title_contains="ve …"))
            assert page.items == [made]
    await admin.execute("DROP DATABASE encoded WITH (FORCE)")
    await admin.close()


async def test_an_upgrade_keeps_what_is_there(empty: str) -> None:
    text = migrations.sql("postgresql")
    connection = await asyncpg.connect(empty)
    await connection.execute(
        text[: text.index("-- Running upgrade 0001 ->")] + "COMMIT;"
    )
    await connection.execute(
        "INSERT INTO sessions (id, agent_name, status, created_at) "
        "VALUES ('s', 'a', 'idle', 1)"
    )
    await connection.close()
    with pytest.raises(SchemaTooOld, match="turnstore migrate"):
        await SessionStore(empty).open()
    result = turnstore("migrate", "--into", empty)
    assert (result.returncode, result.stdout) == (0, f"schema {NEWEST}, upgraded\n")
    assert await fetch(empty, "SELECT id FROM sessions") == [("s",)]
    assert await by_sqlalchemy(empty, compared) == []


async def test_the_command_checks_and_upgrades(empty: str) -> None:
    before = turnstore("migrate", "--check", "--into", empty)
    assert (before.returncode, before.stdout) == (1, "")
    assert "no schema" in before.stderr
    assert "turnstore migrate --into URL" in before.stderr
    assert (
        await fetch(empty, "SELECT 1 FROM pg_tables WHERE tablename='sessions'") == []
    )
    assert turnstore("migrate", "--into", empty).returncode == 0
    after = turnstore("migrate", "--check", "--into", empty)
    assert (after.returncode, after.stdout) == (0, f"schema {NEWEST}, nothing to do\n")


async def test_the_sql_makes_the_schema(empty: str) -> None:
    # Nothing listens there: it connects to nothing.
    printed = turnstore("migrate", "--sql", "--into", "postgresql://127.0.0.1:1/none")
    assert printed.returncode == 0, printed.stderr
    await fetch_all(empty, printed.stdout)
    assert await by_sqlalchemy(empty, compared) == []
    assert await by_sqlalchemy(empty, migrations.current) == NEWEST
    assert len(await fetch(empty, INDEX)) == 1


async def fetch_all(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(script)
    await connection.close()
