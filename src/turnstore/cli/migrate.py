"""The command that brings a store's schema up to date, or distributes its tables."""

from __future__ import annotations

from functools import partial

import click
from click.exceptions import Exit

from turnstore.cli import citus
from turnstore.cli.files import into_store
from turnstore.cli.terminal import counted, plain, run
from turnstore.errors import SchemaTooOld
from turnstore.options import StoreOptions
from turnstore.sql import migrations
from turnstore.store import SessionStore


@click.command()
@into_store
@click.option(
    "--check", is_flag=True, help="Change nothing: exit code 1 if it is older."
)
@click.option(
    "--sql",
    "as_sql",
    is_flag=True,
    help="Print the SQL for this kind of database, without connecting to one.",
)
@click.option(
    "--since",
    metavar="REVISION",
    help="With --sql: the schema that the database has.",
    show_default="none",
)
@click.option(
    "--distribute",
    is_flag=True,
    help="Experimental, does not work yet: distribute the tables over the nodes of "
    "Citus, by session.",
)
def migrate(
    into: str | None, check: bool, as_sql: bool, since: str | None, distribute: bool
) -> None:
    """Bring a store's schema up to date, in one transaction.

    On PostgreSQL run it before a new release is started; the store of an older
    release goes on until it is closed.

    --distribute is experimental: a distributed store (Citus) does not work yet. Tried
    on real clusters, the first sessions.create fails. It asks before it changes
    anything. The schema has to be up to date, and no store may be open; tables that
    are distributed already stay as they are.
    """
    if as_sql and check:
        raise click.UsageError("--check and --sql exclude each other")
    if distribute and check:
        raise click.UsageError("--check and --distribute exclude each other")
    if since is not None and (distribute or not as_sql):
        raise click.UsageError("--since goes with --sql, and not with --distribute")
    if distribute:
        _distribute(into, as_sql)
    elif as_sql:
        is_postgresql = (into or "").startswith("postgresql:")
        dialect = "postgresql" if is_postgresql else "sqlite"
        click.echo(run(partial(_sql, dialect, since)), nl=False)
    else:
        _migrate(into, check)


def _migrate(into: str | None, check: bool) -> None:
    older = run(partial(_check, into))
    if older is None:
        click.echo(f"schema {migrations.newest()}, nothing to do")
    elif check:
        click.echo(f"turnstore: {plain(older)}", err=True)
        click.echo("run the same command without --check", err=True)
        raise Exit(1)
    else:
        run(partial(_upgrade, into))
        click.echo(f"schema {migrations.newest()}, upgraded")


def _distribute(into: str | None, as_sql: bool) -> None:
    click.echo(f"turnstore: {citus.EXPERIMENTAL}", err=True)
    if as_sql:
        click.echo(citus.sql(), nl=False)
        return
    click.confirm("Distribute the tables all the same?", abort=True, err=True)
    done = run(partial(citus.distribute, into))
    for name, kind in done.tables.items():
        click.echo(f"{name}: {kind}")
    for name, value in done.settings.items():
        click.echo(f"{name} = {value} for this database: start stores again")
    if not done.tables and not done.settings:
        click.echo("distributed, nothing to do")
        return
    click.echo(f"{counted(len(done.tables), 'table')} distributed")
    if done.tables:
        click.echo(
            "rows that were there are on the nodes now; what the coordinator keeps of "
            "them is removed by SELECT truncate_local_data_after_distributing_table(…) "
            "for sessions, imports and usage_ledger"
        )


async def _check(into: str | None) -> str | None:
    """Return what to do if the schema is older, None if it is up to date."""
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
