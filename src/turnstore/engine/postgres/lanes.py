"""Writing lanes: each one connection with its queue and group commit.

Critical section of a batch, from BEGIN to COMMIT: the heads of all its sessions are
locked first, in the order of their keys. So what the commands read of these sessions
is true until they are committed, and no two batches wait for each other's heads. A
batch of one kind that locks as it reads is spared the extra step.

Several commands of one kind that can do so (``Command.single_statement``) are one
statement instead, on a connection that has just answered. It is its own transaction:
locks, rows and commit.

A commit whose answer is lost may have happened or not. Commands that find out by
themselves (``Command.after_lost_commit``) are then applied again, which writes nothing
where they were committed. The others get ``OutcomeUnknown``, once their heads could be
locked or time was up: a head that is read while the server still commits does not show
that commit. A lost single-statement commit may not have started and so hold no lock. We
terminate its server process first; where ``pg_stat_activity`` is hidden we do not use
single statements.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from turnstore.engine.backend import LockSessions
from turnstore.engine.cancellation import mark_seen
from turnstore.engine.commands import (
    Command,
    Outcome,
    apply_each_in_savepoint,
    apply_together,
    is_fatal,
)
from turnstore.engine.postgres.backoff import Backoff
from turnstore.engine.postgres.connections import (
    Connector,
    PostgresConnection,
    write_text,
)
from turnstore.engine.postgres.errors import (
    is_conflict,
    is_lost,
    is_unanswered,
    translate,
)
from turnstore.engine.postgres.processes import Process, end, process_of
from turnstore.engine.writer import Batch, Done, Writer
from turnstore.errors import BackendError, OutcomeUnknown, StoreError
from turnstore.options import StoreOptions

LOG: Final = logging.getLogger("turnstore")

FRESH_S: Final = 1.0
"""How long ago a connection has to have answered, to be taken for alive."""


class _CommitLost(Exception):
    """The connection was lost during the commit, which may have happened.

    :param outcomes: that it was to make true; None each where they are not known.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


class _Probe(Command[None], frozen=True):
    """Writes nothing for a command whose commit was lost. Once the heads are locked
    that has ended, and who reads them learns whether it was written."""

    ids: Collection[str]

    @property
    def session_ids(self) -> Collection[str]:
        return self.ids

    @staticmethod
    def apply(connection: Connection, commands: Sequence[_Probe]) -> list[Outcome]:
        return [None] * len(commands)


class Lane:
    """
    :param settings: what a transaction is set to, by name.
    :param is_plain: whether a statement by itself is a transaction that is read
        committed and may write.
    :param lock: locks the heads of sessions, by id, in the order of their keys.
    :param committed: called after each commit.
    """

    def __init__(
        self,
        connector: Connector,
        settings: Mapping[str, str],
        is_plain: bool,
        lock: LockSessions,
        committed: Callable[[], None],
        options: StoreOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._begin = write_text(settings)
        self._is_plain = is_plain
        self._lock = lock
        self._committed = committed
        self._options = options
        self._loop = loop
        self._connection: PostgresConnection | None = None
        self._connecting: asyncio.Task[PostgresConnection] | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered_s = -math.inf
        self._process: Process | None = None  # that serves the connection
        self._unanswered: Process | None = None  # whose answer was lost
        self._is_late = False
        self.writer = Writer(self._start, options, loop)

    async def close(self, timeout_s: float) -> None:
        """Commit what is queued; what is under way when time is up is cut off."""
        until_s = self._loop.time() + timeout_s
        await self.writer.close(timeout_s)
        if self._task is not None:
            left_s = max(0.0, until_s - self._loop.time())
            await asyncio.wait([self._task], timeout=left_s)
            self._is_late = True
            if not self._task.done() and self._connection is not None:
                self._connection.driver.terminate()
            if self._connecting is not None:
                self._connecting.cancel()
            await _settle(self._task)
        if self._connection is not None:
            await self._connection.close()

    def _start(self, batch: Batch, done: Done) -> None:
        # The writer starts the next batch after ``done``: one task at a time uses the
        # connection.
        self._task = self._loop.create_task(self._commit(batch.begin(), done))

    async def _commit(self, commands: list[Command[Any]], done: Done) -> None:
        try:
            outcomes = await self._commit_batch(commands)
        except BaseException as error:
            done([], error)
        else:
            done(outcomes, None)

    async def _commit_batch(self, commands: list[Command[Any]]) -> list[Outcome]:
        """Commit a batch, again where nothing of it was acknowledged."""
        lost: Exception | None = None  # the last commit whose answer was lost
        retries = Backoff(self._options.busy_timeout_s, self._loop)
        while True:
            try:
                outcomes = await self._try(commands)
            except _CommitLost as error:
                lost = error
                # Applied on a new connection, where locking the heads waits for a
                # commit that is still under way. What is read then shows whether it
                # happened.
                commands = [
                    _after_lost_commit(command, outcome)
                    for command, outcome in zip(commands, error.outcomes, strict=True)
                ]
                if self._is_late or not await retries.wait():
                    break
            except Exception as error:
                may_pass = is_lost(error) or is_conflict(error)
                if may_pass and not self._is_late and await retries.wait():
                    continue
                if lost is not None:
                    break  # an earlier commit may have happened: not a plain failure
                translated = translate(error)
                raise translated from translated.__cause__
            else:
                if lost is None:
                    return outcomes
                return self._after_loss(lost, commands, outcomes)
        return self._after_loss(lost, commands, [_unknown(lost) for _ in commands])

    def _after_loss(
        self, lost: Exception, commands: list[Command[Any]], outcomes: list[Outcome]
    ) -> list[Outcome]:
        # The commit may have happened after its answer was lost: tell it again to who
        # has been told of it then.
        self._connector.committed()
        self._committed()
        return [
            _unknown(lost) if isinstance(command, _Probe) else outcome
            for command, outcome in zip(commands, outcomes, strict=True)
        ]

    async def _try(self, commands: list[Command[Any]]) -> list[Outcome]:
        connection = await self._connected()
        outcomes = await self._try_single_statement(connection, commands)
        if outcomes is not None:
            return outcomes
        try:
            # Up to here and until COMMIT is sent, an error means: nothing was written.
            await connection.begin(self._begin)
            outcomes = await self._apply(connection, commands)
            if all(isinstance(each, _Probe) for each in commands):
                # A commit might wait for a standby that is away.
                await connection.roll_back()
                return outcomes
        except BaseException as error:
            await self._undo(connection, error)
            raise
        try:
            is_committed = await connection.commit()
        except BaseException as error:
            # The server may still commit on this connection, and keeps its locks so
            # long. Nothing more is sent on it.
            await self._drop()
            if is_lost(error) or not isinstance(error, Exception):
                raise _CommitLost(outcomes) from error
            raise
        if not is_committed:
            connection.forget()
            raise BackendError("the server rolled the transaction back")
        self._answered_s = self._loop.time()
        self._committed()
        return outcomes

    async def _try_single_statement(
        self, connection: PostgresConnection, commands: list[Command[Any]]
    ) -> list[Outcome] | None:
        """Commit a batch by one statement; None: it takes several, and nothing was
        written."""
        kind = type(commands[0])
        if (
            kind.single_statement is None
            or any(type(each) is not kind for each in commands)
            # Of several statements only COMMIT can leave an outcome unknown: better for
            # a command alone, whose time is the disk's anyway, and for a connection
            # that may be dead.
            or len(commands) == 1
            or self._loop.time() - self._answered_s > FRESH_S
            or self._process is None  # nobody could end it
            or not self._is_plain
        ):
            return None
        work = partial(
            kind.single_statement, commands=commands, settings=self._settings
        )
        try:
            outcomes = await connection.commit_single_statement(work)
        except BaseException as error:
            if not isinstance(error, Exception) or is_unanswered(error):
                self._unanswered = self._process
                await self._drop()
                raise _CommitLost([None] * len(commands)) from error
            if is_lost(error):
                await self._drop()
            elif not is_conflict(error) and not is_fatal(translate(error)):
                return None  # one command fails for all: savepoints will find it
            raise
        if outcomes is not None:
            self._answered_s = self._loop.time()
            self._committed()
        return outcomes

    async def _connected(self) -> PostgresConnection:
        if self._connection is not None and self._connection.is_closed:
            await self._drop()
        if self._connection is None:
            connection = await self._connect()
            try:
                await self._introduce(connection)
            except BaseException:
                await connection.discard()
                raise
            self._connection = connection
        return self._connection

    async def _introduce(self, connection: PostgresConnection) -> None:
        """Learn what serves a connection, once what is left of the one before it can
        no longer begin."""
        self._process = None
        if self._connector.is_pooled:
            return  # it is another one each time
        try:
            if self._unanswered is not None:
                await connection.run(partial(end, process=self._unanswered))
                self._unanswered = None
            self._process = await connection.run(process_of)
        except Exception as error:
            if is_lost(error):
                raise
            # Processes are not shown to this user.

    async def _connect(self) -> PostgresConnection:
        """:raises ConnectionError: the time that closing gives is up."""
        if not self._is_late:
            self._connecting = self._loop.create_task(self._connector.connect())
            try:
                return await self._connecting
            except asyncio.CancelledError:
                if not self._is_late:
                    raise
            finally:
                self._connecting = None
        raise ConnectionError("the store was closed")

    async def _apply(
        self, connection: PostgresConnection, commands: list[Command[Any]]
    ) -> list[Outcome]:
        try:
            return await connection.run(partial(_together, self._lock, commands))
        except Exception as error:
            if is_lost(error) or is_conflict(error):
                raise
            translated = translate(error)
            if is_fatal(translated):
                raise
            if not isinstance(translated, StoreError):
                LOG.warning("a batch failed, its commands run apart", exc_info=error)
        # One command failed for all: savepoints find it. In a new transaction, as this
        # one is void, and locking anew, as its locks are gone.
        await connection.roll_back()
        await connection.begin(self._begin)
        return await connection.run(partial(_each_in_savepoint, self._lock, commands))

    async def _undo(self, connection: PostgresConnection, error: BaseException) -> None:
        if isinstance(error, Exception) and not is_lost(error):
            try:
                await connection.roll_back()
            except Exception as other:
                LOG.warning("a batch could not be rolled back", exc_info=other)
            else:
                return
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._answered_s = -math.inf
        if connection is not None:
            await connection.discard()


def _after_lost_commit(command: Command[Any], outcome: Outcome) -> Command[Any]:
    again = command.after_lost_commit(outcome)
    return again or _Probe(command.session_id, 0, command.session_ids)


def _together(
    lock: LockSessions,
    commands: list[Command[Any]],
    connection: Connection,
) -> list[Outcome]:
    kind = type(commands[0])
    if not (kind.is_locking and all(type(each) is kind for each in commands)):
        lock(connection, _sessions(commands))
    return apply_together(connection, commands)


def _each_in_savepoint(
    lock: LockSessions,
    commands: list[Command[Any]],
    connection: Connection,
) -> list[Outcome]:
    lock(connection, _sessions(commands))
    return apply_each_in_savepoint(connection, commands, _translate_own)


def _sessions(commands: list[Command[Any]]) -> set[str]:
    return {name for each in commands for name in each.session_ids}


def _translate_own(error: Exception) -> Exception:
    """Translate a command's error; what concerns the whole batch is raised."""
    if is_lost(error) or is_conflict(error):
        raise error
    return translate(error)


def _unknown(cause: BaseException) -> OutcomeUnknown:
    error = OutcomeUnknown(
        "the connection was lost during the commit: read the head to learn whether it "
        "was written"
    )
    error.__cause__ = cause.__cause__
    return error


async def _settle(task: asyncio.Task[Any]) -> None:
    """Wait for a task, whatever becomes of it."""
    await asyncio.wait([task])
    mark_seen(task)
