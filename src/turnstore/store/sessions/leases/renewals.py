"""Renewing the leases that a store holds.

There is one timer and at most one write on its way, however many leases: what is due
at about the same time is renewed by one command. No lease has a task of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Collection
from typing import Final

from turnstore.engine.backend import Backend
from turnstore.errors import StoreError
from turnstore.store.sessions.leases.writes import RenewLeases

RENEWED_PER_TTL: Final = 3
TRIES_PER_INTERVAL: Final = 3
"""How often a renewal that failed is tried again within the time of one."""
EARLY: Final = 0.1
"""Part of the interval by which a lease is renewed early, together with others."""
TOKEN_BYTES: Final = 8


class Term:
    """How long a lease is known to last, by the clock of the event loop."""

    def __init__(
        self, token: int, ttl_s: float, asked_s: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.token: Final = token
        self.interval_s: Final = ttl_s / RENEWED_PER_TTL
        self._ttl_s = ttl_s
        self._loop = loop
        self._has_ended = False
        self._until_s = asked_s + ttl_s
        self.due_s = asked_s + self.interval_s

    @property
    def lost(self) -> bool:
        return self._has_ended or self._loop.time() >= self._until_s

    def end(self) -> None:
        self._has_ended = True

    def extend(self, asked_s: float) -> None:
        """Take note of a renewal. One that is known to be lost stays so."""
        if not self.lost:
            self._until_s = asked_s + self._ttl_s
            self.due_s = asked_s + self.interval_s

    def postpone(self) -> None:
        self.due_s = self._loop.time() + self.interval_s / TRIES_PER_INTERVAL


class Renewals:
    """Keeps the leases of one store alive, from ``add`` to ``discard``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._terms: set[Term] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        store = secrets.token_hex(4)
        self.owner: Final = f"{socket.gethostname()} {os.getpid()} {store}"
        """What the holders of this store are called: host, process and store."""

    def add(self, term: Term) -> None:
        self._terms.add(term)
        self._wake_at(term.due_s)

    def discard(self, term: Term) -> None:
        term.end()
        self._terms.discard(term)
        if not self._terms:
            self._stop_timer()

    async def close(self) -> None:
        """Give up all leases, once the store takes no writes any more."""
        for term in self._terms:
            term.end()
        self._terms.clear()
        self._stop_timer()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, due_s: float) -> None:
        """See to it that leases are looked at by then. Where a renewal is on its way,
        its end does so."""
        if self._task is not None:
            return
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due_s, self._begin)

    def _begin(self) -> None:
        """Renew what is due, and what is about to be."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._terms = {each for each in self._terms if not each.lost}
        due = [
            each
            for each in self._terms
            if each.due_s <= now_s + EARLY * each.interval_s
        ]
        if due:
            self._task = loop.create_task(self._renew(due))
        else:
            self._wake()

    async def _renew(self, due: Collection[Term]) -> None:
        asked_s = asyncio.get_running_loop().time()
        tokens = sorted(each.token for each in due)
        try:
            held = await self._backend.write(
                RenewLeases("", TOKEN_BYTES * len(tokens), tokens)
            )
        except StoreError:
            for term in due:
                term.postpone()
        else:
            for term in due:
                if term.token in held:
                    term.extend(asked_s)
                else:
                    term.end()
        finally:
            self._task = None
            self._wake()

    def _wake(self) -> None:
        if self._terms:
            self._wake_at(min(each.due_s for each in self._terms))
