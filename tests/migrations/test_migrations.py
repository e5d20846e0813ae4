"""The migration scripts: one history, equal to the schema, safe to interrupt."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from tests.support.patience import LIMIT_S
from tests.support.programs import ROOT, command
from turnstore import SchemaTooNew, SchemaTooOld, SessionStore
from turnstore.engine.sqlite.library import library
from turnstore.sql import migrations
from turnstore.sql.schema import metadata


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection to a new database, as the store prepares it."""
    engine = create_engine("sqlite://", module=library().module)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def history() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts()))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def test_there_is_one_head(history: ScriptDirectory) -> None:
    assert history.get_heads() == [migrations.newest()]
    assert len(history.get_bases()) == 1


def test_the_names_of_the_scripts_tell_their_order(history: ScriptDirectory) -> None:
    scripts = [script.revision for script in history.walk_revisions()]
    assert list(migrations.revisions()) == scripts[::-1]


def test_the_scripts_of_the_checkout_are_found() -> None:
    checkout = ROOT / "alembic"
    assert migrations.scripts() == checkout
    assert (migrations.scripts() / "env.py").is_file()
    assert not (checkout / "__init__.py").exists()


def test_an_upgrade_from_nothing_equals_the_schema(connection: Connection) -> None:
    migrations.prepare(connection, "auto")
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": migrations.is_ours,
            "include_object": migrations.is_of("sqlite"),
        },
    )
    assert compare_metadata(context, metadata) == []


def test_an_upgrade_from_nothing_makes_the_named_constraints(
    connection: Connection,
) -> None:
    """Beyond what alembic compares: checked against tables made from the schema."""
    migrations.prepare(connection, "auto")
    engine = create_engine("sqlite://", module=library().module)
    with engine.connect() as fresh:
        metadata.create_all(fresh)
        made, expected = inspect(connection), inspect(fresh)
        for name in metadata.tables:
            assert made.get_pk_constraint(name) == expected.get_pk_constraint(name)
            assert sorted_by_name(made.get_foreign_keys(name)) == sorted_by_name(
                expected.get_foreign_keys(name)
            )
            assert sorted_by_name(made.get_unique_constraints(name)) == sorted_by_name(
                expected.get_unique_constraints(name)
            )
            assert index_texts(connection, name) == index_texts(fresh, name)
    engine.dispose()


def sorted_by_name(found: Any) -> list[Any]:
    return sorted(found, key=lambda each: str(each["name"]))


def index_texts(connection: Connection, table: str) -> list[str]:
    rows = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? "
        "AND sql IS NOT NULL ORDER BY name",
        (table,),
    )
    return [" ".join(text.split()) for text in rows.scalars()]


def test_preparing_again_does_nothing(connection: Connection) -> None:
    migrations.prepare(connection, "auto")
    assert migrations.current(connection) == migrations.newest()
    before = connection.exec_driver_sql("PRAGMA schema_version").scalar()
    migrations.prepare(connection, "auto")
    migrations.prepare(connection, "check")
    assert connection.exec_driver_sql("PRAGMA schema_version").scalar() == before


def test_a_check_of_nothing(connection: Connection) -> None:
    assert migrations.current(connection) is None
    with pytest.raises(SchemaTooOld, match="migrate='auto'"):
        migrations.prepare(connection, "check")
    assert inspect(connection).get_table_names() == []


@pytest.mark.parametrize("mode", ["auto", "check"])
def test_a_revision_of_a_later_release(connection: Connection, mode: Any) -> None:
    migrations.prepare(connection, "auto")
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="upgrade turnstore"):
        migrations.prepare(connection, mode)
    assert migrations.current(connection) == "9999"


def test_scripts_in_a_folder_with_percent_signs(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic's settings interpolate ``%``."""
    folder = shutil.copytree(migrations.scripts(), tmp_path / "100%d %(here)s")
    monkeypatch.setattr(migrations, "scripts", lambda: folder)
    migrations.prepare(connection, "auto")
    assert migrations.current(connection) == migrations.newest()


def upgrade_until(path: Path, statement: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("opening", path, statement),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


async def open_and_append(path: Path) -> None:
    async with SessionStore(path) as store:
        await store.sessions.create(id="s", title="a title to index")
        assert await store.events.append("s", "t") == 1


def test_an_interrupted_upgrade_leaves_a_file_that_opens(
    tmp_path: Path, rng: random.Random, connect: Callable[[Path], Any]
) -> None:
    whole = upgrade_until(tmp_path / "whole.db", 0)
    assert whole.returncode == 0, whole.stderr
    statements = int(whole.stdout)
    assert statements > 20
    for at in [1, *sorted(rng.sample(range(2, statements), 4)), statements]:
        path = tmp_path / f"killed{at}.db"
        killed = upgrade_until(path, at)
        assert killed.returncode == -signal.SIGKILL
        asyncio.run(open_and_append(path))
        connection = connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        versions = connection.execute("SELECT * FROM alembic_version").fetchall()
        assert versions == [(migrations.newest(),)]
