"""The command that closes what crashed runtimes left open."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    bindparam,
    literal,
    literal_column,
    select,
)

from turnstore.engine.commands import Command, Outcome
from turnstore.records import RecoveryReport
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.dialects import Now
from turnstore.sql.schema import session_heads, session_leases, sessions
from turnstore.store.heads import lock_heads
from turnstore.store.sessions.filters import CompiledFilter
from turnstore.store.sessions.leases.writes import IS_FREE, drop_free_leases
from turnstore.store.sessions.listing import every_match
from turnstore.store.sessions.writes import UpdateSession
from turnstore.store.tool_calls.writes import InterruptToolCalls


class Recover(Command[RecoveryReport], frozen=True):
    """Closes the sessions and tool calls that are open, of sessions without a holder.

    Its sessions are not known in advance, so it locks heads itself, after its batch's.
    That can deadlock with another lane; the database then aborts one and the batch is
    retried.
    """

    wanted: CompiledFilter
    idle_us: int

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Recover]) -> list[Outcome]:
        return [_recover(connection, each) for each in commands]


def _recover(connection: Connection, command: Recover) -> RecoveryReport:
    found = {
        **_open(connection, _WITH_CALLS, command),
        **_open(connection, _RUNNING, command),
    }
    if not found:
        return RecoveryReport(sessions=[], tool_calls=[])
    # Others may have written, or taken a lease, until the locks are there: what decides
    # is read after, of these sessions alone.
    lock_heads(connection, list(found.values()))
    # A lease that is renewed meanwhile is waited for; a later renewal finds none.
    drop_free_leases(connection, found.keys())
    with_calls = [
        InterruptToolCalls(name, 0)
        for name in _open(connection, _WITH_CALLS, command, found).values()
    ]
    running = [
        UpdateSession(name, 0, {"status": "interrupted"})
        for name in _open(connection, _RUNNING, command, found).values()
    ]
    calls = InterruptToolCalls.apply(connection, with_calls) if with_calls else []
    closed = UpdateSession.apply(connection, running) if running else []
    return RecoveryReport(
        sessions=closed, tool_calls=[call for each in calls for call in each]
    )


def _open(
    connection: Connection,
    statement: Select[Any],
    command: Recover,
    among: Collection[int] | None = None,
) -> dict[int, str]:
    """Return the sessions that the statement finds and the command means, ids by key,
    the oldest first.

    :param among: keys of these alone.
    """
    values = dict(command.wanted.values)
    if command.wanted.conditions:
        matches = every_match(connection, command.wanted)
        statement = statement.where(_KEY.in_(select(matches.c.session_key)))
    if command.idle_us:
        latest = Now() - literal(command.idle_us, BigInteger)
        statement = statement.where(session_heads.c.updated_at <= latest)
    if among is not None:
        statement = statement.where(is_in(_KEY, bindparam("among")))
        values["among"] = codec.array(among)
    rows = connection.execute(statement, values)
    return {row.session_key: row.id for row in rows}


_KEY: Final = sessions.c.session_key
_IDS: Final = (
    select(_KEY, sessions.c.id)
    .join(session_heads, session_heads.c.session_key == _KEY)
    .where(
        ~select(session_leases.c.token)
        .where(session_leases.c.session_key == _KEY, ~IS_FREE)
        .exists()
    )
    .order_by(_KEY)
)
_WITH_CALLS: Final = _IDS.where(
    # As in the partial index.
    session_heads.c.pending_tool_calls > literal_column("0"),
    sessions.c.status != "waiting_for_user_input",
)
_RUNNING: Final = _IDS.where(sessions.c.status == "running")
