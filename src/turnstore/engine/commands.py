"""What a write is, and how a batch of writes is applied to a connection.

A write is a *command*: a small immutable object that knows its session, its size and,
as a class, one function that applies any number of its kind in bulk. An *outcome* is
what that function gives for each: a result, a result that is to be published
(``Published``), or the command's own error.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterator,
    Sequence,
)
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection

from turnstore.errors import BackendError, DatabaseCorrupt
from turnstore.records import Event

R = TypeVar("R")

C = TypeVar("C", bound="Command[Any]")

DISAGREES: Final = (
    "rows do not agree with each other: `turnstore check` lists them, and mends them "
    "with --repair"
)
"""What to say of a failed constraint: the heads that commands count on do not fit the
rows."""

Outcome: TypeAlias = Any
"""A command's result, ``Published`` with it, or the exception that its caller gets."""


class Audience(Protocol):
    """Whoever wants to know what was committed, by session."""

    def appended(
        self,
        session_id: str,
        session_key: int,
        seqs: range,
        size_bytes: int,
        make: Callable[[], Sequence[Event]],
    ) -> None:
        """Take events; ``make`` builds their records, and is called only if needed."""

    def touched(self, session_id: str) -> None:
        """Read the session again: it changed in a way that is not said."""


class Published(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """The outcome of a command whose effect is published after its commit.

    ``result``: what the command's caller gets.
    """

    result: R

    def publish(self, audience: Audience) -> None:
        """Tell what was written. Called on the event loop, in the order of commits."""
        raise NotImplementedError


class Touched(Published[R], Generic[R], frozen=True):
    """A session changed, and who follows it has to read how."""

    session_id: str

    def publish(self, audience: Audience) -> None:
        audience.touched(self.session_id)


class Command(msgspec.Struct, Generic[R], frozen=True, gc=False):
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

    single_statement: ClassVar[Callable[..., list[Outcome] | None] | None] = None
    """``single_statement(connection, commands, settings)`` applies commands of this
    kind, where several write at a time, by one statement that is its own transaction.

    Returns an outcome for each, or None where it takes more: then nothing was written.
    ``settings``: what the transaction is to be set to, by name.
    """

    def after_lost_commit(self, outcome: Outcome) -> Command[R] | None:
        """Return what is applied next where the answer to a commit was lost: a command
        that has this one's effect once, whether that commit happened or not, and gives
        its result. None: there is no such command.

        :param outcome: that the commit was to make true; None where it is not known.
        """
        return None

    @property
    def session_ids(self) -> Collection[str]:
        """The sessions it touches: it keeps its place among the commands of each."""
        return (self.session_id,)


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


def apply_each_in_savepoint(
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
            forget(connection)
        connection.exec_driver_sql("RELEASE SAVEPOINT command")
        outcomes.append(outcome)
    return outcomes


def forget(connection: Connection) -> None:
    """Drop what is remembered of the database in ``connection.info``. Every rollback
    must do so: what was read before may never have been committed, and keys that it
    gave to sessions are given again to others."""
    connection.info.clear()


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
    every other command of the batch too.

    A damaged row fails the commands that read it.
    """
    if isinstance(error, DatabaseCorrupt) and error.table is not None:
        return False
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
