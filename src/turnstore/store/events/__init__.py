"""``store.events``: the sequence-numbered log of each session."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final, Unpack

from turnstore.engine.backend import Backend
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.records import Event, Json, NewEvent
from turnstore.sql import codec
from turnstore.store.events.arguments import EventFields, append_events, event_row
from turnstore.store.events.following.follower import Follower
from turnstore.store.events.following.followers import Followers
from turnstore.store.events.reads import (
    ALL,
    OF_TYPES,
    list_single_statement,
    list_snapshot,
    page_single_statement,
    page_snapshot,
    read_head,
)
from turnstore.store.events.writes import ROW_BYTES, DeleteEvents
from turnstore.store.signatures import takes
from turnstore.values import is_a, type_name

PAGE_SIZE_MAX: Final = 10_000


class Events:
    """The events of every session. Reach it as ``store.events``.

    Those of a session are numbered by ``seq`` from 1, without gaps, in the order of
    their commits; no number is used again.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(
        self, backend: Backend, options: StoreOptions, followers: Followers
    ) -> None:
        self._backend = backend
        self._followers = followers
        self._bytes_max = options.payload_bytes_max

    @takes(EventFields, event_row.__kwdefaults__)
    async def append(
        self,
        session_id: str,
        type: str,
        data: Json = None,
        *,
        idempotency_key: str | None = None,
        expected_head: int | None = None,
        **fields: Unpack[EventFields],
    ) -> int:
        """Append one event and return its ``seq``, once it is committed.

        :param type: 1 to 255 characters.
        :param data: JSON, at most ``payload_bytes_max`` bytes encoded.
        :param model: becomes the session's ``last_model``.
        :param created_at: timezone-aware; None takes the time of the commit.
        :param idempotency_key: 1 to 255 characters. A key that the session's events
            have seen returns the first call's seq and writes nothing, whatever else is
            given; it outlives the event.
        :param expected_head: append only if the session's event head equals it.
        :raises SessionNotFound, SequenceConflict, PayloadInvalid, PayloadTooLarge,
            InvalidArgument: nothing was written.
        """
        row = event_row(type, data, self._bytes_max, **fields)
        return await self._backend.write(
            append_events(session_id, (row,), expected_head, idempotency_key)
        )

    async def append_many(
        self,
        session_id: str,
        events: Iterable[NewEvent],
        *,
        expected_head: int | None = None,
    ) -> list[int]:
        """Append events in the given order, all or none; return their ``seq``.

        The numbers are consecutive. The bounds are those of ``append``, for each. No
        events: returns [].

        :raises SessionNotFound, SequenceConflict, PayloadInvalid, PayloadTooLarge,
            InvalidArgument: nothing was written.
        """
        rows = [
            event_row(
                each.type,
                each.data,
                self._bytes_max,
                model=each.model,
                turn_id=each.turn_id,
                created_at=each.created_at,
            )
            for each in _check_events(events)
        ]
        first = await self._backend.write(
            append_events(session_id, rows, expected_head)
        )
        return list(range(first, first + len(rows)))

    async def list(
        self,
        session_id: str,
        *,
        after: int = 0,
        limit: int | None = None,
        types: Collection[str] | None = None,
    ) -> list[Event]:
        """Return the events after a ``seq``, by ``seq``, from one snapshot.

        :param after: exclusive; 0 means from the start.
        :param limit: 1 or more; None means all.
        :param types: only events of these types; an empty one matches nothing.
        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.

        Cost: the events read, with ``types`` those passed over too; of more than 2,048
        the first ones twice.
        """
        history = ALL if types is None else OF_TYPES
        values = {
            "session": codec.check_id(session_id, "session_id"),
            "after": codec.check_integer(after, "after", 0),
            "before": codec.INTEGER_MAX,
            "types": None if types is None else _check_types(types),
        }
        if limit is not None:
            limit = codec.check_integer(limit, "limit", 1)
        return await self._backend.read_single_statement(
            partial(list_single_statement, history=history, limit=limit, values=values),
            partial(list_snapshot, history=history, limit=limit, values=values),
        )

    async def stream(
        self, session_id: str, *, after: int = 0, page_size: int = 500
    ) -> AsyncIterator[Event]:
        """Iterate over the events after a ``seq`` that are there, page by page.

        A page has at most ``page_size`` events and 8 MiB of JSON, or one event that
        is larger.

        By ``seq``, each page from one snapshot. An error or a cancellation ends the
        iterator, which then looks like its end: go on with a new one, after the last
        ``seq`` it gave.

        Memory is bounded by a page; nothing is held between pages, so what is
        appended meanwhile is seen too and an abandoned iterator costs nothing.

        :param after: exclusive; 0 means from the start.
        :param page_size: 1 to 10,000 events, the most that are read at a time.
        :raises SessionNotFound: no such session, or deleted meanwhile.
        :raises InvalidArgument: a value is out of bounds; raised by the iteration.
        """
        page_size = codec.check_integer(page_size, "page_size", 1, PAGE_SIZE_MAX)
        values: dict[str, Any] = {
            "session": codec.check_id(session_id, "session_id"),
            "before": codec.INTEGER_MAX,
        }
        after = codec.check_integer(after, "after", 0)
        goes_on = True
        while goes_on:
            values["after"] = after
            page = await self._backend.read_single_statement(
                partial(page_single_statement, limit=page_size, values=values),
                partial(page_snapshot, limit=page_size, values=values),
            )
            goes_on = page.goes_on
            # Nothing of a page is kept while the next one is read.
            waiting = deque(page.rows)
            del page
            while waiting:
                after = waiting[0].seq
                yield waiting.popleft()

    def follow(
        self, session_id: str, *, after: int = 0, idle_timeout_s: float | None = None
    ) -> Follower:
        """Iterate over the events after a ``seq``: those there are, then each as it is
        committed, by whichever process. By ``seq``, each once.

        Ends when the store is closed, and after ``idle_timeout_s`` without an event.
        A cancellation takes nothing away: the iterator can be read on. It holds no
        connection or transaction between events, so an abandoned one costs nothing;
        ``aclose`` and ``async with`` end it at once. One task reads it at a time,
        another one gets ``StoreError``.

        A slow reader does not slow writers down: what is beyond 1,024 events in
        memory is read from the database later, in pages of at most 500 events and
        8 MiB of JSON.

        :param after: exclusive; 0 means from the start.
        :param idle_timeout_s: seconds, at most a year. 0 gives what is there and ends;
            None waits for ever. It counts from when the next event is asked for.
        :raises InvalidArgument: a value is out of bounds; raised by the call. ``after``
            is beyond the session's head; raised by the iteration.
        :raises SessionNotFound: there is no such session, or it was deleted; raised by
            the iteration, which ends then.
        :raises BackendError, AcquireTimeout: a read failed; the iterator can be read
            on.

        Another process's events are noticed within ``poll_interval_s``. Each event
        costs the event loop the decoding of its data, once for all that follow it.
        """
        name = codec.check_id(session_id, "session_id")
        return Follower(self._followers, [name], {name: after}, idle_timeout_s)

    def follow_all(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        after: Mapping[str, int] | None = None,
        idle_timeout_s: float | None = None,
    ) -> Follower:
        """Iterate over the events of several sessions, as ``follow`` does over one.

        Those of a session come by ``seq``; between sessions there is no order.

        :param session_ids: None for all sessions, those made later too, where a
            deleted one ends without an error.
        :param after: the ``seq`` to begin after, by session id; 0 where it says
            nothing.
        :raises InvalidArgument: a value is out of bounds; raised by the call. A seq is
            beyond the head of its session; raised by the iteration.
        :raises SessionNotFound: one of ``session_ids`` is not there, or no longer; the
            iterator can be read on, and gives the others.

        It remembers a seq for each session, some 250 bytes. What there is to begin
        with is read session by session. With all sessions, a look at another
        process's commits passes over every head: 0.1 s for a million of them, in one
        statement, on a reader.
        """
        seqs = {} if after is None else after
        return Follower(self._followers, session_ids, seqs, idle_timeout_s)

    async def head(self, session_id: str) -> int:
        """Return the last ``seq`` ever given to the session's events, 0 when none.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        work = partial(read_head, session_id=codec.check_id(session_id, "session_id"))
        return await self._backend.read(work)

    async def delete_before(self, session_id: str, seq: int) -> int:
        """Delete the events with a smaller ``seq``; return how many there were.

        The head stays, and idempotency keys too. Forks keep what they show.

        :param seq: exclusive, 0 or more.
        :raises SessionNotFound, InvalidArgument: nothing was deleted.

        Cost: the events deleted. Where the session was forked, first all that its
        forks show of others is copied to them.
        """
        return await self._backend.write(
            DeleteEvents(
                codec.check_id(session_id, "session_id"),
                ROW_BYTES,
                codec.check_integer(seq, "seq", 0),
            )
        )


def _check_events(given: Iterable[NewEvent]) -> list[NewEvent]:
    several = codec.check_several(given, "events")
    for event in several:
        if not is_a(event, NewEvent):
            raise InvalidArgument(
                f"events must be NewEvent records, got {type_name(event)}"
            )
    return several


def _check_types(types: Collection[str]) -> str:
    return codec.array(codec.check_texts(types, "types"))
