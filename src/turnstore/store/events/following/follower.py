"""The iterator that ``events.follow`` and ``follow_all`` hand out."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

from turnstore.engine.loops import running_loop
from turnstore.errors import InvalidArgument, SessionNotFound, StoreClosed, StoreError
from turnstore.records import Event
from turnstore.sql import codec
from turnstore.store.events.following import reads as reads
from turnstore.store.events.following.followers import Followers
from turnstore.store.events.following.subscription import BUFFER_EVENTS, Subscription

IDLE_TIMEOUT_S_MAX: Final = 31_536_000


class Follower:
    """Gives events as they are committed; an asynchronous iterator.

    ``Events.follow`` says what it gives and when it ends. One task reads it at a
    time, another one gets ``StoreError``.

    :param session_ids: None for all.
    :param after: the seq to begin after, by session id; 0 where it says nothing.
    :raises InvalidArgument: a value is of the wrong type or out of bounds.
    """

    def __init__(
        self,
        followers: Followers,
        session_ids: Iterable[str] | None,
        after: Mapping[str, int],
        idle_timeout_s: float | None,
    ) -> None:
        self._followers = followers
        self._backend = followers.backend
        self._after = _check_after(after)
        self._subscription = Subscription(_check_ids(session_ids), self._after)
        self._idle_timeout_s = _check_timeout(idle_timeout_s)
        self._ref: weakref.ref[Subscription] | None = None
        self._has_begun = False
        self._is_read = False
        self._given = 0  # since the last read
        # Of all sessions: the blocks of heads to be looked at, and their digests.
        self._blocks: dict[int, None] = {}
        self._digests: dict[int, str] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._is_read:
            raise StoreError("a follower is read by one task at a time")
        self._is_read = True
        try:
            return await self._next()
        finally:
            self._is_read = False

    async def aclose(self) -> None:
        """End the iteration, also that of a task that is waiting for an event."""
        self._subscription.buffer.clear()
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _next(self) -> Event:
        loop = running_loop()
        until_s = None
        if self._idle_timeout_s is not None:
            until_s = loop.time() + self._idle_timeout_s
        subscription = self._subscription
        if self._ref is None and not subscription.is_closed:
            self._ref = self._followers.add(subscription)
        while True:
            must_read = not subscription.is_closed and (
                subscription.must_look or subscription.behind or self._blocks
            )
            # What a busy session pushes does not keep the others waiting for ever.
            if subscription.buffer and not (must_read and self._given >= BUFFER_EVENTS):
                self._given += 1
                return subscription.buffer.popleft()
            if subscription.is_closed:
                self._end()
                raise StopAsyncIteration
            if must_read:
                await self._read()
            elif until_s is not None and loop.time() >= until_s:
                self._end()
            else:
                await self._followers.wait(subscription, until_s)

    def _end(self) -> None:
        self._subscription.close()
        self._blocks.clear()
        self._leave()

    def _leave(self) -> None:
        if self._ref is not None:
            self._followers.remove(self._ref)
            self._ref = None

    async def _read(self) -> None:
        """Read one of the things that there are to read.

        It is ticked off before, so that what is told meanwhile makes it due again;
        and made due again where the read fails or is cancelled.
        """
        subscription = self._subscription
        self._given = 0
        try:
            if subscription.must_look:
                await self._look()
            elif subscription.behind:
                await self._read_page(next(iter(subscription.behind)))
            else:
                await self._look_at_block(next(iter(self._blocks)))
            self._has_begun = True
        except BaseException as error:
            if not self._has_begun:
                self._leave()
                raise
            if not isinstance(error, StoreClosed):
                raise
            self._end()

    async def _look(self) -> None:
        """Look whose events there are to read."""
        subscription = self._subscription
        subscription.must_look = False
        try:
            if not self._has_begun:
                await self._check_begin()
            if subscription.is_of_all:
                self._compare_digests(await self._backend.read(reads.list_blocks))
            else:
                find = partial(reads.find_heads, session_ids=subscription.session_ids)
                self._compare_heads(await self._backend.read(find))
        except BaseException:
            subscription.must_look = True
            raise

    async def _check_begin(self) -> None:
        """:raises InvalidArgument: a session's events end before where it begins."""
        followed = self._subscription.session_ids
        is_of_all = self._subscription.is_of_all
        names = list(self._after) if is_of_all else followed
        heads = await self._beyond([each for each in names if self._after.get(each)])
        if heads:
            # A replica may be behind: after this it is not read until it has them.
            await self._backend.data_version()
            heads = await self._beyond(list(heads))
        for name, head in heads.items():
            raise InvalidArgument(
                f"after is {self._after[name]}, beyond event head {head.event_head} of "
                f"session {name!r}"
            )

    async def _beyond(self, names: list[str]) -> dict[str, reads.SessionHead]:
        """Return the heads that are smaller than where to begin, by id."""
        if not names:
            return {}
        find = partial(reads.find_heads, session_ids=names)
        heads = await self._backend.read(find)
        return {
            name: head
            for name, head in heads.items()
            if head.event_head < self._after[name]
        }

    def _compare_digests(self, digests: dict[int, str]) -> None:
        for number, digest in digests.items():
            if self._digests.get(number) != digest:
                self._blocks[number] = None
        self._digests = digests

    def _compare_heads(self, heads: dict[str, reads.SessionHead]) -> None:
        for name in self._subscription.session_ids:
            if name not in heads:
                self._lose(name)
            self._subscription.compare(name, heads[name])

    async def _look_at_block(self, number: int) -> None:
        del self._blocks[number]
        try:
            heads = await self._backend.read(partial(reads.list_heads, block=number))
        except BaseException:
            self._blocks[number] = None
            raise
        for head in heads:
            self._subscription.compare(head.id, head)

    async def _read_page(self, session_id: str) -> None:
        subscription = self._subscription
        after = subscription.seq(session_id)
        del subscription.behind[session_id]
        try:
            page = await reads.read_page(self._backend, session_id, after)
        except BaseException:
            subscription.behind[session_id] = None
            raise
        if not subscription.take(session_id, page):
            self._lose(session_id)
            if page.session_key is not None:
                subscription.touch(session_id)  # among all, it is another one
        elif page.goes_on:
            subscription.behind[session_id] = None

    def _lose(self, session_id: str) -> None:
        """Follow a session no more: there is none. Who follows all named none."""
        self._subscription.let_go(session_id)
        if self._subscription.is_of_all:
            return
        if not self._subscription.session_ids:
            self._end()
        raise SessionNotFound(session_id)


def _check_ids(session_ids: Iterable[str] | None) -> list[str] | None:
    if session_ids is None:
        return None
    names = codec.check_texts(session_ids, "session_ids")
    return [codec.check_id(name, "session_id") for name in names]


def _check_after(after: Mapping[str, int]) -> Mapping[str, int]:
    return {
        codec.check_id(name, "session_id"): codec.check_integer(seq, "after", 0)
        for name, seq in codec.check_mapping(after, "after")
    }


def _check_timeout(value: float | None) -> float | None:
    if value is None:
        return None
    return codec.check_number(value, "idle_timeout_s", 0, IDLE_TIMEOUT_S_MAX)
