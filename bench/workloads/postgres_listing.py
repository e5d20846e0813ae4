"""Listing on PostgreSQL: the same cases, data and plain query as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final

from bench.data.rows import column_names
from bench.data.year import listing_rows
from bench.references.plain_listing import copy_script
from bench.running.measure import Comparisons
from bench.running.server import new_database, running_server
from bench.running.setting import Setting
from bench.workloads.listing import SMALL, compare_pages, large
from turnstore import SessionStore, StoreOptions

PLAIN_SCHEMA: Final = "plain"
USAGE: Final = "CAST(usage AS JSON)"


def postgres_listing(setting: Setting) -> Comparisons:
    """``listing`` on PostgreSQL, the plain tables in a schema of the large store's
    database."""
    with running_server() as server:
        few_url = setting.run(new_database(server, "few"))
        many_url = setting.run(new_database(server, "many"))
        setting.run(_fill(few_url, SMALL))
        setting.run(_fill(many_url, large(setting)))
        with (
            setting.store(few_url) as few,
            setting.store(many_url) as many,
            _plain(setting, many_url) as connection,
        ):

            def plain(query: str) -> list[str]:
                return [row[0] for row in setting.run(connection.fetch(query))]

            yield from compare_pages(setting, "postgres_listing", many, few, plain)


async def _fill(url: str, count: int) -> None:
    """Make the tables, and fill them with a year of use."""
    async with SessionStore(url, StoreOptions(migrate="auto")):
        pass
    connection = await _connect(url)
    # Foreign keys are not checked: the rows are known to be whole.
    await connection.execute("SET session_replication_role = replica")
    for table, rows in listing_rows(count):
        names = column_names(table)
        await connection.copy_records_to_table(
            table.name, columns=names, records=map(itemgetter(*names), rows)
        )
    await _settle(connection)
    await connection.close()


@contextmanager
def _plain(setting: Setting, url: str) -> Iterator[Any]:
    """Give a connection to the plain tables, filled."""
    connection = setting.run(_connect(url))
    try:
        setting.run(_copy(connection))
        yield connection
    finally:
        setting.run(connection.close())


async def _copy(connection: Any) -> None:
    await connection.execute(f"CREATE SCHEMA {PLAIN_SCHEMA}")
    await connection.execute(f"SET search_path = {PLAIN_SCHEMA}")
    await connection.execute(copy_script(source="public", usage=USAGE))
    await _settle(connection)


async def _settle(connection: Any) -> None:
    """Do what autovacuum does soon after so many rows came in."""
    await connection.execute("VACUUM (ANALYZE)")


async def _connect(url: str) -> Any:
    import asyncpg

    return await asyncpg.connect(url)
