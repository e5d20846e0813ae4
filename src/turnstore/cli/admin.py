"""The commands that back up and check a store."""

from __future__ import annotations

from functools import partial
from typing import Final

import click
from click.exceptions import Exit

from turnstore.cli.files import bar, from_store
from turnstore.cli.terminal import counted, plain, run
from turnstore.options import StoreOptions
from turnstore.store import SessionStore

READ_ONLY: Final = StoreOptions(read_only=True)


@click.command()
@click.argument("path", metavar="PATH")
@from_store
def backup(path: str, source: str | None) -> None:
    """Copy a store to the new file PATH, which is a store too.

    The store may be in use.
    """
    run(partial(_backup, path, source))


@click.command()
@click.option(
    "--repair",
    is_flag=True,
    help="Set damaged rows aside, and count and index anew what does not agree.",
)
@from_store
def check(source: str | None, repair: bool) -> None:
    """Look for problems of a store: exit code 1 if there are any.

    Reads all of the store, which may be in use. Prints one problem per line; with
    --repair what was done about it.
    """
    problems = run(partial(_check, source, repair))
    for problem in problems:
        click.echo(plain(problem))
    if problems:
        click.echo(f"turnstore: {counted(len(problems), 'problem')}", err=True)
        raise Exit(1)


async def _backup(path: str, source: str | None) -> None:
    async with SessionStore(source, READ_ONLY) as store:
        with bar("copying") as on_progress:
            await store.admin.backup(path, on_progress=on_progress)


async def _check(source: str | None, repair: bool) -> list[str]:
    options = StoreOptions() if repair else READ_ONLY
    async with SessionStore(source, options) as store:
        return await store.admin.check(repair=repair)
