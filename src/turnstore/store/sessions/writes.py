"""The commands that create, change and delete sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection, Table, bindparam, delete, select

from turnstore.engine.commands import Command, Outcome, Touched, runs
from turnstore.errors import (
    MessageNotFound,
    SessionExists,
    SessionNotFound,
    StatusConflict,
)
from turnstore.records import Session, SessionStatus
from turnstore.sql import codec
from turnstore.sql.bulk import InsertValues, Update, is_in
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.query import Query, as_micros
from turnstore.sql.schema import session_heads, session_metadata, sessions
from turnstore.store.checks import as_read
from turnstore.store.heads import INSERT_HEADS, Head, HeadRow, Heads, find_keys
from turnstore.store.history import materialize_forks_of
from turnstore.store.messages.writes import find_messages
from turnstore.store.metadata import INSERT_METADATA, MetadataRow
from turnstore.store.sessions.reads import read_sessions

ENDED: Final = frozenset({"completed", "failed", "interrupted"})
"""Statuses on which ``ended_at`` is set."""


class CreateSession(Command[Session], frozen=True):
    """Creates a session with its head; the result is its record.

    :param columns: values by name, of the session and of its head; those that are
        missing are empty.
    :param pairs: the metadata.
    :param created_at: microseconds; None for the time of the commit.
    """

    columns: Mapping[str, Value]
    pairs: Mapping[str, str]
    created_at: int | None = None

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[CreateSession]
    ) -> list[Outcome]:
        now = codec.now_micros()
        taken = find_keys(connection, {each.session_id for each in commands})
        fresh: dict[str, CreateSession] = {}
        for command in commands:
            if command.session_id not in taken:
                fresh.setdefault(command.session_id, command)
        keys = _insert(connection, fresh, now)
        made = read_sessions(connection, keys)
        return [
            made[each.session_id]
            if fresh.get(each.session_id) is each
            else SessionExists(each.session_id)
            for each in commands
        ]


class UpdateSession(Command[Session], frozen=True):
    """Writes the given columns of a session; the result is its record after it.

    :param pairs: the whole metadata, UNSET to leave it.
    :param expected: statuses of which the session must have one; None for any.
    """

    columns: Mapping[str, Value]
    pairs: Mapping[str, str] | UnsetType = UNSET
    expected: frozenset[str] | None = None

    @property
    def is_empty(self) -> bool:
        return not self.columns and self.pairs is UNSET

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[UpdateSession]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for run in runs(commands, lambda each: each.session_id):
            outcomes += _update_apart(connection, run)
        return outcomes


class DeleteSession(Command[bool], frozen=True):
    """Deletes a session and all that is its own; the result tells if it was there."""

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[DeleteSession]
    ) -> list[Outcome]:
        keys = find_keys(connection, {each.session_id for each in commands})
        materialize_forks_of(connection, keys.values())
        connection.execute(_DELETE, {"keys": codec.array(keys.values())})
        outcomes: list[Outcome] = []
        for command in commands:
            was_there = keys.pop(command.session_id, None) is not None
            outcomes.append(Touched(True, command.session_id) if was_there else False)
        return outcomes


class _State(msgspec.Struct, frozen=True):
    """What an update looks at."""

    session_key: int
    status: str
    created_at_us: int


def _insert(
    connection: Connection, fresh: Mapping[str, CreateSession], now: int
) -> dict[str, int]:
    """Insert sessions with heads and metadata; return their keys by id."""
    times = {
        name: now if each.created_at is None else each.created_at
        for name, each in fresh.items()
    }
    rows = []
    for name, command in fresh.items():
        row = {**command.columns, "id": name, "created_at": times[name]}
        if row["status"] in ENDED:
            row.setdefault("ended_at", times[name])
        rows.append([row.get(each.name) for each in _WRITTEN])
    _INSERT(connection, rows)
    keys = find_keys(connection, fresh)
    INSERT_HEADS(
        connection,
        [
            HeadRow(
                session_key=keys[name],
                created_at=times[name],
                updated_at=max(now, times[name]),
                **_of(session_heads, each.columns),
            )
            for name, each in fresh.items()
        ],
    )
    INSERT_METADATA(
        connection,
        [
            MetadataRow(keys[name], *pair, times[name], now)
            for name, command in fresh.items()
            for pair in command.pairs.items()
        ],
    )
    return keys


def _update_apart(
    connection: Connection, commands: Sequence[UpdateSession]
) -> list[Outcome]:
    """Apply updates of different sessions."""
    now = codec.now_micros()
    heads = _HEADS.load(connection, {each.session_id for each in commands})
    rows = _ROWS(
        connection, keys=codec.array(each.session_key for each in heads.values())
    )
    states = {each.session_key: each for each in rows}
    faults: list[Outcome] = []
    for command in commands:
        head = heads.get(command.session_id)
        if head is None:
            faults.append(SessionNotFound(command.session_id))
            continue
        state = states[head.session_key]
        fault = _error_of(connection, command, state)
        if fault is None:
            _write(connection, command, state, now)
        faults.append(fault)
    sound = [
        each for each, fault in zip(commands, faults, strict=True) if fault is None
    ]
    _HEADS.save(
        connection,
        [heads[each.session_id] for each in sound if not each.is_empty],
        now,
    )
    after = read_sessions(
        connection,
        {each.session_id: heads[each.session_id].session_key for each in sound},
    )
    return [
        after[each.session_id] if fault is None else fault
        for each, fault in zip(commands, faults, strict=True)
    ]


def _error_of(
    connection: Connection, command: UpdateSession, state: _State
) -> Exception | None:
    """Say why an update can't be made."""
    if command.expected is not None and state.status not in command.expected:
        expected = " or ".join(sorted(command.expected))
        return StatusConflict(
            command.session_id,
            as_read(state.status, SessionStatus),
            f"status is {state.status}, expected {expected}",
        )
    wanted = command.columns.get("active_message_id")
    if isinstance(wanted, str):
        if not find_messages(connection, {(state.session_key, wanted)}):
            return MessageNotFound(command.session_id, wanted)
    return None


def _write(
    connection: Connection, command: UpdateSession, state: _State, now: int
) -> None:
    key = state.session_key
    columns = dict(command.columns)
    status = columns.get("status", state.status)
    if status in ENDED and status != state.status:
        columns.setdefault("ended_at", now)
    for table in (sessions, session_heads):
        own = _of(table, columns)
        if own:
            _update(table, tuple(own))(connection, [[key, *own.values()]])
    if command.pairs is not UNSET:
        _DELETE_PAIRS.run_raw(connection, {"key": key})
        created_at = state.created_at_us
        INSERT_METADATA(
            connection,
            [
                MetadataRow(key, *pair, created_at, now)
                for pair in command.pairs.items()
            ],
        )


def _of(table: Table, columns: Mapping[str, Value]) -> dict[str, Any]:
    """Return the values of those columns that a table has."""
    return {name: value for name, value in columns.items() if name in table.c}


@lru_cache(maxsize=256)
def _update(table: Table, names: tuple[str, ...]) -> Update:
    return Update(table, [table.c.session_key], [table.c[name] for name in names])


_HEADS: Final = Heads(Head)
# The database gives the key.
_WRITTEN: Final = [each for each in sessions.c if each is not sessions.c.session_key]
_INSERT: Final = InsertValues(sessions, *_WRITTEN)
_DELETE: Final = delete(sessions).where(
    is_in(sessions.c.session_key, bindparam("keys"))
)
_DELETE_PAIRS: Final = Compiled(
    delete(session_metadata).where(session_metadata.c.session_key == bindparam("key"))
)
_ROWS: Final = Query(
    select(
        sessions.c.session_key,
        sessions.c.status,
        as_micros(sessions.c.created_at).label("created_at_us"),
    ).where(is_in(sessions.c.session_key, bindparam("keys"))),
    _State,
)
