"""``store.sessions``: create, read, change, list, lease and delete sessions."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final, Literal, Unpack

from turnstore.engine.backend import Backend
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.records import (
    Page,
    Session,
    SessionFilter,
    SessionState,
    SessionStatus,
)
from turnstore.sql import codec
from turnstore.store.sessions.arguments import (
    DEFAULTS,
    SESSION_BYTES,
    NewSessionFields,
    SessionChanges,
    create_session,
    update_session,
)
from turnstore.store.sessions.filters import wanted
from turnstore.store.sessions.fork import ForkSession
from turnstore.store.sessions.leases.lease import Lease
from turnstore.store.sessions.leases.renewals import Renewals
from turnstore.store.sessions.listing import (
    WantedPage,
    count_matches,
    order_of,
    page_single_statement,
    page_snapshot,
    place_of,
)
from turnstore.store.sessions.reads import get_session, load_session
from turnstore.store.sessions.writes import DeleteSession
from turnstore.store.signatures import takes

LIMIT_MAX: Final = 1_000
TTL_S_MAX: Final = 86_400

OrderBy = Literal["created_at", "updated_at", "message_count", "total_tokens"]
Status = SessionStatus | str


class Sessions:
    """All sessions. Reach it as ``store.sessions``.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(
        self, backend: Backend, options: StoreOptions, renewals: Renewals
    ) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max
        self._renewals = renewals

    @takes(NewSessionFields, DEFAULTS)
    async def create(
        self, *, id: str | None = None, **fields: Unpack[NewSessionFields]
    ) -> Session:
        """Create a session and return it, once it is committed.

        ``title``, the prompts, ``config`` and each value of ``metadata`` may have
        ``payload_bytes_max`` bytes encoded.

        :param id: 1 to 255 characters; None makes a time-ordered one (UUID 7).
        :param config: JSON.
        :param metadata: text by keys of 1 to 255 characters.
        :param parent_session_id: the session it came from; need not be in the store.
        :param status: completed, failed and interrupted set ``ended_at`` too, to
            ``created_at``.
        :param created_at: timezone-aware; None takes the time of the commit.
        :raises SessionExists, PayloadInvalid, PayloadTooLarge, InvalidArgument:
            nothing was written.
        """
        return await self._backend.write(create_session(id, fields, self._bytes_max))

    async def get(self, id: str) -> Session | None:
        """Return a session, None when there is none with this id.

        :raises InvalidArgument: this can't be an id.
        """
        work = partial(get_session, session_id=codec.check_id(id, "id"))
        return await self._backend.read(work)

    async def load(self, id: str) -> SessionState | None:
        """Return a session with its messages by seq and its tool calls, oldest first.

        All from one snapshot. None when there is none with this id. Cost: the whole
        conversation, compacted messages too.

        :raises InvalidArgument: this can't be an id.
        """
        work = partial(load_session, session_id=codec.check_id(id, "id"))
        return await self._backend.read(work, snapshot=True)

    @takes(SessionChanges)
    async def update(
        self,
        id: str,
        *,
        expected_status: Status | Collection[Status] | None = None,
        **fields: Unpack[SessionChanges],
    ) -> Session:
        """Write the given fields and return the session as it is then.

        What is not given stays; None clears (``agent_name`` to ``""``, and not
        ``status``). Where nothing is given nothing is written: ``updated_at`` stays
        too. The bounds are those of ``create``; ``result`` and ``error`` too may have
        ``payload_bytes_max`` bytes.

        :param status: where it becomes completed, failed or interrupted, ``ended_at``
            is now unless given. Another status leaves ``ended_at``.
        :param metadata: replaces the whole mapping.
        :param active_message_id: as ``messages.set_active``.
        :param result: JSON.
        :param expected_status: one or several; write only if the status is one of
            them.
        :raises SessionNotFound, StatusConflict, MessageNotFound, PayloadInvalid,
            PayloadTooLarge, InvalidArgument: nothing was written.
        """
        return await self._backend.write(
            update_session(id, fields, expected_status, self._bytes_max)
        )

    async def list(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
        *,
        order_by: OrderBy = "created_at",
        descending: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        offset: int = 0,
    ) -> Page[Session]:
        """Return a page of the sessions that match, in order.

        From one snapshot. Ties go by created_at, then by age in the store, in the same
        direction. Sessions that are created, deleted or moved between two pages
        neither repeat nor hide those that stay in place.

        :param limit: 1 to 1,000.
        :param cursor: ``next_cursor`` of the page before, with the same filter, order
            and direction.
        :param offset: sessions to pass over; not together with a cursor. Costs what
            it passes over.
        :raises InvalidArgument: a value is out of bounds, or the cursor is not one of
            this order.
        :raises DatabaseCorrupt: a session of the page is damaged, which the error
            names. To read the others without a repair, take pages before it with a
            smaller limit, and go on behind it by ``offset`` or a filter.

        Cost: the page, whatever the number of sessions, for each order without a
        filter or with bounds on what it orders by, and for created_at with one filter
        of equal values, metadata or pending tool calls. Otherwise the matches of its
        narrowest filter, where they are at most 2,000 (titles of 3 characters or more:
        1,000; shorter ones never), else the sessions passed over to fill the page.
        Messages and events never count.
        """
        order = order_of(codec.check_text(order_by, "order_by"), descending)
        limit = codec.check_integer(limit, "limit", 1, LIMIT_MAX)
        offset = codec.check_integer(offset, "offset", 0)
        if cursor is not None and offset:
            raise InvalidArgument("give either a cursor or an offset")
        page = WantedPage(
            filter=wanted(filter),
            order=order,
            limit=limit,
            offset=offset,
            after=None if cursor is None else place_of(cursor, order),
        )
        return await self._backend.read_single_statement(
            partial(page_single_statement, wanted=page),
            partial(page_snapshot, wanted=page),
        )

    async def count(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
    ) -> int:
        """Return how many sessions match.

        :raises InvalidArgument: a value is out of bounds.

        Cost: the matches of one of the filters. All sessions without a filter, and
        where ids, titles, updates or message counts are all that is filtered and each
        matches more than 2,000 (a title 1,000, or has fewer than 3 characters).
        """
        work = partial(count_matches, wanted=wanted(filter))
        return await self._backend.read(work)

    async def fork(
        self,
        id: str,
        *,
        at_message_seq: int | None = None,
        at_event_seq: int | None = None,
        new_id: str | None = None,
    ) -> Session:
        """Start a session that goes on from a point of another, and return it.

        The fork has its parent's fields, metadata, todos, and the messages and events
        up to the point, with their ids and numbers, and the compactions made by then.
        It is idle, made now and not ended; ``parent_session_id`` is the session forked.
        It has its own id and counts, and no usage, tool calls, questions, settings,
        result, error or idempotency keys: one of its parent's writes again.

        Its active message and ``last_model`` are its parent's. Where it leaves
        messages out, the active message is its parent's if it has that one, else the
        newest that it has, apart from summaries; where it leaves out messages or
        events, ``last_model`` is that of its last message or last event, by ``seq``,
        that names one: whichever has the later ``created_at``, at one time the
        event's. Where times were given out of order it may be an older
        one's. What either does from then on, the other does not see.

        :param at_message_seq: the last message of the fork, 0 for none. None: all.
        :param at_event_seq: likewise of the events.
        :param new_id: 1 to 255 characters; None makes a time-ordered one.
        :raises SessionNotFound: no such session.
        :raises InvalidArgument: the point is beyond the end, or a value out of bounds.
        :raises SessionExists: there is one with the new id.

        Cost: nothing is copied, however long the history. At an earlier point messages
        are counted where numbers are missing (after a purge), and where the parent has
        a ``last_model`` messages and events are passed over from the point back to the
        newest that names one: all of them where none does. Reading the fork's
        messages and events takes a statement for each session it was forked through.
        Deleting from the parent (the session, its events, a purge) copies to its
        forks what they show, first.
        """
        return await self._backend.write(
            ForkSession(
                codec.check_id(id, "id"),
                SESSION_BYTES,
                codec.new_id() if new_id is None else codec.check_id(new_id, "new_id"),
                _check_point(at_message_seq, "at_message_seq"),
                _check_point(at_event_seq, "at_event_seq"),
            )
        )

    def lease(self, id: str, *, ttl_s: float = 30.0, owner: str | None = None) -> Lease:
        """Return a block that holds the right to run a session.

        ``async with store.sessions.lease(session_id) as lease:`` acquires it, or raises
        ``LeaseHeld`` or ``SessionNotFound``; renews it until the block ends; and then
        releases it. While it is held, ``admin.recover`` leaves the session alone. Only
        turns that are given the lease are fenced by it: other writes are not. See
        ``Lease``.

        :param ttl_s: 1 to 86,400 seconds. A session whose holder died is free again
            after this time; a process that is stopped for as long loses it.
        :param owner: text for people, in ``LeaseHeld``. None: host, process and store.
        :raises InvalidArgument: this can't be an id, or a value is out of bounds.

        Cost: a write to acquire, another to release, and one for all that the store
        renews at about the same time. The block holds no connection.
        """
        return Lease(
            self._backend,
            self._renewals,
            codec.check_id(id, "id"),
            codec.check_seconds(ttl_s, "ttl_s", 1, TTL_S_MAX),
            self._renewals.owner if owner is None else codec.check_text(owner, "owner"),
        )

    async def delete(self, id: str) -> bool:
        """Delete a session and all that it has; return whether there was one.

        Its usage stays in ``usage.by_day``, and its forks keep what they show of it. A
        lease of it is lost: the next turn that is given it raises ``SessionNotFound``,
        or ``LeaseLost`` where the id was used again.

        :raises InvalidArgument: this can't be an id.

        Cost: its rows, and again for each fork, during which no other write is
        committed (on PostgreSQL: of its lane).
        """
        return await self._backend.write(
            DeleteSession(codec.check_id(id, "id"), SESSION_BYTES)
        )


def _check_point(seq: int | None, name: str) -> int | None:
    return None if seq is None else codec.check_integer(seq, name, 0)
