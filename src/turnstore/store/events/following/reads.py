"""What followers read: heads of sessions, and pages of events.

The heads of all sessions are read by *blocks* of keys. First a digest of each block:
one statement, without giving rows out. A block's digest changes exactly when one of
its sessions gets events, comes or goes: heads only grow, and a new session has a
greater key than any before it. So only blocks that changed are read row by row.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, func, literal_column, select

from turnstore.engine.backend import Backend
from turnstore.records import Event
from turnstore.sql import codec
from turnstore.sql.bulk import is_distributed, is_in
from turnstore.sql.compiled import Compiled
from turnstore.sql.dialects import Elements, Formatted, Scalar
from turnstore.sql.query import Query
from turnstore.sql.schema import events, session_heads, sessions
from turnstore.store.heads import find_keys
from turnstore.store.history import History
from turnstore.store.selects import EVENT_COLUMNS, SESSION_IS

BLOCK_KEYS: Final = 1_024
PAGE_EVENTS: Final = 500


class SessionHead(msgspec.Struct, gc=False):
    id: str
    session_key: int
    event_head: int


class Page(msgspec.Struct):
    """Events of a session after a seq, and its key; None: there is no such session."""

    session_key: int | None
    events: list[Event]
    goes_on: bool


class _Block(msgspec.Struct, gc=False):
    number: int
    digest: str


def find_heads(
    connection: Connection, session_ids: list[str]
) -> dict[str, SessionHead]:
    """Return the heads of the sessions that exist, by id."""
    found = _HEADS(connection, ids=codec.array(session_ids))
    return {each.id: each for each in found}


def list_blocks(connection: Connection) -> dict[int, str]:
    """Return the digest of each block, by number.

    Where tables are distributed, only of those that have sessions.
    """
    if is_distributed(connection):
        return {each.number: each.digest for each in _GROUPED(connection)}
    [(last_key,)] = _LAST_KEY.run_raw(connection, {})
    numbers = codec.array(range((last_key or 0) // BLOCK_KEYS + 1))
    return {each.number: each.digest for each in _BLOCKS(connection, numbers=numbers)}


def list_heads(connection: Connection, block: int) -> list[SessionHead]:
    """Return the heads of a block in order of keys."""
    first = block * BLOCK_KEYS
    return _BLOCK_HEADS(connection, first=first, last=first + BLOCK_KEYS - 1)


async def read_page(backend: Backend, session_id: str, after: int) -> Page:
    """Read the first events after a seq, with those of a fork's sources: at most
    ``PAGE_EVENTS`` and as many as fit into a portion."""
    return await backend.read_single_statement(
        partial(_page_single_statement, session_id=session_id, after=after),
        partial(_page_snapshot, session_id=session_id, after=after),
    )


def _page_single_statement(
    connection: Connection, session_id: str, after: int
) -> Page | None:
    found = _EVENTS.portion(
        connection,
        PAGE_EVENTS,
        session=session_id,
        after=after,
        before=codec.INTEGER_MAX,
    )
    if found is None:
        return None
    [session_key] = found.extra
    return Page(session_key, found.rows, found.goes_on)


def _page_snapshot(connection: Connection, session_id: str, after: int) -> Page:
    found = _EVENTS.snapshot_portion(
        connection,
        PAGE_EVENTS,
        session=session_id,
        after=after,
        before=codec.INTEGER_MAX,
    )
    key = find_keys(connection, [session_id]).get(session_id)
    return Page(key, found.rows, found.goes_on)


_COLUMNS: Final = select(
    sessions.c.id, session_heads.c.session_key, session_heads.c.event_head
).join(sessions, sessions.c.session_key == session_heads.c.session_key)
_HEADS: Final = Query(
    _COLUMNS.where(is_in(sessions.c.id, bindparam("ids"))), SessionHead
)
_BLOCK_HEADS: Final = Query(
    _COLUMNS.where(
        session_heads.c.session_key.between(bindparam("first"), bindparam("last"))
    ).order_by(session_heads.c.session_key),
    SessionHead,
)
_LAST_KEY: Final = Compiled(select(func.max(session_heads.c.session_key)))
_block = Elements(bindparam("numbers")).table_valued("value", name="block")
_number: Any = Scalar(_block.c.value, BigInteger())
_first_key: Any = _number * literal_column(str(BLOCK_KEYS))
_digest = Formatted(
    literal_column("'%s %s %s'"),
    func.count(),
    func.sum(session_heads.c.session_key),
    func.sum(session_heads.c.event_head),
)
_DIGEST: Final = (
    select(_digest)
    .where(
        session_heads.c.session_key.between(
            _first_key, _first_key + literal_column(str(BLOCK_KEYS - 1))
        )
    )
    .correlate(_block)
    .scalar_subquery()
)
# In a join the planner could turn it around, and read every head for every block.
_BLOCKS: Final = Query(select(_number.label("number"), _DIGEST.label("digest")), _Block)
# Where tables are distributed, as nodes take no list of blocks to look up. Elsewhere
# it would sort or hash all heads.
_quotient = session_heads.c.session_key.op("/")(literal_column(str(BLOCK_KEYS)))
_GROUPED: Final = Query(
    select(_quotient.label("number"), _digest.label("digest")).group_by(_quotient),
    _Block,
)
_KEY: Final = select(sessions.c.session_key).where(SESSION_IS).scalar_subquery()
_EVENTS: Final = History("event", events, EVENT_COLUMNS, Event, extra=(_KEY,))
