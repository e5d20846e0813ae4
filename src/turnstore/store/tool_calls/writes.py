"""The commands that create, update and interrupt tool calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, and_, bindparam, select

from turnstore.engine.commands import Command, Outcome, runs
from turnstore.errors import (
    MessageNotFound,
    SessionNotFound,
    StatusConflict,
    ToolCallExists,
    ToolCallNotFound,
)
from turnstore.records import ToolCall, ToolCallStatus
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import Insert, Update, is_in, pairs
from turnstore.sql.compiled import Value
from turnstore.sql.query import Query
from turnstore.sql.schema import (
    IS_OPEN,
    OPEN_STATUSES,
    session_heads,
    sessions,
    tool_calls,
)
from turnstore.store.checks import as_read
from turnstore.store.heads import Head, Heads
from turnstore.store.messages.writes import find_messages
from turnstore.store.selects import TOOL_CALL

FINAL_STATUSES: Final = ("completed", "failed", "denied")
ToolCallKey = tuple[int, str]
"""Session key and tool call id."""


class ToolCallRow(msgspec.Struct, gc=False, kw_only=True):
    """A row of ``tool_calls``, checked and encoded.

    The commit numbers it, and fills in the times that are None and that its status
    sets.
    """

    session_key: int = 0
    seq: int = 0
    id: str
    call_id: str | None = None
    message_id: str | None = None
    name: str
    arguments: str | None = None
    kind: str = "external"
    status: str = "pending"
    output: str | None = None
    error: str | None = None
    created_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None


class ToolCallHead(Head):
    tool_call_head: int
    tool_call_count: int
    pending_tool_calls: int


class CreateToolCalls(Command[list[ToolCall]], frozen=True):
    """Creates tool calls of one session; the result is their records.

    :param own_ids: those that the caller gave. Ids that the store has made are new, and
        are not looked for.
    :param new_messages: those that the same turn appends before this: they are not
        looked for.
    """

    is_locking: ClassVar[bool] = True
    rows: Sequence[ToolCallRow]
    own_ids: frozenset[str] = frozenset()
    new_messages: frozenset[str] = frozenset()

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[CreateToolCalls]
    ) -> list[Outcome]:
        now = codec.now_micros()
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        known = [each for each in commands if each.session_id in heads]
        keyed = [(heads[each.session_id].session_key, each) for each in known]
        present = find_statuses(
            connection,
            {(key, own_id) for key, each in keyed for own_id in each.own_ids},
        )
        askers = find_messages(
            connection,
            {
                (key, row.message_id)
                for key, each in keyed
                for row in each.rows
                if row.message_id is not None
                and row.message_id not in each.new_messages
            },
        )
        outcomes: list[Outcome] = []
        rows: list[ToolCallRow] = []
        changed: dict[int, ToolCallHead] = {}
        for command in commands:
            head = heads.get(command.session_id)
            fault = _create_fault(command, head, present, askers)
            if head is None or fault is not None:
                outcomes.append(fault)
                continue
            present |= {(head.session_key, row.id): row.status for row in command.rows}
            numbered = [_numbered(row, head, now) for row in command.rows]
            rows += numbered
            outcomes.append([_record(command.session_id, row) for row in numbered])
            changed[head.session_key] = head
        _INSERT(connection, rows)
        _HEADS.save(connection, changed.values(), now)
        return outcomes


class UpdateToolCall(Command[ToolCall], frozen=True):
    """Writes the given columns of a tool call; the result is its record after it."""

    id: str
    columns: Mapping[str, Value]
    expected: frozenset[str] | None = None

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[UpdateToolCall]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for run in runs(commands, lambda each: (each.session_id, each.id)):
            outcomes += _update_apart(connection, run)
        return outcomes


class InterruptToolCalls(Command[list[ToolCall]], frozen=True):
    """Fails the open tool calls of a session; the result is their records."""

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[InterruptToolCalls]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        found = _ALL_OPEN(
            connection, keys=codec.array(head.session_key for head in heads.values())
        )
        closing = [
            UpdateToolCall(
                each.session_id,
                0,
                each.id,
                {"status": "failed", "error": codec.encode("interrupted", 100)},
            )
            for each in found
        ]
        closed: dict[str, list[ToolCall]] = {name: [] for name in heads}
        for call in UpdateToolCall.apply(connection, closing):
            closed[call.session_id].append(call)
        return [
            closed.pop(each.session_id, [])
            if each.session_id in heads
            else SessionNotFound(each.session_id)
            for each in commands
        ]


def _create_fault(
    command: CreateToolCalls,
    head: ToolCallHead | None,
    present: Mapping[ToolCallKey, str],
    askers: Collection[ToolCallKey],
) -> Exception | None:
    """Say why tool calls can't be created."""
    if head is None:
        return SessionNotFound(command.session_id)
    own: set[str] = set()
    for row in command.rows:
        if (head.session_key, row.id) in present or row.id in own:
            return ToolCallExists(command.session_id, row.id)
        own.add(row.id)
        asker = row.message_id
        if asker is not None and asker not in command.new_messages:
            if (head.session_key, asker) not in askers:
                return MessageNotFound(command.session_id, asker)
    return None


def _numbered(given: ToolCallRow, head: ToolCallHead, now: int) -> ToolCallRow:
    """Return the row to insert, counting on from the head."""
    head.tool_call_head += 1
    head.tool_call_count += 1
    head.pending_tool_calls += given.status in OPEN_STATUSES
    created_at = now if given.created_at is None else given.created_at
    return replace(
        given,
        session_key=head.session_key,
        seq=head.tool_call_head,
        created_at=created_at,
        **_stamps(given.status, created_at),
    )


def _record(session_id: str, row: ToolCallRow) -> ToolCall:
    assert row.created_at is not None  # the commit has given it
    return ToolCall(
        id=row.id,
        call_id=row.call_id,
        session_id=session_id,
        message_id=row.message_id,
        name=row.name,
        arguments=codec.decode(row.arguments),
        kind=row.kind,
        status=ToolCallStatus(row.status),
        output=codec.decode(row.output),
        error=codec.decode(row.error),
        created_at=codec.from_micros(row.created_at),
        started_at=codec.from_micros_or_none(row.started_at),
        completed_at=codec.from_micros_or_none(row.completed_at),
    )


def _stamps(status: Value, now: int) -> dict[str, Value]:
    """Return the times that entering a status sets."""
    if status == "executing":
        return {"started_at": now}
    if status in FINAL_STATUSES:
        return {"completed_at": now}
    return {}


def _update_apart(
    connection: Connection, commands: Sequence[UpdateToolCall]
) -> list[Outcome]:
    """Apply updates of different tool calls."""
    now = codec.now_micros()
    heads = _HEADS.load(connection, {each.session_id for each in commands})
    places = [
        (heads[each.session_id].session_key, each.id)
        for each in commands
        if each.session_id in heads
    ]
    states = find_statuses(connection, set(places))
    faults: list[Exception | None] = []
    written: dict[tuple[str, ...], list[list[Value]]] = {}
    changed: dict[int, ToolCallHead] = {}
    for command in commands:
        head = heads.get(command.session_id)
        place = (head.session_key, command.id) if head else None
        status = states.get(place) if place else None
        fault = _update_fault(command, head, status)
        faults.append(fault)
        if head is None or place is None or fault is not None:
            continue
        columns = dict(command.columns)
        entered = columns.get("status", status)
        if entered != status:
            columns |= _stamps(entered, now)
            head.pending_tool_calls += (entered in OPEN_STATUSES) - (
                status in OPEN_STATUSES
            )
        if columns:
            written.setdefault(tuple(columns), []).append([*place, *columns.values()])
            changed[head.session_key] = head
    for names, rows in written.items():
        _update(names)(connection, rows)
    _PENDING.save(connection, changed.values(), now)
    after = _read(connection, places)
    return [
        after[each.session_id, each.id] if fault is None else fault
        for each, fault in zip(commands, faults, strict=True)
    ]


def _update_fault(
    command: UpdateToolCall, head: ToolCallHead | None, status: str | None
) -> Exception | None:
    """Say why an update can't be made."""
    if head is None:
        return SessionNotFound(command.session_id)
    if status is None:
        return ToolCallNotFound(command.session_id, command.id)
    if command.expected is not None and status not in command.expected:
        expected = " or ".join(sorted(command.expected))
        return StatusConflict(
            command.session_id,
            as_read(status, ToolCallStatus),
            f"tool call {command.id!r} is {status}, expected {expected}",
        )
    wanted = command.columns.get("status", status)
    if wanted != status and status in FINAL_STATUSES:
        return StatusConflict(
            command.session_id,
            as_read(status, ToolCallStatus),
            f"tool call {command.id!r} is {status}, which is final: it can't become "
            f"{wanted}",
        )
    return None


class _State(msgspec.Struct):
    session_key: int
    id: str
    status: str


class _Open(msgspec.Struct):
    session_id: str
    id: str


def find_statuses(
    connection: Connection, places: set[ToolCallKey]
) -> dict[ToolCallKey, str]:
    """Return the statuses of the tool calls that exist, by place."""
    if not places:
        return {}
    found = _FIND(connection, places=codec.pairs(places))
    return {(each.session_key, each.id): each.status for each in found}


def _read(
    connection: Connection, places: Sequence[ToolCallKey]
) -> dict[tuple[str, str], ToolCall]:
    """Return tool calls by session id and own id, as they are now."""
    if not places:
        return {}
    found = _READ(connection, len(places), places=codec.pairs(places))
    return {(each.session_id, each.id): each for each in found}


@lru_cache(maxsize=256)
def _update(names: tuple[str, ...]) -> Update:
    return Update(
        tool_calls,
        [tool_calls.c.session_key, tool_calls.c.id],
        [tool_calls.c[name] for name in names],
    )


_HEADS: Final = Heads(
    ToolCallHead,
    session_heads.c.tool_call_head,
    session_heads.c.tool_call_count,
    session_heads.c.pending_tool_calls,
)
_PENDING: Final = Heads(ToolCallHead, session_heads.c.pending_tool_calls)
_INSERT: Final = Insert(tool_calls, ToolCallRow)
_places, _session_key, _id = pairs(bindparam("places"))
_is_place = and_(tool_calls.c.session_key == _session_key, tool_calls.c.id == _id)
_FIND: Final = Query(
    select(tool_calls.c.session_key, tool_calls.c.id, tool_calls.c.status)
    .select_from(_places)
    .join(tool_calls, _is_place),
    _State,
)
_READ: Final = BoundedQuery(
    TOOL_CALL.join(_places, _is_place).order_by(
        tool_calls.c.session_key, tool_calls.c.seq
    ),
    ToolCall,
)
_ALL_OPEN: Final = Query(
    select(sessions.c.id.label("session_id"), tool_calls.c.id)
    .join(sessions, sessions.c.session_key == tool_calls.c.session_key)
    .where(is_in(tool_calls.c.session_key, bindparam("keys")), IS_OPEN)
    .order_by(tool_calls.c.session_key, tool_calls.c.seq),
    _Open,
)
