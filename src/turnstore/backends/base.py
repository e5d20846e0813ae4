"""What a backend offers, and how a batch of writes is applied to a connection.

A write is a *command*: a small object that knows its session, its size and, as a
class, one function that applies any number of its kind in bulk. An *outcome* is what
a command gets: its result, or its own error.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Iterator,
    Sequence,
)
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection

from turnstore.errors import BackendError
from turnstore.records import StoreStatistics

R = TypeVar("R")
T = TypeVar("T")

C = TypeVar("C", bound="Command[Any]")

Outcome: TypeAlias = Any
"""A command's result, or the exception that its caller gets."""


class Command(msgspec.Struct, Generic[R], gc=False):
    """One write, to be committed together with others.

    ``session_id``: writes to one session keep their order. ``size_bytes``: about the
    bytes of its payloads.
    """

    session_id: str
    size_bytes: int

    def __repr__(self) -> str:
        # aiosqlite logs what it runs; what a command writes is the store's alone.
        kind = type(self).__name__
        return f"{kind}({self.session_id!r}, {self.size_bytes} bytes)"

    apply: ClassVar[Callable[..., list[Outcome]]]
    """``apply(connection, commands)`` applies commands of this kind, in order, inside
    the caller's transaction.

    Returns an outcome for each. A command whose outcome is an error has written
    nothing; raising means that all of them failed and the transaction is void.
    """

    is_locking: ClassVar[bool] = False
    """Whether ``apply`` begins by locking all its sessions, in the order of their keys,
    where several write at a time."""

    at_once: ClassVar[Callable[..., list[Outcome] | None] | None] = None
    """``at_once(connection, commands, settings)`` applies commands of this kind, where
    several write at a time, by one statement that is a transaction by itself.

    Returns an outcome for each, or None where it takes more: then nothing was written.
    ``settings``: what the transaction is to be set to, by name.
    """

    @property
    def is_repeatable(self) -> bool:
        """Whether applying it again, when it may have been committed or not, has its
        effect once and gives the outcome that it had."""
        return False

    @property
    def session_ids(self) -> Collection[str]:
        """The sessions it touches: it keeps its place among the commands of each."""
        return (self.session_id,)


Listener: TypeAlias = Callable[[Sequence[Command[Any]], Sequence[Outcome] | None], None]
"""Called with a batch and its outcomes; None where it failed, and perhaps only after
its commit."""


Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total."""


Prepare: TypeAlias = Callable[[Connection], None]
"""Brings a database up to date, or raises."""
IsReady: TypeAlias = Callable[[Connection], bool]


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

    async def read_at_once(
        self,
        at_once: Callable[[Connection], T | None],
        in_steps: Callable[[Connection], T],
    ) -> T:
        """Read by one statement where that is enough, which needs no transaction;
        where ``at_once`` gives None, in steps within a snapshot."""
        found = await self.read(at_once)
        if found is None:
            found = await self.read(in_steps, snapshot=True)
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
        """Return what is wrong with the database itself, a problem a line."""

    @abstractmethod
    async def reclaim(self) -> None:
        """Give free pages back to the file system in steps between batches.

        A cancellation leaves those given back so far.
        """


async def see_through(work: Awaitable[T]) -> T:
    """Run ``work`` to its end whatever cancels the caller, then raise that.

    Some libraries cancel again at every turn of the loop until they are obeyed; the
    first cancellation is the one that is raised.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = cancellation or error
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # seen, so that asyncio does not report it
    raise cancellation


def hand_on(cancellation: asyncio.CancelledError) -> None:
    """Have the next await of the running task raise a cancellation that came too late
    for the call that met it, whose work is done."""
    task = asyncio.current_task()
    assert task is not None, "a cancellation reaches only a task"
    # Behind what is ready now, and so not before the caller waits for something: were
    # it set on the running task, a caller that leaves its timeout block without
    # waiting would meet a stray cancellation outside of it.
    task.get_loop().call_soon(_cancel_again, task, cancellation)


def _cancel_again(
    task: asyncio.Task[Any], cancellation: asyncio.CancelledError
) -> None:
    """Cancel a task with the message it was cancelled with.

    The count of requests stays as it was. If it has fallen to zero, whoever asked
    (a timeout block, say) has been left and no longer wants the cancellation.
    """
    if not task.done() and task.cancelling():
        task.uncancel()
        task.cancel(*cancellation.args)


def apply_together(
    connection: Connection, commands: Sequence[Command[Any]]
) -> list[Outcome]:
    """Apply commands in bulk, each kind with one call where order allows.

    Commands of different sessions may change places, those of one session may not:
    a command joins the first stage of its kind that is not before a stage of one of
    its sessions, and opens a new stage where there is none.
    """
    first = type(commands[0])
    if all(type(command) is first for command in commands):
        return first.apply(connection, commands)
    outcomes: list[Outcome] = [None] * len(commands)
    for kind, places in stages(commands):
        results = kind.apply(connection, [commands[at] for at in places])
        for at, outcome in zip(places, results, strict=True):
            outcomes[at] = outcome
    return outcomes


def apply_apart(
    connection: Connection,
    commands: Sequence[Command[Any]],
    translate: Callable[[Exception], Exception],
) -> list[Outcome]:
    """Apply commands one by one, each in a savepoint, so that a bad one fails alone.

    :raises BackendError: the connection or the disk failed, not the command; the
        transaction is void.
    """
    outcomes: list[Outcome] = []
    for command in commands:
        connection.exec_driver_sql("SAVEPOINT command")
        try:
            [outcome] = type(command).apply(connection, [command])
        except Exception as error:
            outcome = translate(error)
            if is_fatal(outcome):
                raise outcome from outcome.__cause__
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT command")
            # What was read since may never have been committed.
            connection.info.clear()
        connection.exec_driver_sql("RELEASE SAVEPOINT command")
        outcomes.append(outcome)
    return outcomes


def runs(commands: Sequence[C], place: Callable[[C], Hashable]) -> Iterator[list[C]]:
    """Split updates so that none meets another of the same place in its run: each must
    see what the one before has made of it."""
    run: list[C] = []
    seen: set[Hashable] = set()
    for command in commands:
        if place(command) in seen:
            yield run
            run, seen = [], set()
        run.append(command)
        seen.add(place(command))
    if run:
        yield run


def is_fatal(error: Exception) -> bool:
    """Tell a failure of the database from one of a single command: it would meet
    every other command of the batch too."""
    return isinstance(error, BackendError) and type(error) is not BackendError


def stages(
    commands: Sequence[Command[Any]],
) -> list[tuple[type[Command[Any]], list[int]]]:
    """Return which commands, by place, can be applied in one call, in order."""
    found: list[tuple[type[Command[Any]], list[int]]] = []
    of_kind: dict[type[Command[Any]], list[int]] = {}
    reached: dict[str, int] = {}
    for at, command in enumerate(commands):
        kind = type(command)
        touched = command.session_ids
        first = 0
        for each in touched:
            first = max(first, reached.get(each, 0))
        own = of_kind.setdefault(kind, [])
        place = bisect_left(own, first)
        if place == len(own):
            own.append(len(found))
            found.append((kind, []))
        stage = own[place]
        found[stage][1].append(at)
        for each in touched:
            reached[each] = stage
    return found
