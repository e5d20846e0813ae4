"""Listing on PostgreSQL: the same cases, data and port as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final

from bench import fill
from bench.listing import SMALL, compare_pages, large
from bench.measure import Comparison
from bench.port import copy_script
from bench.postgres import new_database, running_server
from bench.setting import Setting
from turnstore import SessionStore, StoreOptions

PORT_SCHEMA: Final = "port"
USAGE: Final = "CAST(usage AS JSON)"


def postgres_listing(setting: Setting) -> list[Comparison]:
    """``listing`` on PostgreSQL, the port in a schema of the large store's database."""
    workload = "postgres_listing"
    with running_server(workload) as server:
        if server is None:
            return []
        few_url = setting.run(new_database(server, "few"))
        many_url = setting.run(new_database(server, "many"))
        setting.run(_fill(few_url, SMALL))
        setting.run(_fill(many_url, large(setting)))
        with (
            setting.store(few_url) as few,
            setting.store(many_url) as many,
            _port(setting, many_url) as port,
        ):

            def ported(query: str) -> list[str]:
                return [row[0] for row in setting.run(port.fetch(query))]

            return compare_pages(setting, workload, many, few, ported)


async def _fill(url: str, count: int) -> None:
    """Make the tables, and fill them with the rows of ``fill.listing``."""
    async with SessionStore(url, StoreOptions(migrate="auto")):
        pass
    connection = await _connect(url)
    # Foreign keys are not checked: the rows are known to be whole.
    await connection.execute("SET session_replication_role = replica")
    for table, rows in fill.listing_rows(count):
        names = fill.column_names(table)
        await connection.copy_records_to_table(
            table.name, columns=names, records=map(itemgetter(*names), rows)
        )
    await _settle(connection)
    await connection.close()


@contextmanager
def _port(setting: Setting, url: str) -> Iterator[Any]:
    """Give a connection to the port's tables, filled."""
    connection = setting.run(_connect(url))
    try:
        setting.run(_copy(connection))
        yield connection
    finally:
        setting.run(connection.close())


async def _copy(connection: Any) -> None:
    await connection.execute(f"CREATE SCHEMA {PORT_SCHEMA}")
    await connection.execute(f"SET search_path = {PORT_SCHEMA}")
    await connection.execute(copy_script(source="public", usage=USAGE))
    await _settle(connection)


async def _settle(connection: Any) -> None:
    """Do what autovacuum does soon after so many rows came in."""
    await connection.execute("VACUUM (ANALYZE)")


async def _connect(url: str) -> Any:
    import asyncpg

    return await asyncpg.connect(url)
