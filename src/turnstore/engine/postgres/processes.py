"""The server's process of a connection, and its end.

A statement whose connection was lost may still be on its way: until it has begun it
holds no lock by which anybody would see it. Once its process is told to end it will
not begin, and what has begun holds its locks until it is over.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    bindparam,
    cast,
    column,
    extract,
    func,
    select,
    table,
)


class Process(NamedTuple):
    """:param started_us: when, by its server's clock. Of two that have the same number,
    one after the other or on two servers, it tells which is which."""

    pid: int
    started_us: int


def process_of(connection: Connection) -> Process:
    """Return the process that serves this connection."""
    pid, started_us = connection.execute(_OWN).one()
    return Process(pid, started_us)


def end(connection: Connection, process: Process) -> None:
    """Tell a process of this server to end, if it is there."""
    connection.execute(_END, process._asdict())


_ACTIVITY: Final = table(
    "pg_stat_activity", column("pid", Integer), column("backend_start")
)
_MICROSECONDS: Final = extract("epoch", _ACTIVITY.c.backend_start) * 1_000_000
_STARTED_US: Final = cast(_MICROSECONDS, BigInteger)
_OWN: Final = select(_ACTIVITY.c.pid, _STARTED_US).where(
    _ACTIVITY.c.pid == func.pg_backend_pid()
)
_END: Final = select(func.pg_terminate_backend(_ACTIVITY.c.pid)).where(
    _ACTIVITY.c.pid == bindparam("pid"), bindparam("started_us") == _STARTED_US
)
