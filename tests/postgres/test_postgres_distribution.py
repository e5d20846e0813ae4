"""``turnstore migrate --distribute``, and whether the schema keeps the rules of Citus.

Citus itself is not here, so none of this shows that Citus takes a statement. What is
shown on the real server: that the catalogs keep the rules that Citus documents for
keys, and what the command does where the extension is missing or refuses.

``STAND_IN`` is an extension of the tests' own with the name ``citus``. It is no Citus:
it moves no row and plans no query. In SQL it checks, on the live catalogs, the rules
that Citus documents for making tables distributed, and keeps the list of them that
Citus keeps. With it the command takes its own path for real, refusals included.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection

from tests.support.patience import LIMIT_S
from tests.support.postgres.server import PostgresServer
from turnstore import (
    BackendError,
    InvalidArgument,
    SchemaTooOld,
    SessionStore,
    StoreOptions,
)
from turnstore.cli import citus
from turnstore.cli.citus import DISTRIBUTED, REFERENCE, distribute
from turnstore.engine.commands import Command, Outcome
from turnstore.sql.bulk import is_distributed
from turnstore.sql.schema import metadata

pytestmark = pytest.mark.anyio

STAND_IN = """
CREATE TABLE pg_dist_partition (
    logicalrelid regclass PRIMARY KEY, partmethod "char" NOT NULL, partkey text,
    repmodel "char" NOT NULL, beside text);
CREATE TYPE distribution_type AS ENUM ('hash', 'range', 'append');

CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $2';

CREATE FUNCTION refuse(reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING MESSAGE = reason, ERRCODE = 'feature_not_supported';
END $$;

-- A foreign key goes to a reference table; between two distributed tables that lie
-- together it may go too where it has, in the same place, what they are distributed by.
CREATE FUNCTION check_foreign_keys(name regclass, key text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found record;
    target pg_dist_partition;
    at smallint := (SELECT attnum FROM pg_attribute
                    WHERE attrelid = name AND attname = key);
BEGIN
    FOR found IN SELECT * FROM pg_constraint WHERE conrelid = name AND contype = 'f'
    LOOP
        SELECT * INTO target FROM pg_dist_partition
        WHERE logicalrelid = found.confrelid;
        IF target IS NULL THEN
            PERFORM refuse(format('%s refers to a local table', name));
        ELSIF target.partmethod = 'n' THEN
            IF key IS NOT NULL AND at = ANY (found.conkey) AND (
                    found.confdeltype IN ('n', 'd')
                    OR found.confupdtype IN ('n', 'd', 'c')) THEN
                PERFORM refuse(format('%s: an action would write %s', name, key));
            END IF;
            IF key IS NOT NULL AND current_setting(
                    'citus.multi_shard_modify_mode', true)
                    IS DISTINCT FROM 'sequential' THEN
                PERFORM refuse(format('%s: not in sequential mode', name));
            END IF;
        ELSIF key IS NULL THEN
            PERFORM refuse('a reference table refers to a distributed one');
        ELSIF NOT EXISTS (
                SELECT 1 FROM unnest(found.conkey, found.confkey) AS pair(here, there)
                JOIN pg_attribute a ON a.attrelid = found.confrelid
                    AND a.attnum = pair.there AND a.attname = target.partkey
                WHERE pair.here = at) THEN
            PERFORM refuse(format('%s: a foreign key without %s', name, key));
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION check_new(name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = name) THEN
        PERFORM refuse(format('table %s is already distributed', name));
    ELSIF EXISTS (SELECT 1 FROM pg_trigger
                  WHERE tgrelid = name AND NOT tgisinternal) THEN
        PERFORM refuse(format('%s has triggers', name));
    END IF;
END $$;

CREATE FUNCTION create_reference_table(name regclass) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_new(name);
    -- By default Citus makes local tables of its own of those that refer to it.
    IF current_setting('citus.enable_local_reference_table_foreign_keys', true)
            IS DISTINCT FROM 'off' AND EXISTS (
            SELECT 1 FROM pg_constraint c WHERE c.confrelid = name AND c.contype = 'f'
            AND NOT EXISTS (SELECT 1 FROM pg_dist_partition
                            WHERE logicalrelid = c.conrelid)) THEN
        PERFORM refuse(format('local tables refer to %s', name));
    END IF;
    PERFORM check_foreign_keys(name, NULL);
    INSERT INTO pg_dist_partition VALUES (name, 'n', NULL, 't');
END $$;

CREATE FUNCTION create_distributed_table(
    name regclass, key text, method distribution_type DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_new(name);
    IF EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a
               ON a.attrelid = name AND a.attname = key
               WHERE i.indrelid = name AND (i.indisunique OR i.indisexclusion)
               AND NOT a.attnum = ANY (i.indkey)) THEN
        PERFORM refuse(format('%s has a unique key without %s', name, key));
    ELSIF colocate_with NOT IN ('none', 'default') AND NOT EXISTS (
            SELECT 1 FROM pg_dist_partition
            WHERE logicalrelid = colocate_with::regclass AND partmethod = 'h') THEN
        PERFORM refuse(format('%s is not distributed', colocate_with));
    END IF;
    PERFORM check_foreign_keys(name, key);
    INSERT INTO pg_dist_partition VALUES (name, 'h', key, 's', colocate_with);
END $$;
"""
PARTITIONS = (
    "SELECT CAST(logicalrelid AS text), CAST(partmethod AS text), partkey, beside "
    "FROM pg_dist_partition"
)
SETTINGS = (
    "SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid=setdatabase "
    "WHERE datname = current_database()"
)


async def fetch(url: str, text: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    found = [tuple(each) for each in await connection.fetch(text)]
    await connection.close()
    return found


async def execute(url: str, text: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(text)
    await connection.close()


def turnstore(*arguments: str, answer: str = "y\n") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turnstore", *arguments],
        input=answer,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.fixture
async def with_stand_in(postgres: PostgresServer, database: str) -> AsyncIterator[str]:
    """The URL of a database that has the stand-in, see the top of this file."""
    folder = Path(tempfile.mkdtemp(prefix="turnstore-stand-in-"))
    extension = folder / "extension"
    extension.mkdir()
    (extension / "citus.control").write_text("default_version = '12.1-1'\n")
    (extension / "citus--12.1-1.sql").write_text(STAND_IN)
    for each in (folder, extension):
        each.chmod(0o755)
    try:
        await execute(
            database,
            f"SET extension_control_path = '{folder}:$system'; CREATE EXTENSION citus",
        )
        yield database
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
async def test_it_says_that_it_does_not_work_and_changes_nothing_unasked(
    with_stand_in: str, answer: str
) -> None:
    result = turnstore(
        "migrate", "--distribute", "--into", with_stand_in, answer=answer
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not work yet" in result.stderr.splitlines()[0]
    assert await fetch(with_stand_in, PARTITIONS) == []


async def test_without_the_extension_it_is_refused(database: str) -> None:
    before = await fetch(database, "SELECT oid, relname FROM pg_class ORDER BY oid")
    result = turnstore("migrate", "--distribute", "--into", database)
    assert (result.returncode, result.stdout) == (2, "")
    assert "CREATE EXTENSION citus" in result.stderr
    after = await fetch(database, "SELECT oid, relname FROM pg_class ORDER BY oid")
    assert after == before
    assert await fetch(database, SETTINGS) == []


async def test_an_older_schema_is_refused(with_stand_in: str) -> None:
    await execute(with_stand_in, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(SchemaTooOld, match="turnstore migrate"):
        await distribute(with_stand_in)
    assert await fetch(with_stand_in, PARTITIONS) == []


async def test_an_older_citus_is_refused(with_stand_in: str) -> None:
    await execute(
        with_stand_in,
        "UPDATE pg_extension SET extversion = '11.3-1' WHERE extname = 'citus'",
    )
    with pytest.raises(InvalidArgument, match=r"Citus 11\.3-1: upgrade"):
        await distribute(with_stand_in)
    assert await fetch(with_stand_in, PARTITIONS) == []


async def test_the_plan_has_every_table_once() -> None:
    assert sorted([*REFERENCE, *DISTRIBUTED]) == sorted(metadata.tables)


async def test_the_command_distributes_and_again_does_nothing(
    with_stand_in: str,
) -> None:
    async with SessionStore(with_stand_in) as store:
        await store.sessions.create(id="s")
        await store.events.append("s", "t")
    first = turnstore("migrate", "--distribute", "--into", with_stand_in)
    assert first.returncode == 0, first.stderr
    assert "sessions: a reference table\n" in first.stdout
    assert "events: distributed by session_key\n" in first.stdout
    assert f"\n{len(metadata.tables)} tables distributed\n" in first.stdout
    found = await fetch(with_stand_in, PARTITIONS)
    expected: set[tuple[str, str, str | None, str | None]] = {
        (name, "n", None, None) for name in REFERENCE
    }
    for name in DISTRIBUTED:
        beside = "none" if name == "session_heads" else "session_heads"
        expected.add((name, "h", "session_key", beside))
    assert set(found) == expected
    [(settings,)] = await fetch(with_stand_in, SETTINGS)
    assert set(settings) == {
        f"{name}={value}" for name, value in citus.SETTINGS.items()
    }
    second = turnstore("migrate", "--distribute", "--into", with_stand_in)
    assert (second.returncode, second.stdout) == (0, "distributed, nothing to do\n")
    assert set(await fetch(with_stand_in, PARTITIONS)) == expected
    async with SessionStore(with_stand_in) as store:
        assert await store.events.append("s", "t") == 2


async def test_what_is_left_is_distributed(with_stand_in: str) -> None:
    await distribute(with_stand_in)
    await execute(
        with_stand_in,
        "DELETE FROM pg_dist_partition WHERE logicalrelid = 'events'::regclass",
    )
    done = await distribute(with_stand_in)
    assert done.tables == {"events": "distributed by session_key"}
    assert done.settings == {}


async def test_the_script_distributes_too(with_stand_in: str) -> None:
    # Nothing listens there: it connects to nothing.
    nowhere = "postgresql://127.0.0.1:1/none"
    printed = turnstore("migrate", "--distribute", "--sql", "--into", nowhere)
    assert printed.returncode == 0, printed.stderr
    await execute(with_stand_in, printed.stdout)
    done = await distribute(with_stand_in)
    assert (done.tables, done.settings) == ({}, {})
    assert len(await fetch(with_stand_in, PARTITIONS)) == len(metadata.tables)


async def test_a_refusal_leaves_nothing(with_stand_in: str) -> None:
    await execute(with_stand_in, "CREATE UNIQUE INDEX other ON questions (question_id)")
    with pytest.raises(BackendError, match="questions has a unique key without"):
        await distribute(with_stand_in)
    assert await fetch(with_stand_in, PARTITIONS) == []
    assert await fetch(with_stand_in, SETTINGS) == []


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("events", "('events', 'h', 'seq', 's')", "events is distributed by seq"),
        ("sessions", "('sessions', 'h', 'session_key', 's')", "a reference table"),
        ("messages", "('messages', 'n', NULL, 't')", "messages is a reference table"),
        ("messages", "('messages', 'r', 'seq', 'c')", "distributed otherwise"),
    ],
)
async def test_what_is_distributed_otherwise_is_refused(
    with_stand_in: str, name: str, make: str, reason: str
) -> None:
    await execute(with_stand_in, f"INSERT INTO pg_dist_partition VALUES {make}")
    with pytest.raises(InvalidArgument, match=reason):
        await distribute(with_stand_in)
    assert [each[0] for each in await fetch(with_stand_in, PARTITIONS)] == [name]


# The catalogs


async def test_every_unique_key_leads_with_the_session(database: str) -> None:
    keys = await fetch(
        database,
        "SELECT CAST(i.indrelid::regclass AS text), a.attname FROM pg_index i "
        "JOIN pg_attribute a ON a.attrelid=i.indrelid AND a.attnum=i.indkey[0] "
        "JOIN pg_class c ON c.oid = i.indrelid "
        "WHERE (i.indisunique OR i.indisexclusion) "
        "AND c.relnamespace = 'public'::regnamespace",
    )
    by_table: dict[str, set[str]] = {}
    for name, first in keys:
        by_table.setdefault(name, set()).add(first)
    assert {name: by_table[name] for name in DISTRIBUTED} == {
        name: {"session_key"} for name in DISTRIBUTED
    }


async def test_foreign_keys_go_to_reference_tables(database: str) -> None:
    found = await fetch(
        database,
        "SELECT CAST(conrelid::regclass AS text), CAST(confrelid::regclass AS text), "
        "CAST(confupdtype AS text), CAST(confdeltype AS text) FROM pg_constraint "
        "WHERE contype = 'f'",
    )
    assert {each[0] for each in found} >= {*DISTRIBUTED} - {"usage_ledger"}
    assert {each[1] for each in found} == {"sessions"}
    assert {each[2] for each in found} == {"a"}  # no action
    assert {each[3] for each in found} == {"c", "r"}  # cascade, restrict


async def test_the_key_is_a_plain_big_integer_everywhere(database: str) -> None:
    found = await fetch(
        database,
        "SELECT CAST(attrelid::regclass AS text) FROM pg_attribute "
        "JOIN pg_class c ON c.oid = attrelid AND c.relkind = 'r' "
        "WHERE attname = 'session_key' AND atttypid = 'bigint'::regtype "
        "AND attgenerated = '' AND attidentity = '' AND attnotnull",
    )
    assert {each for (each,) in found} >= set(DISTRIBUTED)


async def test_no_table_has_triggers_or_policies(database: str) -> None:
    assert (
        await fetch(database, "SELECT 1 FROM pg_trigger WHERE NOT tgisinternal") == []
    )
    assert await fetch(database, "SELECT 1 FROM pg_policy") == []


# Stores


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"behind_pooler": True}])
async def test_a_store_finds_out_whether_tables_are_distributed(
    with_stand_in: str, options: dict[str, Any]
) -> None:
    async def found() -> bool:
        async with SessionStore(with_stand_in, StoreOptions(**options)) as store:
            return await store._backend.read(is_distributed)

    assert not await found()
    await execute(
        with_stand_in, "INSERT INTO pg_dist_partition VALUES ('pg_class','h','oid','s')"
    )
    assert not await found()
    await distribute(with_stand_in)
    assert await found()


async def test_a_store_finds_out_for_its_own_connections_alone(
    with_stand_in: str,
) -> None:
    await distribute(with_stand_in)
    async with SessionStore(with_stand_in) as store:
        await store.sessions.create(id="s")
        assert await store._backend.write(_Ask("s", 0))
        await execute(with_stand_in, "DELETE FROM pg_dist_partition")
        async with SessionStore(with_stand_in) as another:
            assert not await another._backend.read(is_distributed)
        assert await store._backend.read(is_distributed)


class _Ask(Command[bool], frozen=True):
    """Asks on the connection of a lane."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[_Ask]) -> list[Outcome]:
        return [is_distributed(connection) for _ in commands]
