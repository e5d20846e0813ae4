"""The seam: what the rest of the house asks of an engine, without a word of tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import (
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Sequence,
)
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from turnstore.engine.commands import Command, Outcome, R
from turnstore.records import StoreStatistics

T = TypeVar("T")


Listener: TypeAlias = Callable[[Sequence[Command[Any]], Sequence[Outcome] | None], None]
"""Called with a batch and its outcomes; None where it failed, and perhaps only after
its commit."""


Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total."""


Prepare: TypeAlias = Callable[[Connection], None]
"""Brings a database up to date, or raises."""
IsReady: TypeAlias = Callable[[Connection], bool]
LockSessions: TypeAlias = Callable[[Connection, Collection[str]], None]
"""Locks sessions, by id, until the transaction ends; where several write at a time."""


def is_not_ready(_: Connection) -> bool:
    return False


class Backend(ABC):
    """Connections to one database. Belongs to the event loop that opened it."""

    @abstractmethod
    async def open(self, prepare: Prepare, is_ready: IsReady = is_not_ready) -> None:
        """Connect and run ``prepare`` in a transaction that excludes other writers.

        :param is_ready: tells that it has nothing to do: then a backend may save
            itself the wait for the others.
        """

    def check_process(self) -> None:  # noqa: B027 - most engines open in any process
        """:raises StoreError: no store can be opened in this process."""

    @abstractmethod
    async def close(self) -> None:
        """Finish queued writes within ``close_timeout_s``, then disconnect."""

    @abstractmethod
    def read(
        self, work: Callable[[Connection], T], *, snapshot: bool = False
    ) -> Coroutine[Any, Any, T]:
        """Run ``work`` in one hop. Cancelling abandons it.

        :param snapshot: all its statements see the same state. A single statement does
            so by itself; beginning and ending cost two more turns at the GIL.
        """

    async def read_single_statement(
        self,
        single_statement: Callable[[Connection], T | None],
        snapshot: Callable[[Connection], T],
    ) -> T:
        """Read by one statement, which needs no transaction. If that returns None, read
        by several statements in one snapshot."""
        found = await self.read(single_statement)
        if found is None:
            found = await self.read(snapshot, snapshot=True)
        return found

    @abstractmethod
    def write(self, command: Command[R]) -> Coroutine[Any, Any, R]:
        """Commit ``command`` with what else is waiting; return its result.

        Raises a cancellation only where nothing was written.
        """

    @abstractmethod
    def listen(
        self, listener: Listener | None, heard: Callable[[], None] | None = None
    ) -> None:
        """Have a function called on the loop after each batch, in order of commits,
        when its callers have their outcomes and the next batch is on its way.

        :param heard: called when another store says that it has committed, where the
            database passes that on. A call may be missing, or one too many.
        """

    @abstractmethod
    async def data_version(self) -> Hashable:
        """Return what differs once another store has committed; None where no other
        can."""

    @abstractmethod
    def statistics(self) -> StoreStatistics: ...

    @abstractmethod
    async def backup(self, path: Path, on_progress: Progress | None = None) -> None:
        """Write a copy of the database, as it is at one moment, to a new file."""

    @abstractmethod
    async def checkpoint(self) -> bool:
        """Empty what is kept beside the database into it; tell whether all was."""

    @abstractmethod
    async def check(self) -> list[str]:
        """Return the problems of the database itself, one text for each."""

    async def repair(self) -> list[str]:
        """Mend what can be mended of the database itself; return what is left."""
        return await self.check()

    @abstractmethod
    async def reclaim(self) -> None:
        """Give free pages back to the file system, a few between two batches.

        A cancellation leaves those given back so far.
        """
