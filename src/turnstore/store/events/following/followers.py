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
from typing import Any, Final

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command, Outcome, Published
from turnstore.errors import OutcomeUnknown, StoreClosed, StoreError
from turnstore.options import MIB, StoreOptions
from turnstore.records import Event
from turnstore.store.events.following import reads
from turnstore.store.events.following.subscription import Subscription

PASSED_ON_BYTES: Final = MIB
"""The most JSON of a batch that is decoded in the event loop."""


class Followers:
    """The followers of one store. While there are none, a commit costs nothing more."""

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self.backend = backend
        self._poll_interval_s = options.poll_interval_s
        # Of each the sessions that it follows.
        self._known: dict[weakref.ref[Subscription], list[str]] = {}
        self._by_session: dict[str, set[weakref.ref[Subscription]]] = {}
        self._of_all: set[weakref.ref[Subscription]] = set()
        # Put here by the garbage collector, which may run on any thread.
        self._dropped: list[weakref.ref[Subscription]] = []
        # Nothing else may hold a task that only waits for an event.
        self._waiting: set[Subscription] = set()
        self._polling: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._version: Hashable = None
        self._must_poll_again = False
        self._passed_on_bytes = 0  # of the batch that was committed last

    def add(self, subscription: Subscription) -> weakref.ref[Subscription]:
        self._forget_dropped()
        ref = weakref.ref(subscription, self._dropped.append)
        self._known[ref] = subscription.session_ids
        for name in self._known[ref]:
            self._by_session.setdefault(name, set()).add(ref)
        if subscription.is_of_all:
            self._of_all.add(ref)
        self.backend.listen(self._committed, self._heard)
        if self._polling is None:
            self._set_timer()
        return ref

    def remove(self, ref: weakref.ref[Subscription]) -> None:
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
        for subscription in _alive(self._known):
            subscription.close()

    async def wait(self, subscription: Subscription, until_s: float | None) -> None:
        self._waiting.add(subscription)
        try:
            await subscription.wait(until_s)
        finally:
            self._waiting.discard(subscription)

    def _forget_dropped(self) -> None:
        while self._dropped:
            self.remove(self._dropped.pop())

    # What was committed by this store

    def _committed(
        self, commands: Sequence[Command[Any]], outcomes: Sequence[Outcome] | None
    ) -> None:
        """Pass a batch on. Without outcomes it failed, perhaps after its commit."""
        self._forget_dropped()
        self._passed_on_bytes = 0
        if outcomes is None:
            for subscription in _alive(self._known):
                subscription.look_again()
            return
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, OutcomeUnknown):
                for name in command.session_ids:
                    self.touched(name)
            elif isinstance(outcome, Published):
                outcome.publish(self)

    def appended(
        self,
        session_id: str,
        session_key: int,
        seqs: range,
        size_bytes: int,
        make: Callable[[], Sequence[Event]],
    ) -> None:
        """Pass events on. They are made once, and not at all where nobody follows.

        Making them holds the event loop up: what is beyond ``PASSED_ON_BYTES`` of a
        batch is read from the database, which does not.
        """
        events: Sequence[Event] = ()
        is_small = self._passed_on_bytes + size_bytes <= PASSED_ON_BYTES
        for subscription in self._followers_of(session_id):
            if not is_small:
                subscription.touch(session_id)
            elif subscription.expects(session_id, session_key, seqs, size_bytes):
                if not events:
                    events = make()
                    self._passed_on_bytes += size_bytes
                subscription.push(session_id, events, size_bytes)

    def touched(self, session_id: str) -> None:
        """Have who follows a session read what became of it."""
        for subscription in self._followers_of(session_id):
            subscription.touch(session_id)

    def _followers_of(self, session_id: str) -> Sequence[Subscription]:
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
        for subscription in _alive(self._of_all):
            subscription.look_again()
        if not self._by_session:
            return
        find = partial(reads.find_heads, session_ids=list(self._by_session))
        heads = await self.backend.read(find)
        for name, refs in self._by_session.items():
            for subscription in _alive(refs):
                subscription.compare(name, heads.get(name))


def _alive(refs: Iterable[weakref.ref[Subscription]]) -> list[Subscription]:
    return [subscription for ref in refs if (subscription := ref()) is not None]


def _begin_poll(ref: weakref.ref[Followers]) -> None:
    # A timer must not keep a store that was dropped.
    followers = ref()
    if followers is not None:
        followers.begin_poll()
