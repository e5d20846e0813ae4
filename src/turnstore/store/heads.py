"""Reading and writing the heads of many sessions, inside a writer's transaction.

A room that writes loads the part of the heads it needs, counts on from there in
Python, inserts its rows and saves the part it changed; appends of events on PostgreSQL
do so by one statement (``events.one_statement``). Nothing is remembered between batches
except which integer key a session id has, which never changes: keys are not used again,
so one that is gone is noticed by its missing head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    bindparam,
    select,
)

from turnstore.errors import SessionNotFound
from turnstore.sql import codec
from turnstore.sql.bulk import Insert, Update, is_distributed, is_in
from turnstore.sql.column_types import Micros
from turnstore.sql.query import PlainQuery, Query
from turnstore.sql.schema import session_heads, sessions

H = TypeVar("H", bound="Head")
T = TypeVar("T")

KEYS_CACHED_MAX: Final = 100_000
_CACHE: Final = "turnstore.session_keys"


class Head(msgspec.Struct, gc=False):
    """Part of a head row; the fields are columns of ``session_heads``."""

    session_key: int


class HeadRow(msgspec.Struct, gc=False, kw_only=True):
    """A row of ``session_heads``, by itself that of a session with nothing in it."""

    session_key: int
    created_at: int
    updated_at: int
    event_head: int = 0
    message_head: int = 0
    message_count: int = 0
    tool_call_head: int = 0
    tool_call_count: int = 0
    pending_tool_calls: int = 0
    usage_head: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    thinking_tokens: int = 0
    api_calls: int = 0
    total_tokens: int = 0
    last_model: str | None = None
    active_message_id: str | None = None
    user_id: str | None = None


INSERT_HEADS: Final = Insert(session_heads, HeadRow)


class Heads(Generic[H]):
    """Loads heads as records of one type and saves some of their columns.

    :param saved: what ``save`` writes, together with ``updated_at``. Only what
        changes belongs here: SQLite rewrites the index of every column that an
        UPDATE names, whether its value changes or not.
    """

    def __init__(self, record: type[H], *saved: Column[Any]) -> None:
        names = [field.name for field in msgspec.structs.fields(record)]
        self._lock = _Lock(record, [session_heads.c[name] for name in names])
        # Never back, where another host's clock is ahead; and so never before
        # created_at, which a caller may give: listing relies on it.
        self._update = Update(
            session_heads,
            [session_heads.c.session_key],
            [session_heads.c.updated_at, *saved],
            at_least={session_heads.c.updated_at: session_heads.c.updated_at},
        )
        self._saved = [each.name for each in saved]

    def load(self, connection: Connection, session_ids: Iterable[str]) -> dict[str, H]:
        """Return the heads by session id; unknown sessions are left out.

        Where several write at a time they are locked, in the order of their keys.
        """
        keys = session_keys(connection, session_ids)
        heads = self._by_key(connection, keys)
        gone = [each for each, key in keys.items() if key not in heads]
        if gone:
            anew = _keys_anew(connection, gone)
            keys |= anew
            heads |= self._by_key(connection, anew)
        return {each: heads[key] for each, key in keys.items() if key in heads}

    def _by_key(self, connection: Connection, keys: Mapping[str, int]) -> dict[int, H]:
        return {
            head.session_key: head for head in self._lock(connection, keys.values())
        }

    def save(self, connection: Connection, heads: Iterable[H], now: int) -> None:
        if len(self._saved) == 1:
            [name] = self._saved
            rows = [[head.session_key, now, getattr(head, name)] for head in heads]
        elif self._saved:
            values = attrgetter(*self._saved)
            rows = [[head.session_key, now, *values(head)] for head in heads]
        else:
            rows = [[head.session_key, now] for head in heads]
        self._update(connection, rows)


class _Lock(Generic[H]):
    """Reads heads by key, and locks them in the order of their keys.

    Where tables are distributed it is one statement for each head, by value: Citus
    locks rows of one shard at a time.
    """

    def __init__(self, record: type[H], columns: Sequence[Column[Any]]) -> None:
        key = session_heads.c.session_key
        heads = select(*columns).with_for_update()
        listed = heads.where(is_in(key, bindparam("keys"))).order_by(key)
        self._as_json = Query(listed, record)
        self._together = PlainQuery(listed, record)
        # A time is decoded from JSON.
        self._is_plain = not any(isinstance(each.type, Micros) for each in columns)
        by_key = heads.where(key == bindparam("key"))
        self._one = (PlainQuery if self._is_plain else Query)(by_key, record)

    def __call__(self, connection: Connection, keys: Collection[int]) -> list[H]:
        if len(keys) == 1 or is_distributed(connection):
            one = partial(self._one, connection)
            return [head for key in sorted(keys) for head in one(key=key)]
        given = codec.array(keys)
        if self._is_plain and connection.dialect.name != "sqlite":
            return self._together(connection, keys=given)
        return self._as_json(connection, keys=given)


class _Key(msgspec.Struct):
    id: str
    session_key: int


_KEYS: Final = Query(
    select(sessions.c.id, sessions.c.session_key).where(
        is_in(sessions.c.id, bindparam("ids"))
    ),
    _Key,
)


def find_keys(connection: Connection, session_ids: Collection[str]) -> dict[str, int]:
    """Return the integer keys of the sessions that exist now."""
    if not session_ids:
        return {}
    found = _KEYS(connection, ids=codec.array(session_ids))
    return {each.id: each.session_key for each in found}


def session_keys(connection: Connection, session_ids: Iterable[str]) -> dict[str, int]:
    """Return integer keys by id. They are cached, so a deleted session may still be
    listed; callers detect that by its missing head."""
    cache = _cache(connection)
    keys: dict[str, int] = {}
    unknown: list[str] = []
    for session_id in session_ids:
        key = cache.get(session_id)
        if key is None:
            unknown.append(session_id)
        else:
            keys[session_id] = key
    if unknown:
        fresh = find_keys(connection, unknown)
        if len(cache) + len(fresh) > KEYS_CACHED_MAX:
            cache.clear()
        cache.update(fresh)
        keys.update(fresh)
    return keys


def known_keys(connection: Connection, session_ids: Iterable[str]) -> dict[str, int]:
    """``session_keys`` of those that are remembered, without a statement."""
    cache = _cache(connection)
    return {each: cache[each] for each in session_ids if each in cache}


def _keys_anew(connection: Connection, gone: Iterable[str]) -> dict[str, int]:
    """Return the keys of sessions that were deleted, and perhaps made again with the
    same id."""
    cache = _cache(connection)
    for session_id in gone:
        cache.pop(session_id, None)
    return session_keys(connection, gone)


def _cache(connection: Connection) -> dict[str, int]:
    # Kept with the connection, where every rollback drops it (``commands.forget``):
    # keys given to sessions that were never committed are given again.
    cache: dict[str, int] = connection.info.setdefault(_CACHE, {})
    return cache


_SAVE_MODELS: Final = Update(
    session_heads, [session_heads.c.session_key], [session_heads.c.last_model]
)


def save_models(connection: Connection, models: Mapping[int, str]) -> None:
    """Set the last model of sessions, by key."""
    _SAVE_MODELS(connection, list(models.items()))


def lock_heads(connection: Connection, session_ids: Collection[str]) -> None:
    """Lock heads until the transaction ends, in the order of their keys, so that two
    transactions never wait for each other.

    For databases where several write at a time, before commands of several kinds: each
    kind by itself would load the heads of its own sessions, in an order of its own.
    """
    keys = session_keys(connection, session_ids)
    locked = {head.session_key for head in _LOCK(connection, keys.values())}
    gone = [each for each, key in keys.items() if key not in locked]
    if gone:
        _LOCK(connection, _keys_anew(connection, gone).values())


def lock_keys(connection: Connection, keys: Collection[int]) -> None:
    """``lock_heads`` of sessions by key."""
    _LOCK(connection, keys)


_LOCK: Final = _Lock(Head, [session_heads.c.session_key])


def of_session(connection: Connection, session_id: str, found: list[T]) -> list[T]:
    """Return what was found of a session.

    :raises SessionNotFound: nothing was found, as there is no such session.
    """
    if not found and not find_keys(connection, [session_id]):
        raise SessionNotFound(session_id)
    return found
