"""Several commands as one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from typing import Any

from sqlalchemy import Connection

from turnstore.engine.commands import (
    Audience,
    Command,
    Outcome,
    Published,
    apply_together,
    forget,
)
from turnstore.store.sessions.leases.writes import lost_leases


class Turn(Command[list[Any]], frozen=True):
    """Applies commands of several rooms, all or none; the result lists theirs.

    The outcome is the first command's error that has one, and nothing was written
    then. One turn shares its commit with others but not its fate.

    :param token: of a lease that has to be held, or nothing is written.
    """

    commands: Sequence[Command[Any]]
    token: int | None = None

    @property
    def session_ids(self) -> Collection[str]:
        return {self.session_id}.union(*(each.session_ids for each in self.commands))

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Turn]) -> list[Outcome]:
        fenced = {
            each.token: each.session_id for each in commands if each.token is not None
        }
        # Once for all turns: until the commit nobody else can take a lease that is held
        # now, as the sessions are locked.
        lost = lost_leases(connection, fenced) if fenced else {}
        if not lost:
            return _apply(connection, commands)
        held = [each for each in commands if each.token not in lost]
        outcomes = iter(_apply(connection, held) if held else ())
        return [
            # Raising adds to an error's traceback: one of its own for each caller.
            next(outcomes)
            if each.token is None or each.token not in lost
            else copy(lost[each.token])
            for each in commands
        ]


def _apply(connection: Connection, commands: Sequence[Turn]) -> list[Outcome]:
    """Apply the commands of all turns together; where one fails, each half of the turns
    by itself, until those that fail stand alone."""
    connection.exec_driver_sql("SAVEPOINT turns")
    together: list[Command[Any]] = [each for turn in commands for each in turn.commands]
    applied: list[Outcome] = []
    if together:  # a turn may be nothing but the check of its lease
        applied = apply_together(connection, together)
    found = iter(applied)
    outcomes = [[next(found) for _ in turn.commands] for turn in commands]
    failed = next(
        (each for turn in outcomes for each in turn if isinstance(each, Exception)),
        None,
    )
    if failed is not None:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT turns")
        forget(connection)
    connection.exec_driver_sql("RELEASE SAVEPOINT turns")
    if failed is None:
        return [_together(turn) for turn in outcomes]
    if len(commands) == 1:
        return [failed]
    half = len(commands) // 2
    return [
        *_apply(connection, commands[:half]),
        *_apply(connection, commands[half:]),
    ]


class _PublishedTurn(Published[list[Any]], frozen=True):
    parts: Sequence[Published[Any]]

    def publish(self, audience: Audience) -> None:
        for part in self.parts:
            part.publish(audience)


def _together(outcomes: list[Outcome]) -> Outcome:
    """Return the outcome of a turn whose commands had these, none of them an error."""
    parts = [each for each in outcomes if isinstance(each, Published)]
    results = [
        each.result if isinstance(each, Published) else each for each in outcomes
    ]
    return _PublishedTurn(results, parts) if parts else results
