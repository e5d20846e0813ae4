"""The commands that import and export files of other systems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click
from click.exceptions import Exit
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from turnstore import transfer
from turnstore.cli.terminal import console, counted, fail, plain, run
from turnstore.options import StoreOptions
from turnstore.store import SessionStore

LINES_MAX: Final = 10
"""Problems of a kind, and reasons, that are printed for a chat file."""
SYSTEMS: Final = tuple(each for each in transfer.FORMATS if each != "chat")

into_store = click.option(
    "--into", metavar="URL", help="Store to write.", show_default="the default store"
)
from_store = click.option(
    "--from",
    "source",
    metavar="URL",
    help="Store to read.",
    show_default="the default store",
)
given_file = click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
given_files = click.argument(
    "file",
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
)
payload_bytes_max = click.option(
    "--payload-bytes-max",
    metavar="BYTES",
    type=int,
    help="Import messages and other values of up to this size.",
    show_default=f"{StoreOptions().payload_bytes_max}",
)
new_file = click.argument(
    "file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path)
)
some_sessions = click.option(
    "--session",
    "session_ids",
    metavar="ID",
    multiple=True,
    help="Export this session. May be given several times.",
    show_default="all",
)


class _Importing(click.Group):
    """Recognises the format of a file that is given in place of a command."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = arguments[0]
        is_file = first == "-" or Path(first).exists()
        if self.get_command(context, first) is None and is_file:
            return _RECOGNISED, self.commands[_RECOGNISED], arguments
        return super().resolve_command(context, arguments)


_RECOGNISED: Final = "recognised"


@click.group("import", cls=_Importing, no_args_is_help=True)
def importing() -> None:
    """Import sessions from a file.

    With FILE in place of a command its format is recognised.
    """


@click.group("export", no_args_is_help=True)
def exporting() -> None:
    """Export sessions to a new file."""


@importing.command("chat")
@given_files
@into_store
@payload_bytes_max
def import_chat(file: Path, into: str | None, payload_bytes_max: int | None) -> None:
    """Import conversations, each as one session.

    FILE has JSON: one value per line, or values over many lines, or a list. A
    conversation is an object with a list of messages in the OpenAI chat format or one
    like it (ShareGPT, tau-bench, mini-SWE-agent, batch requests, exports of ChatGPT and
    Claude), or is that list. FILE may be packed by gzip. It may be a folder, all of
    whose files are imported, or - for standard input.

    Importing it again adds nothing. What is no conversation is left out and reported.
    """
    _import(file, "chat", into, payload_bytes_max)


@importing.command(_RECOGNISED, hidden=True)
@given_files
@into_store
@payload_bytes_max
def import_recognised(
    file: Path, into: str | None, payload_bytes_max: int | None
) -> None:
    """Import a file whose format is recognised."""
    _import(file, None, into, payload_bytes_max)


@exporting.command("chat")
@new_file
@from_store
@some_sessions
def export_chat(file: Path, source: str | None, session_ids: tuple[str, ...]) -> None:
    """Export sessions as conversations in the OpenAI chat format, one per line."""
    _export(file, "chat", source, session_ids)


def _add_system(system: str) -> None:
    """Add the commands for the files of a system."""

    @importing.command(
        system,
        help=f"Import the sessions of a {system} database.\n\n"
        f"FILE is opened read-only. Importing it again adds nothing. What the store "
        f"has no place for is kept, and an export puts it back.",
    )
    @given_file
    @into_store
    @payload_bytes_max
    def import_system(
        file: Path, into: str | None, payload_bytes_max: int | None
    ) -> None:
        _import(file, system, into, payload_bytes_max)

    @exporting.command(
        system,
        help=f"Export sessions to a new {system} database.\n\n"
        f"What was imported from {system} comes back as it was.",
    )
    @new_file
    @from_store
    @some_sessions
    def export_system(
        file: Path, source: str | None, session_ids: tuple[str, ...]
    ) -> None:
        _export(file, system, source, session_ids)


for _system in SYSTEMS:
    _add_system(_system)


def _import(
    file: Path, format: str | None, into: str | None, payload_bytes_max: int | None
) -> None:
    try:
        options = (
            StoreOptions()
            if payload_bytes_max is None
            else StoreOptions(payload_bytes_max=payload_bytes_max)
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--payload-bytes-max") from None
    report = run(partial(_run_import, file, format, into, options))
    _print_problems(report)
    if report.formats:
        click.echo(f"Recognised: {', '.join(report.formats)}.")
    parts = [*_counts(report)]
    if report.sessions_skipped:
        parts.append(f"{counted(report.sessions_skipped, 'session')} there already")
    if report.rows_kept:
        parts.append(f"{counted(report.rows_kept, 'row')} kept aside")
    if report.problems:
        lines = [each for each in report.problems if each.line is not None]
        noun = "line" if lines else "session"
        count = len(report.problems) + sum(report.more_problems.values())
        parts.append(f"{counted(count, noun)} left out")
    click.echo(", ".join(parts))
    _print_reasons(report.reasons, LINES_MAX if report.formats else None)
    if report.problems:
        raise Exit(1)


def _print_problems(report: transfer.ImportReport) -> None:
    """Print the first problems of each kind, and how many more there are."""
    by_kind: dict[str, list[transfer.Problem]] = {}
    for problem in report.problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind, problems in by_kind.items():
        shown = problems[:LINES_MAX] if kind else problems
        for problem in shown:
            click.echo(plain(str(problem)), err=True)
        more = len(problems) - len(shown) + report.more_problems.get(kind, 0)
        if more:
            click.echo(f"and {more} more: {kind}", err=True)


def _export(
    file: Path, format: str, source: str | None, session_ids: tuple[str, ...]
) -> None:
    report = run(partial(_run_export, file, format, source, list(session_ids) or None))
    parts = [*_counts(report)]
    if report.rows_restored:
        parts.append(f"{counted(report.rows_restored, 'row')} restored")
    click.echo(", ".join(parts))
    _print_reasons(report.reasons)


def _counts(report: transfer.ImportReport | transfer.ExportReport) -> list[str]:
    return [
        counted(report.sessions, "session"),
        counted(report.messages, "message"),
        counted(report.tool_calls, "tool call"),
        counted(report.events, "event"),
    ]


def _print_reasons(reasons: dict[str, int], lines_max: int | None = None) -> None:
    for reason, count in [*reasons.items()][:lines_max]:
        click.echo(f"  {count:>8} {plain(reason)}")
    if lines_max is not None and len(reasons) > lines_max:
        click.echo(f"and {len(reasons) - lines_max} more")


async def _run_import(
    file: Path, format: str | None, into: str | None, options: StoreOptions
) -> transfer.ImportReport:
    given = sys.stdin.buffer if str(file) == "-" else file
    try:
        async with SessionStore(into, options) as store:
            with bar("importing") as on_progress:
                return await transfer.import_file(store, given, format, on_progress)
    except OSError as error:
        fail(f"can't read {file}: {error.strerror or error}")


async def _run_export(
    file: Path, format: str, source: str | None, session_ids: list[str] | None
) -> transfer.ExportReport:
    options = StoreOptions(read_only=True)
    try:
        async with SessionStore(source, options) as store:
            with bar("exporting") as on_progress:
                return await transfer.export_file(
                    store, file, format, session_ids, on_progress
                )
    except OSError as error:
        fail(f"can't write {file}: {error.strerror or error}")


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal while the block runs.

    Gives the function that moves it, by the count done and the total.
    """
    err = console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
