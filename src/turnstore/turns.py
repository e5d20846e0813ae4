"""Several commands as one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from turnstore.backends.base import Command, Outcome, stages


class Turn(Command[list[Any]]):
    """Applies commands of several rooms, all or none; the result lists theirs.

    The outcome is the first command's error that has one, and nothing was written
    then. One turn shares its commit with others but not its fate.
    """

    commands: Sequence[Command[Any]]

    @staticmethod
    def apply(connection: Connection, commands: Sequence[Turn]) -> list[Outcome]:
        return [_apply(connection, each.commands) for each in commands]


def _apply(connection: Connection, commands: Sequence[Command[Any]]) -> Outcome:
    connection.exec_driver_sql("SAVEPOINT turn")
    results: list[Outcome] = [None] * len(commands)
    failed: Exception | None = None
    for kind, places in stages(commands):
        outcomes = kind.apply(connection, [commands[at] for at in places])
        failed = next((each for each in outcomes if isinstance(each, Exception)), None)
        if failed is not None:
            # What follows may build on what failed.
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT turn")
            # Keys of sessions that were undone are given again.
            connection.info.clear()
            break
        for at, outcome in zip(places, outcomes, strict=True):
            results[at] = outcome
    connection.exec_driver_sql("RELEASE SAVEPOINT turn")
    return results if failed is None else failed
