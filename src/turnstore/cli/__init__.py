"""The command line.

Reading commands take ``--from URL``, open the store ``read_only`` and make no
database; writing ones take ``--into URL``. Both default to the default store. Exit
codes: 0 done; 1 an import left lines out; 2 wrong usage, or an error of the store.
"""

from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from turnstore import transfer
from turnstore.cli.show import print_state
from turnstore.cli.terminal import console, counted, fail, plain, print_json, run
from turnstore.options import StoreOptions
from turnstore.records import (
    Session,
    SessionFilter,
    SessionState,
    SessionStatus,
    StoreStatistics,
)
from turnstore.store import SessionStore

READ_ONLY: Final = StoreOptions(read_only=True)
PAGE_SESSIONS: Final = 1_000
TABLE_COLUMNS_MIN: Final = 160
"""Width of a table that is not printed to a terminal."""
UUID_CHARS: Final = 36

From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="URL", help="Store to read.", show_default="the default store"
    ),
]
Into = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="URL",
        help="Store to write.",
        show_default="the default store",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

app = typer.Typer(
    help="Keep, import and look at agent sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
importing = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(importing, name="import", help="Import conversations from a file.")


@importing.command("chat")
def import_chat(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="One conversation a line: a JSON object with a list of messages.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    into: Into = None,
) -> None:
    """Import conversations in the OpenAI chat format, each as one session.

    Importing a file again adds nothing. A bad line is left out whole and reported.
    """
    report = run(partial(_import, file, "chat", into))
    for problem in report.problems:
        typer.echo(plain(str(problem)), err=True)
    typer.echo(_summary(report))
    if report.problems:
        raise typer.Exit(1)


@app.command()
def sample() -> None:
    """Print a small file of conversations in the OpenAI chat format."""
    text = resources.files("turnstore").joinpath("sample.jsonl").read_bytes()
    typer.echo(text, nl=False)


@app.command()
def sessions(
    source: From = None,
    agent_name: Annotated[str | None, typer.Option()] = None,
    project_root: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option()] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="May be given several times.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="May be given several times."),
    ] = None,
    title_contains: Annotated[str | None, typer.Option()] = None,
    order_by: Annotated[
        Literal["created_at", "updated_at", "message_count", "total_tokens"],
        typer.Option(),
    ] = "created_at",
    ascending: Annotated[bool, typer.Option("--ascending")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: Json = False,
) -> None:
    """List sessions, newest first."""
    wanted = SessionFilter(
        agent_name=agent_name,
        project_root=project_root,
        model=model,
        status=status or None,
        metadata=dict(_pair(each) for each in metadata) if metadata else None,
        title_contains=title_contains,
    )
    found = run(partial(_list, source, wanted, order_by, ascending, limit))
    if as_json:
        for session in found:
            print_json(session)
    else:
        _print_table(found)


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(metavar="ID")],
    source: From = None,
    full: Annotated[
        bool, typer.Option("--full", help="Don't shorten long arguments and answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one session: its messages, with tool calls and their answers."""
    state = run(partial(_load, source, session_id))
    if state is None:
        fail(f"no session {session_id!r}")
    if as_json:
        print_json(state)
    else:
        print_state(console(), state, full=full)


@app.command()
def stats(source: From = None, as_json: Json = False) -> None:
    """Count sessions by status; show the database library and store's counters."""
    counts, statistics = run(partial(_count, source))
    if as_json:
        print_json({"sessions": counts, "store": statistics})
        return
    out = console()
    for name, count in counts.items():
        out.print(f"{name:24}{count:>12}")
    out.print()
    for name in statistics.__struct_fields__:
        out.print(f"{name:24}{getattr(statistics, name)!s:>12}", soft_wrap=True)


async def _import(file: Path, format: str, into: str | None) -> transfer.ImportReport:
    err = console(stderr=True)
    bar = Progress(
        TextColumn("importing"),
        BarColumn(),
        DownloadColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    try:
        async with SessionStore(into) as store:
            with bar:
                task = bar.add_task("importing", total=None)
                return await transfer.import_file(
                    store,
                    file,
                    format,
                    on_progress=lambda done_bytes, total_bytes: bar.update(
                        task, completed=done_bytes, total=total_bytes
                    ),
                )
    except OSError as error:
        fail(f"can't read {file}: {error.strerror or error}")


async def _list(
    source: str | None,
    wanted: SessionFilter,
    order_by: Literal["created_at", "updated_at", "message_count", "total_tokens"],
    ascending: bool,
    limit: int,
) -> list[Session]:
    found: list[Session] = []
    cursor: str | None = None
    async with SessionStore(source, READ_ONLY) as store:
        while True:
            page = await store.sessions.list(
                wanted,
                order_by=order_by,
                descending=not ascending,
                limit=min(limit - len(found), PAGE_SESSIONS),
                cursor=cursor,
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return found


async def _load(source: str | None, session_id: str) -> SessionState | None:
    async with SessionStore(source, READ_ONLY) as store:
        return await store.sessions.load(session_id)


async def _count(source: str | None) -> tuple[dict[str, int], StoreStatistics]:
    """Count sessions by status, ``total`` last; each count is a read of its own."""
    async with SessionStore(source, READ_ONLY) as store:
        counts = {
            str(status): await store.sessions.count(SessionFilter(status=status))
            for status in SessionStatus
            if status is not SessionStatus.UNKNOWN
        }
        total = await store.sessions.count(SessionFilter())
        counts["unknown"] = max(0, total - sum(counts.values()))
        counts["total"] = total
        return counts, await store.statistics()


def _pair(given: str) -> tuple[str, str]:
    key, separator, value = given.partition("=")
    if not separator:
        raise typer.BadParameter(f"{given!r} is not KEY=VALUE", param_hint="--metadata")
    return key, value


def _summary(report: transfer.ImportReport) -> str:
    parts = [
        counted(report.sessions, "session"),
        counted(report.messages, "message"),
        counted(report.tool_calls, "tool call"),
        counted(report.events, "event"),
    ]
    if report.sessions_skipped:
        parts.append(f"{counted(report.sessions_skipped, 'session')} there already")
    if report.problems:
        parts.append(f"{counted(len(report.problems), 'line')} left out")
    return ", ".join(parts)


def _print_table(found: list[Session]) -> None:
    out = console()
    if not out.is_terminal:
        out.width = max(out.width, TABLE_COLUMNS_MIN)
    max_chars = max((len(_cell(each.id)) for each in found), default=0)
    table = Table("id", "title or agent", "status", box=None, padding=(0, 1, 0, 0))
    for name in ("messages", "events", "tool calls"):
        table.add_column(name, justify="right")
    table.add_column("updated (UTC)", no_wrap=True)
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = min(UUID_CHARS, max_chars)
    table.columns[1].overflow = "ellipsis"
    table.columns[1].no_wrap = True
    for each in found:
        table.add_row(
            Text(_cell(each.id)),
            Text(_cell(each.title or each.agent_name)),
            Text(_cell(each.status_raw or each.status)),
            str(each.message_count),
            str(each.event_head),
            str(each.tool_call_count),
            f"{each.updated_at:%Y-%m-%d %H:%M}",
        )
    out.print(table)


def _cell(text: str) -> str:
    return " ".join(plain(text).split())
