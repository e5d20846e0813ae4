"""The one place that writes: a bounded queue and group commit.

Life of a command::

    WAITING ──room──▶ QUEUED ──batch taken──▶ TAKEN ──committed or failed──▶ DONE
       └─ queue_timeout_s: QueueFull  └──────────┴─ cancelled: withdrawn

There is no writer task. The writer is a state machine of callbacks on the event loop:
``submit`` queues and, when idle, schedules ``_dispatch`` behind what is ready to run
now, so that calls made in the same turn of the loop share a commit; ``_finish`` gives
the outcomes and dispatches again. While a batch is being committed the next one
gathers: the slower the disk, the larger the batches.

**Cancellation.** A command is withdrawn and the cancellation raised, until its batch
is begun: before, perhaps for seconds, it may wait for another process's lock. A begun
one can no longer be stopped (a cancelled commit is a committed commit), so its caller
goes on waiting. If it succeeded, the result is returned and the cancellation is raised
at the caller's next real await; if it failed, nothing was written and the cancellation
is raised now.

**What holds between two callbacks of the loop.** One batch at most is on its way, and
each entry in state TAKEN is of that batch. While a caller waits for room, the queue is
full. While a command is queued, a dispatch is scheduled, or follows the batch that is
on its way.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from enum import Enum, auto
from threading import Lock
from time import perf_counter
from typing import Any, Final, TypeVar

import msgspec

from turnstore.engine.backend import Listener
from turnstore.engine.cancellation import mark_seen, redeliver_cancellation
from turnstore.engine.commands import Command, Outcome, Published
from turnstore.engine.waiters import Waiters
from turnstore.errors import BackendError, OutcomeUnknown, QueueFull, StoreClosed
from turnstore.options import StoreOptions

R = TypeVar("R")
Done = Callable[[list[Outcome], BaseException | None], None]

SAMPLES: Final = 1_024
"""Batches that the percentiles of the statistics are taken over."""


class _State(Enum):
    WAITING = auto()
    QUEUED = auto()
    WITHDRAWN = auto()
    TAKEN = auto()
    DONE = auto()


class Entry(msgspec.Struct, eq=False):
    """A command on its way, and the future that its caller waits for.

    ``outcome``: its result or error. It is kept here as well as in the future, because
    a cancelled caller's future is lost before the caller runs again and can replace it.
    """

    command: Any
    future: asyncio.Future[Any]
    state: _State
    outcome: Outcome = None


class Batch:
    """Commands that are committed together, those that are not withdrawn before.

    ``size_bytes``: about the bytes of their payloads.
    """

    __slots__ = ("_is_begun", "_lock", "entries", "size_bytes")

    def __init__(self, entries: list[Entry], size_bytes: int) -> None:
        self.entries = entries
        self.size_bytes = size_bytes
        # A batch is begun on the thread that commits, and withdrawn from on the event
        # loop. Under the lock an entry is withdrawn either before the batch is begun,
        # so that ``begin`` leaves it out, or not at all.
        self._lock = Lock()
        self._is_begun = False

    def begin(self) -> list[Command[Any]]:
        """Return the commands; from now on none can be withdrawn."""
        with self._lock:
            self._is_begun = True
        # No state changes any more until the commit ends.
        self.entries = [each for each in self.entries if each.state is _State.TAKEN]
        return [each.command for each in self.entries]

    def withdraw(self, entry: Entry) -> bool:
        """Take an entry out; False: the batch was begun."""
        with self._lock:
            if not self._is_begun:
                entry.state = _State.WITHDRAWN
            return not self._is_begun


Commit = Callable[[Batch, Done], None]


class Writer:
    """Queues commands and has them committed in batches, one batch at a time.

    :param commit: starts the commit of a batch, which it begins; when it is done it
        calls back with an outcome for each command that was begun, or the error that
        all of them failed with.
    :param bytes_max: bounds the payload bytes of a batch, as ``batch_bytes_max`` does.
    """

    def __init__(
        self,
        commit: Commit,
        options: StoreOptions,
        loop: asyncio.AbstractEventLoop,
        bytes_max: float = math.inf,
    ) -> None:
        self._commit = commit
        self._bytes_max = min(options.batch_bytes_max, bytes_max)
        self._options = options
        self._loop = loop
        self._queue: deque[Entry] = deque()
        self._queued_max = options.queue_commands_max
        self._queued = 0  # entries of the queue that were not withdrawn
        # Callers beyond queue_commands_max.
        self._waiting: Waiters[Entry] = Waiters(
            options.queue_timeout_s, self._refuse, loop
        )
        self._batch: Batch | None = None
        self._began_s = 0.0
        self._scheduled = False
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        self.listener: Listener | None = None
        self.batches = 0
        self.commands = 0
        self.batch_sizes: deque[int] = deque(maxlen=SAMPLES)
        self.commit_times_s: deque[float] = deque(maxlen=SAMPLES)

    @property
    def depth(self) -> int:
        """Commands that wait to be taken."""
        return self._queued + len(self._waiting)

    @property
    def idle(self) -> bool:
        return self._batch is None and not self.depth

    async def write(self, command: Command[R]) -> R:
        """Queue a command and wait for its outcome."""
        entry = self.submit(command)
        try:
            result: R = await entry.future
        except asyncio.CancelledError as cancellation:
            result = await self.cancelled(entry, cancellation)
        return result

    def submit(self, command: Command[Any]) -> Entry:
        """Queue a command. The ``future`` of its entry gets the outcome."""
        if self._closing:
            raise StoreClosed("the store is closing: nothing was written")
        future = self._loop.create_future()
        if self._queued < self._queued_max:
            entry = Entry(command, future, _State.QUEUED)
            self._queue.append(entry)
            self._queued += 1
            self._wake()
        else:
            entry = Entry(command, future, _State.WAITING)
            self._waiting.add(entry)
        return entry

    def _refuse(self, entry: Entry) -> None:
        waited_s = self._options.queue_timeout_s
        self._settle(
            entry,
            QueueFull(
                f"the write queue stayed full ({self._queued} commands) for "
                f"{waited_s:g} s: slow down, or raise queue_commands_max"
            ),
        )

    async def cancelled(
        self, entry: Entry, cancellation: asyncio.CancelledError
    ) -> Any:
        """Withdraw the entry if it still can be, else wait for its outcome."""
        if entry.state in (_State.WAITING, _State.QUEUED):
            if entry.state is _State.WAITING:
                self._waiting.remove(entry)
            else:
                # It stays in the queue until it is passed by: looking for it would
                # cost more the more callers are cancelled together.
                self._queued -= 1
            entry.state = _State.WITHDRAWN
            entry.command = None  # and with it the payload
            self._admit()
            raise cancellation
        if entry.state is _State.TAKEN and self._batch is not None:
            if self._batch.withdraw(entry):
                raise cancellation
        while entry.state is not _State.DONE:
            # Some libraries cancel again at every turn of the loop until they are
            # obeyed. The first cancellation is the one that is raised later.
            entry.future = self._loop.create_future()
            try:
                await entry.future
            except asyncio.CancelledError:
                continue
            except Exception:
                break
        mark_seen(entry.future)
        outcome = entry.outcome
        is_error = isinstance(outcome, BaseException)
        if is_error and not isinstance(outcome, OutcomeUnknown):
            raise cancellation
        redeliver_cancellation(cancellation)
        if is_error:
            raise outcome
        return outcome

    def _wake(self) -> None:
        # Not dispatched here: what is ready to run now may write too, and joins.
        if not self._scheduled and self._batch is None:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._batch is not None:
            return
        taken, size_bytes = self._take()
        if taken:
            # Set before the commit starts, which may call ``_finish``.
            self._batch = Batch(taken, size_bytes)
            self._began_s = perf_counter()
            self._commit(self._batch, self._finish)
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _take(self) -> tuple[list[Entry], int]:
        """Take a batch, bounded in commands, and in bytes beyond the first one; return
        its bytes too."""
        batch: list[Entry] = []
        queue = self._queue
        commands_max = self._options.batch_commands_max
        bytes_max = self._bytes_max
        queued = _State.QUEUED
        size_bytes = 0
        while queue and len(batch) < commands_max:
            entry = queue[0]
            if entry.state is queued:
                with_it = size_bytes + entry.command.size_bytes
                if with_it > bytes_max and batch:
                    break
                size_bytes = with_it
                entry.state = _State.TAKEN
                batch.append(entry)
            queue.popleft()
        self._queued -= len(batch)
        self._admit()
        return batch, size_bytes

    def _admit(self) -> None:
        """Let waiting callers into the queue, first come first served."""
        while self._waiting and self._queued < self._queued_max:
            entry = self._waiting.pop()
            entry.state = _State.QUEUED
            self._queue.append(entry)
            self._queued += 1
        if self._queued:
            self._wake()

    def _finish(self, outcomes: list[Outcome], error: BaseException | None) -> None:
        assert self._batch is not None
        batch, self._batch = self._batch.entries, None
        self.batches += 1
        self.commands += len(batch)
        self.batch_sizes.append(len(batch))
        self.commit_times_s.append(perf_counter() - self._began_s)
        # In this order: the callers wake, the next batch is taken behind them, so that
        # their next writes join it, and whoever listens holds up neither.
        if error is not None:
            for entry in batch:
                if entry.state is _State.TAKEN:  # withdrawn ones, if it was not begun
                    self._settle(entry, _own(error))
        else:
            # As ``_settle`` does, which would cost each append a call more.
            done = _State.DONE
            for entry, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Published):
                    outcome = outcome.result
                entry.state = done
                entry.outcome = outcome
                future = entry.future
                if not future.done():
                    if isinstance(outcome, BaseException):
                        future.set_exception(outcome)
                    else:
                        future.set_result(outcome)
        self._scheduled = True
        self._loop.call_soon(self._dispatch)
        if self.listener is not None:
            commands = [entry.command for entry in batch]
            self.listener(commands, None if error is not None else outcomes)

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        entry.state = _State.DONE
        entry.outcome = outcome
        future = entry.future
        if future.done():  # cancelled: its caller takes the outcome from the entry
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def close(self, timeout_s: float) -> None:
        """Refuse new commands, commit the queued ones, give up on what is late."""
        self._closing = True
        if not self.idle:
            self._drained = self._loop.create_future()
            await asyncio.wait([self._drained], timeout=timeout_s)
        late = [each for each in self._queue if each.state is _State.QUEUED]
        self._queue.clear()
        self._queued = 0
        while self._waiting:
            late.append(self._waiting.pop())
        for entry in late:
            error = StoreClosed("the store closed first: nothing was written")
            self._settle(entry, error)


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which ``share`` of them lie, 0 when there are none."""
    if not samples:
        return 0
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _own(error: BaseException) -> BaseException:
    """Return an error of one's own for each caller: raising adds to its traceback."""
    if isinstance(error, asyncio.CancelledError):
        # Of the task that commits, not of the caller's. A future that fails with it
        # would look as if the caller were cancelled.
        return StoreClosed(
            "the event loop ended while the store was open: nothing was written"
        )
    if not isinstance(error, BackendError):
        return error
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied
