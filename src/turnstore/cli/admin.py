"""Backing up and checking a store."""

from __future__ import annotations

from functools import partial
from typing import Final

import click
from click.exceptions import Exit
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from turnstore.cli.files import from_store
from turnstore.cli.terminal import console, counted, plain, run
from turnstore.options import StoreOptions
from turnstore.store import SessionStore

READ_ONLY: Final = StoreOptions(read_only=True)


@click.command()
@click.argument("path", metavar="PATH")
@from_store
def backup(path: str, source: str | None) -> None:
    """Copy a store, while it is used, to the new file PATH.

    The copy is a store.
    """
    run(partial(_backup, path, source))


@click.command()
@from_store
def check(source: str | None) -> None:
    """Look for what is wrong with a store: exit code 1 when something is.

    Reads all of it, while it is used. Prints a problem a line.
    """
    problems = run(partial(_check, source))
    for problem in problems:
        click.echo(plain(problem))
    if problems:
        click.echo(f"turnstore: {counted(len(problems), 'problem')}", err=True)
        raise Exit(1)


async def _backup(path: str, source: str | None) -> None:
    err = console(stderr=True)
    bar = Progress(
        TextColumn("copying"),
        BarColumn(),
        TaskProgressColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    async with SessionStore(source, READ_ONLY) as store:
        with bar:
            task = bar.add_task("copying", total=None)
            await store.admin.backup(
                path,
                on_progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )


async def _check(source: str | None) -> list[str]:
    async with SessionStore(source, READ_ONLY) as store:
        return await store.admin.check()
