"""``store.events``: the sequence-numbered log of each session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from turnstore import _codec, _idempotency
from turnstore._heads import Head, Heads, require_session, save_models
from turnstore._rows import Insert, Query, in_array
from turnstore._selects import EVENT, SESSION_IS
from turnstore.backends.base import Backend, Command, Outcome
from turnstore.errors import InvalidArgument, SequenceConflict, SessionNotFound
from turnstore.options import StoreOptions
from turnstore.records import Event, Json, NewEvent
from turnstore.schema import events, session_heads, sessions

PAGE_SIZE_MAX: Final = 10_000
ROW_BYTES: Final = 100
"""About what an event takes beside its data, for the bound on a batch."""

EventRow = tuple[str, str | None, str | None, str | None, int | None]
"""Type, encoded data, model, turn id, microseconds or None for now."""


class Events:
    """The events of every session. Reach it as ``store.events``."""

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def append(
        self,
        session_id: str,
        type: str,
        data: Json = None,
        *,
        model: str | None = None,
        turn_id: str | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
        expected_head: int | None = None,
    ) -> int:
        """Append one event and return its ``seq``, once it is committed.

        Calls for one session keep their order, also when gathered. Concurrent calls
        share a commit.

        :param data: JSON, at most ``payload_bytes_max`` bytes encoded.
        :param created_at: timezone-aware; None takes the time of the commit.
        :param idempotency_key: 1 to 255 characters. A key that the session has seen
            returns the first call's seq and writes nothing, whatever else is given;
            it outlives the event.
        :param expected_head: append only if the session's event head equals it.
        :raises SessionNotFound, SequenceConflict, PayloadInvalid, PayloadTooLarge,
            InvalidArgument, QueueFull, BackendError: nothing was written.

        If it raises a cancellation, nothing was written; once the commit is under
        way the call returns its result, and the cancellation comes at the caller's
        next await.
        """
        row = self._row(type, data, model, turn_id, created_at)
        if expected_head is not None:
            _check_head(expected_head)
        if idempotency_key is not None:
            _codec.check_id(idempotency_key, "idempotency_key")
        return await self._backend.write(
            AppendEvents(
                _codec.check_id(session_id, "session_id"),
                ROW_BYTES + len(row[1] or ""),
                (row,),
                expected_head,
                idempotency_key,
            )
        )

    async def append_many(
        self,
        session_id: str,
        events: Iterable[NewEvent],
        *,
        expected_head: int | None = None,
    ) -> list[int]:
        """Append events in the given order, all or none; return their ``seq``.

        The numbers are consecutive. Cancellation and the rest as ``append``. No
        events: returns [].

        :raises SessionNotFound, SequenceConflict, PayloadInvalid, PayloadTooLarge,
            InvalidArgument, QueueFull, BackendError: nothing was written.
        """
        rows = [
            self._row(each.type, each.data, each.model, each.turn_id, each.created_at)
            for each in _check_events(events)
        ]
        first = await self._backend.write(
            AppendEvents(
                _codec.check_id(session_id, "session_id"),
                sum(ROW_BYTES + len(row[1] or "") for row in rows),
                rows,
                _check_head(expected_head),
            )
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
        work = partial(
            list_events,
            session_id=_codec.check_id(session_id, "session_id"),
            after=_codec.check_integer(after, "after", 0),
            limit=None if limit is None else _codec.check_integer(limit, "limit", 1),
            types=None if types is None else _check_types(types),
        )
        found = await self._backend.read(partial(work, steps_max=1))
        if found is None:
            found = await self._backend.read(work, snapshot=True)
        return found or []

    async def stream(
        self, session_id: str, *, after: int = 0, page_size: int = 500
    ) -> AsyncIterator[Event]:
        """Iterate over the events after a ``seq`` that are there, page by page.

        Memory is bounded by the page; nothing is held between pages, so what is
        appended meanwhile is seen too and an abandoned iterator costs nothing.

        :param page_size: 1 to 10,000 events read at a time.
        :raises SessionNotFound: no such session, or deleted meanwhile.
        :raises InvalidArgument: a value is out of bounds.
        """
        _codec.check_integer(page_size, "page_size", 1, PAGE_SIZE_MAX)
        while True:
            page = await self.list(session_id, after=after, limit=page_size)
            for event in page:
                yield event
            if len(page) < page_size:
                return
            after = page[-1].seq

    async def head(self, session_id: str) -> int:
        """Return the last ``seq`` ever given to the session's events, 0 when none.

        :raises SessionNotFound, InvalidArgument: no such session, or no such id.
        """
        work = partial(read_head, session_id=_codec.check_id(session_id, "session_id"))
        return await self._backend.read(work)

    async def delete_before(self, session_id: str, seq: int) -> int:
        """Delete the events with a smaller ``seq``; return how many there were.

        Numbers are not used again. Cancellation: as ``append``.

        :raises SessionNotFound, InvalidArgument, QueueFull, BackendError: nothing was
            deleted.
        """
        return await self._backend.write(
            DeleteEvents(
                _codec.check_id(session_id, "session_id"),
                ROW_BYTES,
                _codec.check_integer(seq, "seq", 0),
            )
        )

    def _row(
        self,
        kind: str,
        data: Json,
        model: str | None,
        turn_id: str | None,
        created_at: datetime | None,
    ) -> EventRow:
        return (
            _codec.check_id(kind, "type"),
            None if data is None else _codec.encode(data, self._bytes_max),
            None if model is None else _codec.check_text(model, "model"),
            None if turn_id is None else _codec.check_text(turn_id, "turn_id"),
            None if created_at is None else _codec.micros(created_at, "created_at"),
        )


class EventHead(Head):
    event_head: int
    last_model: str | None


class AppendEvents(Command[int]):
    """Appends events to one session; the result is the first one's seq."""

    rows: Sequence[EventRow]
    expected_head: int | None = None
    idempotency_key: str | None = None

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[AppendEvents]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        written = _idempotency.find(connection, "event", _places(commands, heads))
        fresh: list[tuple[_idempotency.Place, int]] = []
        now = _codec.now_micros()
        rows: list[Sequence[str | int | None]] = []
        changed: dict[str, EventHead] = {}
        models: dict[int, str] = {}
        outcomes: list[Outcome] = []
        for command in commands:
            session_id = command.session_id
            head = heads.get(session_id)
            if head is None:
                outcomes.append(SessionNotFound(session_id))
                continue
            key, seq = head.session_key, head.event_head
            if command.idempotency_key is not None:
                place = (key, command.idempotency_key)
                if place in written:
                    outcomes.append(written[place])
                    continue
            if command.expected_head is not None and command.expected_head != seq:
                outcomes.append(
                    SequenceConflict(session_id, command.expected_head, seq)
                )
                continue
            outcomes.append(seq + 1)
            if command.idempotency_key is not None:
                written[place] = seq + 1
                fresh.append((place, seq + 1))
            for kind, data, model, turn_id, created_at in command.rows:
                seq += 1
                rows.append(
                    (
                        key,
                        seq,
                        kind,
                        data,
                        model,
                        turn_id,
                        now if created_at is None else created_at,
                    )
                )
                if model is not None and model != head.last_model:
                    head.last_model = models[key] = model
            if command.rows:
                head.event_head = seq
                changed[session_id] = head
        _INSERT(connection, rows)
        _HEADS.save(connection, changed.values(), now)
        save_models(connection, models)
        _idempotency.remember(connection, "event", fresh)
        return outcomes


class DeleteEvents(Command[int]):
    """Deletes the events before a seq; the result is their count."""

    before: int

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[DeleteEvents]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        outcomes: list[Outcome] = []
        for command in commands:
            head = heads.get(command.session_id)
            if head is None:
                outcomes.append(SessionNotFound(command.session_id))
                continue
            deleted = connection.execute(
                delete(events).where(
                    events.c.session_key == head.session_key,
                    events.c.seq < command.before,
                )
            )
            outcomes.append(deleted.rowcount)
        return outcomes


def list_events(
    connection: Connection,
    session_id: str,
    after: int,
    limit: int | None,
    types: str | None,
    steps_max: int | None = None,
) -> list[Event] | None:
    query = _LIST if types is None else _LIST_TYPES
    found = query.in_chunks(
        connection,
        limit,
        steps_max=steps_max,
        session=session_id,
        after=after,
        types=types,
    )
    if found == []:
        require_session(connection, session_id)
    return found


def read_head(connection: Connection, session_id: str) -> int:
    head: int | None = connection.execute(
        select(session_heads.c.event_head)
        .join(sessions, sessions.c.session_key == session_heads.c.session_key)
        .where(sessions.c.id == session_id)
    ).scalar_one_or_none()
    if head is None:
        raise SessionNotFound(session_id)
    return head


def _places(
    commands: Sequence[AppendEvents], heads: dict[str, EventHead]
) -> set[_idempotency.Place]:
    return {
        (heads[each.session_id].session_key, each.idempotency_key)
        for each in commands
        if each.idempotency_key is not None and each.session_id in heads
    }


def _check_events(given: Iterable[NewEvent]) -> list[NewEvent]:
    try:
        several = list(given)
    except TypeError as error:
        raise InvalidArgument("events must be several: give a list") from error
    for event in several:
        if not isinstance(event, NewEvent):
            raise InvalidArgument(
                f"events must be NewEvent records, got {type(event).__name__}"
            )
    return several


def _check_types(types: Collection[str]) -> str:
    return _codec.array(_codec.check_texts(types, "types"))


def _check_head(expected_head: int | None) -> int | None:
    if expected_head is None:
        return None
    return _codec.check_integer(expected_head, "expected_head", 0)


_HEADS: Final = Heads(EventHead, session_heads.c.event_head)
_INSERT: Final = Insert(
    events,
    events.c.session_key,
    events.c.seq,
    events.c.type,
    events.c.data,
    events.c.model,
    events.c.turn_id,
    events.c.created_at,
)
_SELECT: Final = (
    EVENT.where(SESSION_IS, events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit"))
)
_LIST: Final = Query(_SELECT, Event)
_LIST_TYPES: Final = Query(
    _SELECT.where(events.c.type.in_(in_array(bindparam("types")))), Event
)
