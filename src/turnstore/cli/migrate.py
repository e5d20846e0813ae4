"""Bringing a store's schema up to date."""

from __future__ import annotations

from functools import partial

import click
from click.exceptions import Exit

from turnstore import migrations
from turnstore.cli.files import into_store
from turnstore.cli.terminal import plain, run
from turnstore.errors import SchemaTooOld
from turnstore.options import StoreOptions
from turnstore.store import SessionStore


@click.command()
@into_store
@click.option(
    "--check", is_flag=True, help="Change nothing: exit code 1 where it is older."
)
@click.option(
    "--sql",
    "as_sql",
    is_flag=True,
    help="Print the SQL for this kind of database, and connect to none.",
)
@click.option(
    "--since",
    metavar="REVISION",
    help="With --sql: the schema that the database has.",
    show_default="none",
)
def migrate(into: str | None, check: bool, as_sql: bool, since: str | None) -> None:
    """Bring a store's schema up to date, in one transaction.

    On PostgreSQL run it before a new release is started; the store of an older
    release goes on until it is closed.
    """
    if as_sql and check:
        raise click.UsageError("--check and --sql exclude each other")
    if since is not None and not as_sql:
        raise click.UsageError("--since goes with --sql")
    if as_sql:
        is_postgresql = (into or "").startswith("postgresql:")
        dialect = "postgresql" if is_postgresql else "sqlite"
        click.echo(run(partial(_sql, dialect, since)), nl=False)
        return
    older = run(partial(_check, into))
    if older is None:
        click.echo(f"schema {migrations.REVISIONS[-1]}, nothing to do")
    elif check:
        click.echo(f"turnstore: {plain(older)}", err=True)
        click.echo("run the same command without --check", err=True)
        raise Exit(1)
    else:
        run(partial(_upgrade, into))
        click.echo(f"schema {migrations.REVISIONS[-1]}, upgraded")


async def _check(into: str | None) -> str | None:
    """Return what is to be done where the schema is older."""
    try:
        async with SessionStore(into, StoreOptions(migrate="check")):
            return None
    except SchemaTooOld as error:
        return str(error)


async def _upgrade(into: str | None) -> None:
    async with SessionStore(into, StoreOptions(migrate="auto")):
        pass


async def _sql(dialect: str, since: str | None) -> str:
    return migrations.sql(dialect, since)
