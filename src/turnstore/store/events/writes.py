"""The commands that append and delete events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    bindparam,
    delete,
    select,
    type_coerce,
)

from turnstore.engine.commands import Audience, Command, Outcome, Published
from turnstore.errors import OutcomeUnknown, SequenceConflict, SessionNotFound
from turnstore.records import Event
from turnstore.sql import codec
from turnstore.sql.bulk import InsertValues, is_distributed
from turnstore.sql.query import Query
from turnstore.sql.schema import events, session_heads
from turnstore.store import idempotency
from turnstore.store.events.one_statement import NumberedRow, append
from turnstore.store.heads import Head, Heads, known_keys, save_models, session_keys
from turnstore.store.history import materialize_forks_of, pass_over_events

ROW_BYTES: Final = 100
"""About what an event takes beside its data, for the bound on a batch."""

EventRow = tuple[str, str | None, str | None, str | None, int | None]
"""Type, encoded data, model, turn id, microseconds or None for now."""


class _Row(msgspec.Struct):
    """A row as it is stored."""

    type: str
    data: str | None
    model: str | None
    turn_id: str | None
    created_at: int


class EventHead(Head):
    event_head: int
    last_model: str | None


class AppendEvents(Command[int], frozen=True):
    """Appends events to one session; the result is the first one's seq.

    ``lost``: what an earlier attempt wrote, if its commit happened: the answer to that
    was lost.
    """

    is_locking: ClassVar[bool] = True
    rows: Sequence[EventRow]
    expected_head: int | None = None
    idempotency_key: str | None = None
    lost: Appended | None = None

    def after_lost_commit(self, outcome: Outcome) -> AppendEvents | None:
        if self.idempotency_key is not None:
            return self
        # Its own rows are known by the time that it gave them. Those that all have a
        # time of the caller's can't be told from another's.
        if self.expected_head is None or all(row[4] is not None for row in self.rows):
            return None
        if isinstance(outcome, Appended):
            return msgspec.structs.replace(self, lost=outcome)
        return self if isinstance(outcome, Exception) else None

    @staticmethod
    def single_statement(
        connection: Connection,
        commands: Sequence[AppendEvents],
        settings: Mapping[str, str],
    ) -> list[Outcome] | None:
        return _append(connection, commands, settings)

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[AppendEvents]
    ) -> list[Outcome]:
        if connection.dialect.name != "sqlite":
            appended = _append(connection, commands, None)
            if appended is not None:
                return appended
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        batch = _Batch(connection, heads, commands)
        outcomes: list[Outcome] = []
        for command in commands:
            head = heads.get(command.session_id)
            if head is None:
                outcomes.append(SessionNotFound(command.session_id))
                continue
            seq = batch.replayed(command, head)
            if seq is not None:
                outcomes.append(seq)
                continue
            expected = command.expected_head
            if expected is not None and expected != head.event_head:
                outcomes.append(_conflict(connection, command, head.event_head))
                continue
            outcomes.append(batch.append(command, head))
        batch.insert(connection)
        return outcomes


class _Batch:
    """The rows that a run of commands adds, and the keys they may have used before."""

    def __init__(
        self,
        connection: Connection,
        heads: Mapping[str, EventHead],
        commands: Sequence[AppendEvents],
    ) -> None:
        self._now = codec.now_micros()
        self._rows: list[Sequence[str | int | None]] = []
        self._changed: dict[int, EventHead] = {}
        self._models: dict[int, str] = {}
        self._fresh: list[tuple[idempotency.KeyRef, int]] = []
        self._written = idempotency.find(
            connection,
            "event",
            {
                (heads[each.session_id].session_key, each.idempotency_key)
                for each in commands
                if each.idempotency_key is not None and each.session_id in heads
            },
        )

    def replayed(self, command: AppendEvents, head: EventHead) -> int | None:
        """Return the seq that the command's idempotency key wrote before."""
        if command.idempotency_key is None:
            return None
        return self._written.get((head.session_key, command.idempotency_key))

    def append(self, command: AppendEvents, head: EventHead) -> Outcome:
        """Take a command's rows, counting on from the head."""
        key, now, seq = head.session_key, self._now, head.event_head
        first = seq + 1
        if command.idempotency_key is not None:
            place = (key, command.idempotency_key)
            self._written[place] = first
            self._fresh.append((place, first))
        if not command.rows:
            return first
        for kind, data, model, turn_id, created_at in command.rows:
            seq += 1
            at = now if created_at is None else created_at
            self._rows.append((key, seq, kind, data, model, turn_id, at))
            if model is not None and model != head.last_model:
                head.last_model = self._models[key] = model
        head.event_head = seq
        self._changed[key] = head
        return Appended(first, command, key, now)

    def insert(self, connection: Connection) -> None:
        _INSERT(connection, self._rows)
        _HEADS.save(connection, self._changed.values(), self._now)
        save_models(connection, self._models)
        idempotency.remember(connection, "event", self._fresh)


class Appended(Published[int], frozen=True):
    """Events were appended.

    ``now``: the time that those without one of their own were given.
    """

    command: AppendEvents
    session_key: int
    now: int

    def publish(self, audience: Audience) -> None:
        command = self.command
        audience.appended(
            command.session_id,
            self.session_key,
            range(self.result, self.result + len(command.rows)),
            command.size_bytes,
            self._events,
        )

    def _events(self) -> list[Event]:
        now = self.now
        return [
            Event(
                session_id=self.command.session_id,
                seq=seq,
                type=kind,
                data=codec.decode(data),
                model=model,
                turn_id=turn_id,
                created_at=codec.from_micros(now if created_at is None else created_at),
            )
            for seq, (kind, data, model, turn_id, created_at) in enumerate(
                self.command.rows, self.result
            )
        ]


class DeleteEvents(Command[int], frozen=True):
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
            key = head.session_key
            materialize_forks_of(connection, [key])
            # First: who settles this fork meanwhile copies what is to be deleted.
            passed = pass_over_events(connection, key, command.before)
            deleted = connection.execute(
                _DELETE, {"key": key, "before": command.before}
            )
            outcomes.append(deleted.rowcount + passed)
        return outcomes


def _conflict(connection: Connection, command: AppendEvents, head: int) -> Outcome:
    """Return the conflict, unless the rows in the way are the command's own, by an
    attempt whose commit was lost."""
    expected, lost = command.expected_head, command.lost
    assert expected is not None
    if lost is None or head < expected + len(command.rows):
        return SequenceConflict(command.session_id, expected, head)
    found = _WRITTEN(
        connection,
        key=lost.session_key,
        after=expected,
        upto=expected + len(command.rows),
    )
    own = [
        _Row(kind, data, model, turn_id, lost.now if created_at is None else created_at)
        for kind, data, model, turn_id, created_at in command.rows
    ]
    if found == own:
        return lost
    if len(found) < len(own):
        return OutcomeUnknown("the events that would tell were deleted meanwhile")
    return SequenceConflict(command.session_id, expected, head)


def _append(
    connection: Connection,
    commands: Sequence[AppendEvents],
    settings: Mapping[str, str] | None,
) -> list[Outcome] | None:
    """Append by one statement; None: it takes more, and nothing was written."""
    if is_distributed(connection):
        return None
    # As its own transaction it must not run a lookup first: if the connection died
    # during the lookup, the caller would get OutcomeUnknown for a write never sent.
    find = session_keys if settings is None else known_keys
    keys = find(connection, {each.session_id for each in commands})
    counts: dict[int, int] = {}
    models: dict[int, str] = {}
    rows: list[NumberedRow] = []
    places: list[tuple[int, int]] = []
    for command in commands:
        key = keys.get(command.session_id)
        if (
            key is None
            or command.expected_head is not None
            or command.idempotency_key is not None
            or not command.rows
        ):
            return None
        count = counts.get(key, 0)
        places.append((key, count + 1))
        for kind, data, model, turn_id, created_at in command.rows:
            count += 1
            rows.append((key, count, kind, data, model, turn_id, created_at))
            if model is not None:
                models[key] = model
        counts[key] = count
    found = append(connection, rows, counts, models, settings)
    if not found:
        return None
    outcomes: list[Outcome] = []
    for command, (key, place) in zip(commands, places, strict=True):
        head, now = found[key]
        outcomes.append(Appended(head + place, command, key, now))
    return outcomes


_HEADS: Final = Heads(EventHead, session_heads.c.event_head)
_INSERT: Final = InsertValues(
    events,
    events.c.session_key,
    events.c.seq,
    events.c.type,
    events.c.data,
    events.c.model,
    events.c.turn_id,
    events.c.created_at,
)
_WRITTEN: Final = Query(
    select(
        events.c.type,
        type_coerce(events.c.data, Text).label("data"),
        events.c.model,
        events.c.turn_id,
        type_coerce(events.c.created_at, BigInteger).label("created_at"),
    )
    .where(
        events.c.session_key == bindparam("key"),
        events.c.seq > bindparam("after"),
        events.c.seq <= bindparam("upto"),
    )
    .order_by(events.c.seq),
    _Row,
)
_DELETE: Final = delete(events).where(
    events.c.session_key == bindparam("key"), events.c.seq < bindparam("before")
)
