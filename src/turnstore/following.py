"""Following events: who is told after a commit, and how across processes.

::

    committed here, the next of its session ──▶ buffer ────────────────▶ caller
    anything else that may have happened ─────▶ behind ──page──▶ buffer ─┘

A follower keeps, of each session, the last seq that it took in, and takes in only what
comes after it. So it does not matter who tells it of what, or how often: being told
too much costs a read, and what went by unseen shows as a gap in the numbers.

Followers are told

- of commits of this store by its writer, on the event loop, with the events;
- of those of other stores by a timer, which asks for the database's version and, when
  it has changed, looks at the heads of the sessions that are followed. Where the
  database passes on that another store has committed, it does not wait for the timer.

A follower (``_follower``) reads in the task of its caller alone. What it took in is
known here by a weak reference: a follower that its caller has dropped is forgotten, and
it has nothing to give back.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from turnstore import _following_reads as reads
from turnstore._intake import Intake
from turnstore.backends.base import Backend, Command, Outcome
from turnstore.errors import OutcomeUnknown, StoreClosed, StoreError
from turnstore.options import StoreOptions
from turnstore.records import Event

R = TypeVar("R")


class Announced(Command[R], Generic[R]):
    """A command that followers are told of once it is committed."""

    def announce(self, outcome: R, followers: Followers) -> None:
        """Tell what it wrote. Called on the event loop, in the order of commits."""
        raise NotImplementedError


class Followers:
    """The followers of one store. While there are none, a commit costs nothing more."""

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self.backend = backend
        self._poll_interval_s = options.poll_interval_s
        # Of each the sessions that it follows.
        self._known: dict[weakref.ref[Intake], list[str]] = {}
        self._by_session: dict[str, set[weakref.ref[Intake]]] = {}
        self._of_all: set[weakref.ref[Intake]] = set()
        # Put here by the garbage collector, which may run on any thread.
        self._dropped: list[weakref.ref[Intake]] = []
        # Nothing else may hold a task that only waits for an event.
        self._waiting: set[Intake] = set()
        self._polling: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._version: Hashable = None
        self._must_poll_again = False

    def add(self, intake: Intake) -> weakref.ref[Intake]:
        self._forget_dropped()
        ref = weakref.ref(intake, self._dropped.append)
        self._known[ref] = intake.session_ids
        for name in self._known[ref]:
            self._by_session.setdefault(name, set()).add(ref)
        if intake.is_of_all:
            self._of_all.add(ref)
        self.backend.listen(self._committed, self._heard)
        if self._polling is None:
            self._set_timer()
        return ref

    def remove(self, ref: weakref.ref[Intake]) -> None:
        for name in self._known.pop(ref, ()):
            refs = self._by_session[name]
            refs.discard(ref)
            if not refs:
                del self._by_session[name]
        self._of_all.discard(ref)
        if not self._known:
            self.backend.listen(None)
            self._stop_polling()

    def close(self) -> None:
        """End every follower once it has given what waits in its buffer."""
        self._stop_polling()
        for intake in _alive(self._known):
            intake.close()

    async def wait(self, intake: Intake, until_s: float | None) -> None:
        self._waiting.add(intake)
        try:
            await intake.wait(until_s)
        finally:
            self._waiting.discard(intake)

    def _forget_dropped(self) -> None:
        while self._dropped:
            self.remove(self._dropped.pop())

    # What was committed by this store

    def _committed(
        self, commands: Sequence[Command[Any]], outcomes: Sequence[Outcome] | None
    ) -> None:
        """Pass a batch on. Without outcomes it failed, perhaps after its commit."""
        self._forget_dropped()
        if outcomes is None:
            for intake in _alive(self._known):
                intake.look_again()
            return
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, OutcomeUnknown):
                for name in command.session_ids:
                    self.touched(name)
            elif isinstance(command, Announced) and not isinstance(outcome, Exception):
                command.announce(outcome, self)

    def appended(
        self,
        session_id: str,
        session_key: int,
        seqs: range,
        size_bytes: int,
        make: Callable[[], Sequence[Event]],
    ) -> None:
        """Pass events on. They are made once, and not at all where nobody follows."""
        events: Sequence[Event] = ()
        for intake in self._followers_of(session_id):
            if intake.expects(session_id, session_key, seqs, size_bytes):
                events = events or make()
                intake.push(session_id, events, size_bytes)

    def touched(self, session_id: str) -> None:
        """Have who follows a session read what became of it."""
        for intake in self._followers_of(session_id):
            intake.touch(session_id)

    def _followers_of(self, session_id: str) -> Sequence[Intake]:
        refs = self._by_session.get(session_id)
        if refs is None and not self._of_all:
            return ()
        return _alive([*(refs or ()), *self._of_all])

    # What was committed by others

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._polling = loop.call_later(
            self._poll_interval_s, _begin_poll, weakref.ref(self)
        )

    def _stop_polling(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        self._polling = self._version = None

    def _heard(self) -> None:
        """Another store has committed: look now."""
        if isinstance(self._polling, asyncio.TimerHandle):
            self._polling.cancel()
            self.begin_poll()
        elif self._polling is not None:
            self._must_poll_again = True

    def begin_poll(self) -> None:
        self._must_poll_again = False
        self._polling = asyncio.ensure_future(self._poll())

    async def _poll(self) -> None:
        try:
            # Before the look: what comes after it is noticed the next time.
            version = await self.backend.data_version()
            if version is None:
                return  # nobody else can write
            if version != self._version:
                await self._look_at_heads()
                self._version = version
        except StoreClosed:
            return
        except StoreError:
            pass  # the next one looks again
        self._forget_dropped()
        if self._known:
            self._set_timer()
            if self._must_poll_again:
                self._heard()

    async def _look_at_heads(self) -> None:
        for intake in _alive(self._of_all):
            intake.look_again()
        if not self._by_session:
            return
        find = partial(reads.find_heads, session_ids=list(self._by_session))
        heads = await self.backend.read(find)
        for name, refs in self._by_session.items():
            for intake in _alive(refs):
                intake.compare(name, heads.get(name))


def _alive(refs: Iterable[weakref.ref[Intake]]) -> list[Intake]:
    return [intake for ref in refs if (intake := ref()) is not None]


def _begin_poll(ref: weakref.ref[Followers]) -> None:
    # A timer must not keep a store that was dropped.
    followers = ref()
    if followers is not None:
        followers.begin_poll()
