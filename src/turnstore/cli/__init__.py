"""The command line, of which only ``turnstore.__main__`` imports.

Here are the group of all commands and those that look at sessions; the other modules
have a group of commands each. A command uses the public methods of ``SessionStore`` and
``turnstore.transfer``; only ``migrate`` and ``citus`` go below them.

Reading commands take ``--from URL``, open the store ``read_only`` and make no database.
Writing commands take ``--into URL``. Both default to the default store.

Exit codes: 0 done; 1 an import left something out, a check found something wrong, or a
question was answered with no; 2 wrong usage or an error of the store; 130 interrupted.
"""

from __future__ import annotations

from functools import partial
from importlib import resources
from typing import Final, Literal, get_args

import click
from rich.table import Table
from rich.text import Text

from turnstore.cli.admin import backup, check
from turnstore.cli.copy import copy
from turnstore.cli.files import exporting, from_store, importing
from turnstore.cli.migrate import migrate
from turnstore.cli.show import print_state
from turnstore.cli.terminal import console, fail, plain, print_json, run
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
"""The least width of a table that is not printed to a terminal."""
UUID_CHARS: Final = 36

Order = Literal["created_at", "updated_at", "message_count", "total_tokens"]

json_lines = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object per line."
)


@click.group(no_args_is_help=True)
def app() -> None:
    """Keep, import and look at agent sessions."""


app.add_command(importing)
app.add_command(exporting)
app.add_command(backup)
app.add_command(check)
app.add_command(copy)
app.add_command(migrate)


@app.command()
def sample() -> None:
    """Print a small file of conversations in the OpenAI chat format."""
    text = resources.files("turnstore").joinpath("sample.jsonl").read_bytes()
    click.echo(text, nl=False)


@app.command()
@from_store
@click.option("--agent-name")
@click.option("--project-root")
@click.option("--model")
@click.option("--status", multiple=True, help="May be given several times.")
@click.option(
    "--metadata", metavar="KEY=VALUE", multiple=True, help="May be given several times."
)
@click.option("--title-contains")
@click.option(
    "--order-by",
    type=click.Choice(get_args(Order)),
    default="created_at",
    show_default=True,
)
@click.option("--ascending", is_flag=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_lines
def sessions(
    source: str | None,
    agent_name: str | None,
    project_root: str | None,
    model: str | None,
    status: tuple[str, ...],
    metadata: tuple[str, ...],
    title_contains: str | None,
    order_by: Order,
    ascending: bool,
    limit: int,
    as_json: bool,
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
@click.argument("session_id", metavar="ID")
@from_store
@click.option("--full", is_flag=True, help="Don't shorten long arguments and answers.")
@json_lines
def show(session_id: str, source: str | None, full: bool, as_json: bool) -> None:
    """Show one session: its messages, with tool calls and their answers."""
    state = run(partial(_load, source, session_id))
    if state is None:
        fail(f"no session {session_id!r}")
    if as_json:
        print_json(state)
    else:
        print_state(console(), state, full=full)


@app.command()
@from_store
@json_lines
def stats(source: str | None, as_json: bool) -> None:
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


async def _list(
    source: str | None,
    wanted: SessionFilter,
    order_by: Order,
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
    """Count sessions by status, ``total`` last. Each count is a separate read."""
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
        raise click.BadParameter(f"{given!r} is not KEY=VALUE", param_hint="--metadata")
    return key, value


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
