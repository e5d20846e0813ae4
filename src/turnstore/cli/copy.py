"""The command that copies a whole store into another one."""

from __future__ import annotations

from functools import partial

import click
from click.exceptions import Exit

from turnstore import transfer
from turnstore.cli.files import bar
from turnstore.cli.terminal import counted, fail, plain, run
from turnstore.options import StoreOptions
from turnstore.store import SessionStore


@click.command("copy")
@click.argument("source", metavar="FROM_URL")
@click.argument("target", metavar="TO_URL")
def copy(source: str, target: str) -> None:
    """Copy a whole store, of any kind, into another one.

    Sessions that the target has already are skipped, so a copy that was stopped can be
    run again. Each session is read back from the target and compared. A session that
    differs in the target is left as it is and reported: exit code 1. A PostgreSQL
    database needs the schema first: turnstore migrate.
    """
    report = run(partial(_copy, source, target))
    for problem in report.problems:
        click.echo(plain(str(problem)), err=True)
    parts = [
        counted(report.sessions, "session"),
        counted(report.rows.get("messages", 0), "message"),
        counted(report.rows.get("tool_calls", 0), "tool call"),
        counted(report.rows.get("events", 0), "event"),
    ]
    if report.deleted_sessions:
        count = counted(report.deleted_sessions, "deleted session")
        parts.append(f"usage of {count}")
    if report.imports:
        parts.append(counted(report.imports, "imported file"))
    if report.skipped:
        parts.append(f"{report.skipped} there already")
    if report.problems:
        parts.append(counted(len(report.problems), "problem"))
    click.echo(", ".join(parts))
    if report.problems:
        raise Exit(1)


async def _copy(source: str, target: str) -> transfer.CopyReport:
    try:
        async with (
            SessionStore(source, StoreOptions(read_only=True)) as given,
            SessionStore(target) as taking,
        ):
            with bar("copying") as on_progress:
                return await transfer.copy_store(given, taking, on_progress)
    except OSError as error:
        fail(f"can't copy: {error.strerror or error}")
