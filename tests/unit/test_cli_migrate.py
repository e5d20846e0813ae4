"""The command line: bringing the schema of a SQLite store up to date."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from sqlalchemy import create_engine

from turnstore import InvalidArgument, SessionStore
from turnstore.cli import app
from turnstore.cli.citus import REFERENCE
from turnstore.engine.sqlite.files import APPLICATION_ID
from turnstore.engine.sqlite.library import library
from turnstore.sql import migrations
from turnstore.sql.schema import metadata

NEWEST = migrations.newest()
runner = CliRunner()


def tables(connection: Any) -> list[Any]:
    found = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")
    return [(name, " ".join((sql or "").split())) for name, sql in found]


@pytest.fixture
def older(store_path: Path) -> str:
    """The URL of a store with the first schema."""
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts()))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{store_path}", module=library().module)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    engine.dispose()
    return f"sqlite:///{store_path}"


def test_migrate_makes_a_store_and_again_does_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    first = runner.invoke(app, ["migrate", "--into", url])
    second = runner.invoke(app, ["migrate", "--into", url])
    assert (first.exit_code, first.output) == (0, f"schema {NEWEST}, upgraded\n")
    assert (second.exit_code, second.output) == (
        0,
        f"schema {NEWEST}, nothing to do\n",
    )


def test_a_check_of_an_older_store_says_what_to_run(older: str) -> None:
    result = runner.invoke(app, ["migrate", "--check", "--into", older])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "schema 0001" in result.stderr
    assert "turnstore migrate --into URL" in result.stderr


def test_a_check_changes_nothing(
    older: str, store_path: Path, connect: Callable[[Path], Any]
) -> None:
    runner.invoke(app, ["migrate", "--check", "--into", older])
    found = connect(store_path).execute("SELECT version_num FROM alembic_version")
    assert found.fetchall() == [("0001",)]


def test_a_check_makes_no_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    result = runner.invoke(app, ["migrate", "--check", "--into", url])
    assert result.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_an_older_store_is_upgraded(older: str) -> None:
    result = runner.invoke(app, ["migrate", "--into", older])
    assert (result.exit_code, result.output) == (0, f"schema {NEWEST}, upgraded\n")
    checked = runner.invoke(app, ["migrate", "--check", "--into", older])
    assert (checked.exit_code, checked.stderr) == (0, "")


@pytest.mark.parametrize("since", [None, "0001", "0002"])
def test_the_sql_makes_the_same_tables(
    since: str | None, tmp_path: Path, connect: Callable[[Path], Any]
) -> None:
    arguments = ["migrate", "--sql", "--into", "sqlite:///never-opened.db"]
    by_hand, by_store = connect(tmp_path / "hand.db"), tmp_path / "store.db"
    if since is not None:
        before = migrations.sql("sqlite")
        end = before.index(f"-- Running upgrade {since} ->")
        by_hand.executescript(before[:end] + "COMMIT;")
        arguments += ["--since", since]
    printed = runner.invoke(app, arguments)
    assert printed.exit_code == 0, printed.stderr
    by_hand.executescript(printed.stdout)

    async def make() -> None:
        async with SessionStore(by_store):
            pass

    asyncio.run(make())
    assert tables(by_hand) == tables(connect(by_store)) != []


def test_the_sql_since_the_newest_schema_is_empty() -> None:
    result = runner.invoke(app, ["migrate", "--sql", "--since", NEWEST])
    assert (result.exit_code, result.output) == (0, "")


def test_sql_of_an_unknown_revision_is_refused() -> None:
    result = runner.invoke(app, ["migrate", "--sql", "--since", "0000"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no revision '0000'" in result.stderr


def test_sql_of_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="sqlite or postgresql"):
        migrations.sql("oracle")


@pytest.mark.parametrize(
    "options",
    [
        ["--check", "--sql"],
        ["--since", "0001"],
        ["--distribute", "--check"],
        ["--distribute", "--sql", "--since", "0001"],
    ],
)
def test_options_that_do_not_go_together(options: list[str]) -> None:
    assert runner.invoke(app, ["migrate", *options]).exit_code == 2


def printed_by(result: Result) -> str:
    """Standard output, without the answer that some releases of click repeat there."""
    return result.stdout.strip(" yn\n")


@pytest.mark.parametrize("into", [[], ["--into", "sqlite:///{}/new.db"]])
def test_only_postgresql_is_distributed(into: list[str], tmp_path: Path) -> None:
    given = [each.format(tmp_path) for each in into]
    result = runner.invoke(app, ["migrate", "--distribute", *given], input="y\n")
    assert (result.exit_code, printed_by(result)) == (2, "")
    assert "only PostgreSQL with the extension citus" in result.stderr
    assert os.listdir(tmp_path) == []


def test_distributing_is_said_not_to_work_before_anything_is_done() -> None:
    command = ["migrate", "--distribute", "--into", "postgresql://127.0.0.1:1/none"]
    result = runner.invoke(app, command, input="n\n")
    assert (result.exit_code, printed_by(result)) == (1, "")
    first = result.stderr.splitlines()[0]
    assert "experimental" in first and "does not work yet" in first
    printed = runner.invoke(app, [*command, "--sql"])
    assert (printed.exit_code, printed.stderr.splitlines()) == (0, [first])
    assert "does not work yet" in " ".join(
        runner.invoke(app, ["migrate", "--help"]).stdout.split()
    )


def test_the_script_makes_what_is_referred_to_first() -> None:
    result = runner.invoke(app, ["migrate", "--distribute", "--sql"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("BEGIN;", "COMMIT;")
    made = [each for each in lines if "create_" in each]
    assert len(made) == len(metadata.tables)
    assert "create_reference_table(CAST('sessions' " in made[0]
    kinds = [each.split("(", 1)[0].removeprefix("SELECT ") for each in made]
    assert kinds == sorted(kinds, reverse=True)
    assert "create_distributed_table(CAST('session_heads' " in made[len(REFERENCE)]
