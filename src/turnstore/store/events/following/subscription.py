"""What a follower has taken in, and what it is behind with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from turnstore.records import Event
from turnstore.store.events.following.reads import Page, SessionHead

BUFFER_EVENTS: Final = 1_024
"""Events that wait for the caller; half as many again where a page comes in."""
BUFFER_BYTES: Final = 4 * 2**20
"""Bytes of the events that are pushed before the buffer is empty again."""


class _Progress(msgspec.Struct, gc=False):
    """How far a session was taken in.

    Its key tells it from a session that was made again with the same id. None: not
    known yet.
    """

    session_key: int | None
    seq: int


class Subscription:
    """Events that wait for one follower's caller, and how far each session got.

    A session is either up to date, and then what is committed next may be pushed, or
    *behind*: there may be events that only a read can tell. A read takes the session
    out of ``behind`` before it begins, so that what is told meanwhile puts it back.

    :param session_ids: None for all, those that are made later too.
    :param after: where to begin, by session id; 0 where it says nothing.
    """

    def __init__(
        self, session_ids: Iterable[str] | None, after: Mapping[str, int]
    ) -> None:
        self.is_of_all = session_ids is None
        self._after = dict(after) if session_ids is None else {}
        self._places = {
            each: _Progress(None, after.get(each, 0)) for each in session_ids or ()
        }
        self.buffer: deque[Event] = deque()
        self._pushed_bytes = 0
        self.behind: dict[str, None] = {}
        self.must_look = True  # at the heads
        self.is_closed = session_ids is not None and not self._places
        self._wake: asyncio.Future[None] | None = None

    @property
    def session_ids(self) -> list[str]:
        return list(self._places)

    def seq(self, session_id: str) -> int:
        """Return the last seq that was taken in."""
        return self._places[session_id].seq

    # Being told

    def expects(
        self, session_id: str, session_key: int, seqs: range, size_bytes: int
    ) -> bool:
        """Tell whether events that were committed can be pushed. Where not, and they
        are new, the session is behind."""
        place = self._place(session_id, session_key)
        if place is None:
            return False
        is_same = place.session_key == session_key
        if is_same and seqs[-1] <= place.seq:
            return False
        if not self.buffer:
            self._pushed_bytes = 0
        if (
            is_same
            and seqs[0] == place.seq + 1
            and len(self.buffer) + len(seqs) <= BUFFER_EVENTS
            and self._pushed_bytes + size_bytes <= BUFFER_BYTES
        ):
            return True
        self._fall_behind(session_id)
        return False

    def push(self, session_id: str, events: Sequence[Event], size_bytes: int) -> None:
        """Take in events that were expected."""
        self._places[session_id].seq = events[-1].seq
        self._pushed_bytes += size_bytes
        self.buffer.extend(events)
        self.rouse()

    def touch(self, session_id: str) -> None:
        """Something happened to a session that only a read can tell."""
        if self._place(session_id, None) is not None:
            self._fall_behind(session_id)

    def look_again(self) -> None:
        """Something may have happened to any session."""
        self.must_look = True
        self.rouse()

    def _fall_behind(self, session_id: str) -> None:
        self.behind[session_id] = None
        self.rouse()

    # Reading

    def compare(self, session_id: str, head: SessionHead | None) -> None:
        """Take notice of a head that was read; None: there is no such session."""
        place = self._place(session_id, None if head is None else head.session_key)
        if place is None:
            return
        if head is None:
            self._fall_behind(session_id)
            return
        if place.session_key is None:
            place.session_key = head.session_key
        if place.session_key != head.session_key or place.seq < head.event_head:
            self._fall_behind(session_id)

    def take(self, session_id: str, page: Page) -> bool:
        """Take in a page; return whether it is of the session that is followed."""
        if self.is_closed:
            return True
        place = self._places[session_id]
        if place.session_key is None:
            place.session_key = page.session_key
        if page.session_key is None or page.session_key != place.session_key:
            return False
        # Newer ones may have been pushed while it was read.
        fresh = [each for each in page.events if each.seq > place.seq]
        if fresh:
            place.seq = fresh[-1].seq
            self.buffer.extend(fresh)
        return True

    def close(self) -> None:
        """Take in nothing more."""
        self.is_closed = True
        self.behind.clear()
        self.rouse()

    def let_go(self, session_id: str) -> None:
        """Follow a session no more. Of all sessions, one of the same id is another."""
        del self._places[session_id]
        self.behind.pop(session_id, None)

    def _place(self, session_id: str, session_key: int | None) -> _Progress | None:
        place = self._places.get(session_id)
        if place is None and self.is_of_all:
            place = _Progress(session_key, self._after.pop(session_id, 0))
            self._places[session_id] = place
        return place

    # Waiting

    async def wait(self, until_s: float | None) -> None:
        """Wait until something is told, or the event loop's clock shows a time."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = None if until_s is None else loop.call_at(until_s, self.rouse)
        try:
            await self._wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    def rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
