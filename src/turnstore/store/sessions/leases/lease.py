"""What a runtime holds while it runs a session."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from turnstore.engine.backend import Backend
from turnstore.engine.cancellation import run_to_completion
from turnstore.engine.loops import running_loop
from turnstore.errors import StoreError
from turnstore.store.sessions.leases.renewals import Renewals, Term
from turnstore.store.sessions.leases.writes import (
    ROW_BYTES,
    AcquireLease,
    ReleaseLease,
)

LOG: Final = logging.getLogger("turnstore")

RELEASE_S: Final = 5.0
"""Longest wait for a release, unless its commit is under way by then."""


class Lease:
    """The right to run a session. Make it with ``store.sessions.lease``.

    ``async with store.sessions.lease(session_id) as lease:`` holds the session until
    the block ends, across processes and hosts. A lease is one block, and its holder
    can't take it again meanwhile. Give it to ``store.turn(session_id, lease=lease)``:
    the turn is written only if the lease is held in the transaction that writes it.

    The lease ends ``ttl_s`` after it was last renewed, by the clock of the database (on
    SQLite that of the host). It is renewed in the background, each third of ``ttl_s``,
    as a write among the others. Where that fails until it has expired, or comes too
    late, as the process was stopped or its event loop blocked, it is lost; also where
    nobody else has taken it, and for good. The block goes on: it learns of the loss by
    ``lost``, or from its next fenced turn, which raises ``LeaseLost``. A clock that is
    put forward makes leases expire early, one that is put back makes them last up to
    twice as long; neither lets two holders write.

    Entering the block raises ``SessionNotFound``, or ``LeaseHeld`` while another one
    holds the session; nothing was written then. ``OutcomeUnknown`` may leave a lease
    that nobody has, until it expires.

    Leaving the block releases the lease, also where it is cancelled, and waits up to
    five seconds for that. Where it can't be released in time it expires: leaving the
    block raises no error of its own.
    """

    def __init__(
        self,
        backend: Backend,
        renewals: Renewals,
        session_id: str,
        ttl_us: int,
        owner: str,
    ) -> None:
        self._backend = backend
        self._renewals = renewals
        self._ttl_us = ttl_us
        self._is_used = False
        self._term: Term | None = None
        self.session_id: Final = session_id
        self.owner: Final = owner

    @property
    def ttl_s(self) -> float:
        """How long it lasts without being renewed, in seconds."""
        return self._ttl_us / 1_000_000

    @property
    def token(self) -> int:
        """A number that is greater for each later holder of the session, and is never
        given again: what another system compares to refuse an older holder. Stays
        after the block.

        :raises StoreError: the block was not entered.
        """
        if self._term is None:
            raise StoreError("a lease has a token inside its block: enter it first")
        return self._term.token

    @property
    def lost(self) -> bool:
        """Whether the lease is known not to be held: it was not renewed in time or has
        another holder, or its block has ended. Costs no I/O. It stays True.

        False is no promise: whether a turn is written is decided when it is.

        :raises StoreError: the block was not entered.
        """
        if self._term is None:
            raise StoreError("a lease is held inside its block: enter it first")
        return self._term.lost

    async def __aenter__(self) -> Self:
        if self._is_used:
            raise StoreError("a lease is one block: make another one")
        self._is_used = True
        loop = running_loop()
        # From before the database sets the time, so as not to end later than there.
        asked_s = loop.time()
        token = await self._backend.write(
            AcquireLease(self.session_id, ROW_BYTES, self.owner, self._ttl_us)
        )
        # Nothing may wait from here on: a cancellation that came during the commit
        # would end the block before it has begun, and nobody would release.
        self._term = Term(token, self.ttl_s, asked_s, loop)
        self._renewals.add(self._term)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._term is not None
        self._renewals.discard(self._term)
        await run_to_completion(self._release(self._term.token))

    async def _release(self, token: int) -> None:
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._backend.write(ReleaseLease(self.session_id, 0, token))
        except (StoreError, TimeoutError) as error:
            LOG.info("the lease of a session is left to expire", exc_info=error)
