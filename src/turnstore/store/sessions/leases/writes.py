"""The commands that acquire, renew and release leases, and the check of a fenced turn.

A session has at most one row in ``session_leases``, and a new token with each holder.
Every rule is decided by the database's clock, inside a transaction that excludes other
holders of the session: on SQLite by the write lock, on PostgreSQL by the lock of the
session's head, which acquiring, recovering and every turn take first. Renewing takes
no head: it changes a row that is held, and waits for whoever deletes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    or_,
    select,
    update,
)

from turnstore.engine.commands import Command, Outcome, runs
from turnstore.errors import LeaseHeld, LeaseLost, SessionNotFound
from turnstore.sql import codec
from turnstore.sql.bulk import Insert, is_in
from turnstore.sql.compiled import Compiled
from turnstore.sql.dialects import Now
from turnstore.sql.query import Query
from turnstore.sql.schema import session_leases, sessions
from turnstore.store.heads import Head, Heads

ROW_BYTES: Final = 100


class AcquireLease(Command[int], frozen=True):
    """Takes the lease of a session that nobody holds; the result is its token."""

    is_locking: ClassVar[bool] = True
    owner: str
    ttl_us: int

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[AcquireLease]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        keys = {name: head.session_key for name, head in heads.items()}
        drop_free_leases(connection, keys.values())
        outcomes: list[Outcome] = []
        # Of two for one session in a batch the second meets the first's lease.
        for run in runs(commands, lambda each: each.session_id):
            outcomes += _acquire(connection, run, keys)
        return outcomes


class RenewLeases(Command[frozenset[int]], frozen=True):
    """Extends leases by their time to live; the result is the tokens that were still
    held. Touches no session, so it keeps no place among the writes of any."""

    is_locking: ClassVar[bool] = True  # it has no session to lock
    tokens: Sequence[int]

    @property
    def session_ids(self) -> Collection[str]:
        return ()

    @staticmethod
    def apply(connection: Connection, commands: Sequence[RenewLeases]) -> list[Outcome]:
        given = codec.array(token for each in commands for token in each.tokens)
        _RENEW.run_raw(connection, {"tokens": given})
        held = _held(connection, given)
        return [held.intersection(each.tokens) for each in commands]


class ReleaseLease(Command[None], frozen=True):
    """Gives a lease back; does nothing where it is not held any more."""

    token: int

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[ReleaseLease]
    ) -> list[Outcome]:
        tokens = codec.array(each.token for each in commands)
        _RELEASE.run_raw(connection, {"tokens": tokens})
        return [None] * len(commands)


def lost_leases(
    connection: Connection, tokens: Mapping[int, str]
) -> dict[int, Exception]:
    """Return an error for each lease that is not held now, by token.

    One read by key, and another one where a lease is lost.

    :param tokens: session ids by token.
    """
    held = _held(connection, codec.array(tokens))
    lost = {token: name for token, name in tokens.items() if token not in held}
    if not lost:
        return {}
    found = _HOLDERS(connection, ids=codec.array(set(lost.values())))
    holders = {each.id: each for each in found}
    return {token: _lost(name, token, holders) for token, name in lost.items()}


def drop_free_leases(connection: Connection, keys: Collection[int]) -> None:
    """Delete leases that have expired, of sessions whose heads are locked. Those left
    are held: one that is renewed at the same time is waited for, and stays."""
    _DROP_FREE.run_raw(connection, {"keys": codec.array(keys)})


class _LeaseRow(msgspec.Struct):
    session_key: int
    owner: str
    ttl_us: int
    expires_at: int = 0


class _Lease(msgspec.Struct):
    session_key: int
    token: int
    owner: str
    expires_at: datetime


class _Holder(msgspec.Struct):
    id: str
    token: int | None
    owner: str | None
    expires_at: datetime | None


class _Token(msgspec.Struct):
    token: int


def _acquire(
    connection: Connection, commands: Sequence[AcquireLease], keys: Mapping[str, int]
) -> list[Outcome]:
    """Acquire leases of different sessions."""
    wanted = {
        keys[each.session_id]: each for each in commands if each.session_id in keys
    }
    found = _OF_SESSIONS(connection, keys=codec.array(wanted))
    held = {each.session_key: each for each in found}
    free = wanted.keys() - held.keys()
    taken = codec.array(free)
    _INSERT(
        connection,
        [_LeaseRow(key, wanted[key].owner, wanted[key].ttl_us) for key in free],
    )
    # By the database's clock, which a row of values can't have.
    _BEGIN.run_raw(connection, {"keys": taken})
    made = {each.session_key: each for each in _OF_SESSIONS(connection, keys=taken)}
    outcomes: list[Outcome] = []
    for command in commands:
        name = command.session_id
        key = keys.get(name)
        if key is None:
            outcomes.append(SessionNotFound(name))
        elif key in made:
            outcomes.append(made[key].token)
        else:
            outcomes.append(LeaseHeld(name, held[key].owner, held[key].expires_at))
    return outcomes


def _held(connection: Connection, tokens: str) -> frozenset[int]:
    return frozenset(each.token for each in _HELD(connection, tokens=tokens))


def _lost(name: str, token: int, holders: Mapping[str, _Holder]) -> Exception:
    holder = holders.get(name)
    if holder is None:
        return SessionNotFound(name)
    if holder.token == token:  # it expired, and nobody has taken it
        return LeaseLost(name, token)
    return LeaseLost(name, token, holder.owner, holder.expires_at)


_NOW: Final = Now()
_is_alive: Final = session_leases.c.expires_at > _NOW
_until: Final[ColumnElement[int]] = _NOW + session_leases.c.ttl_us
IS_FREE: Final = or_(
    session_leases.c.expires_at <= _NOW,
    # The clock was put back by more than the time to live: nobody waits for that long.
    session_leases.c.expires_at > _until + session_leases.c.ttl_us,
)
"""Of a row of ``session_leases``: another one may take it."""

_given_tokens: Final = is_in(session_leases.c.token, bindparam("tokens"))
_of_sessions: Final = is_in(session_leases.c.session_key, bindparam("keys"))
_HEADS: Final = Heads(Head)
_INSERT: Final = Insert(session_leases, _LeaseRow)
_BEGIN: Final = Compiled(
    update(session_leases).where(_of_sessions).values(expires_at=_until)
)
_RENEW: Final = Compiled(
    update(session_leases).where(_given_tokens, _is_alive).values(expires_at=_until)
)
_RELEASE: Final = Compiled(delete(session_leases).where(_given_tokens))
_DROP_FREE: Final = Compiled(delete(session_leases).where(_of_sessions, IS_FREE))
_HELD: Final = Query(
    select(session_leases.c.token).where(_given_tokens, _is_alive), _Token
)
_OF_SESSIONS: Final = Query(
    select(*(session_leases.c[name] for name in _Lease.__struct_fields__)).where(
        _of_sessions
    ),
    _Lease,
)
_HOLDERS: Final = Query(
    select(
        sessions.c.id,
        session_leases.c.token,
        session_leases.c.owner,
        session_leases.c.expires_at,
    )
    .outerjoin(session_leases, session_leases.c.session_key == sessions.c.session_key)
    .where(is_in(sessions.c.id, bindparam("ids"))),
    _Holder,
)
