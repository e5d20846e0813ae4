"""The model that a session's history names last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    bindparam,
    or_,
    select,
)

from turnstore.sql import codec
from turnstore.sql.query import Query, as_micros
from turnstore.sql.schema import events, messages
from turnstore.store.history import Piece, Source, pieces

ROWS_LOOKED_AT_FIRST: Final = 1_000
"""Numbers of each series in which a model is looked for, before all are."""


class _Named(msgspec.Struct):
    """A message or an event, and the model that it names."""

    model: str | None
    created_at_us: int


def find_last_model(
    connection: Connection,
    key: int,
    sources: Sequence[Source],
    upto_message: int,
    upto_event: int,
) -> str | None:
    """Return the model of the newest message or event up to the point that names one,
    by ``created_at``; of two at one time the event's.

    Walks back along the primary keys, a few rows at first, as either series may name
    none for long: what the other one names ends the walk at what is older. (So where
    callers gave times out of order, something newer may lie behind that.)
    """
    messages_of = pieces("message", key, sources, upto_message)
    events_of = pieces("event", key, sources, upto_event)
    best: _Named | None = None
    for rows_max in (ROWS_LOOKED_AT_FIRST, codec.INTEGER_MAX):
        first_message, first_event = upto_message - rows_max, upto_event - rows_max
        found = _newest_named(connection, _MESSAGES, messages_of, first_message, best)
        if found and (best is None or found.created_at_us > best.created_at_us):
            best = found
        found = _newest_named(connection, _EVENTS, events_of, first_event, best)
        if found and (best is None or found.created_at_us >= best.created_at_us):
            best = found
        if first_message <= 0 and first_event <= 0:
            break
    return None if best is None else best.model


def _newest_named(
    connection: Connection,
    query: Query[_Named],
    parts: Sequence[Piece],
    after: int,
    best: _Named | None,
) -> _Named | None:
    """Return the newest row that names a model, unless one is older than the best."""
    since = None if best is None else best.created_at_us
    for key, low, upto in reversed(parts):
        found = query.one(
            connection, key=key, after=max(low, after), upto=upto, since=since
        )
        if found is not None:
            return found if found.model is not None else None
    return None


def _naming(table: Table) -> Query[_Named]:
    time = as_micros(table.c.created_at)
    since = bindparam("since", type_=BigInteger)
    return Query(
        select(table.c.model, time.label("created_at_us"))
        .where(
            table.c.session_key == bindparam("key"),
            table.c.seq > bindparam("after"),
            table.c.seq <= bindparam("upto"),
            or_(table.c.model.is_not(None), time < since),
        )
        .order_by(table.c.seq.desc())
        .limit(1),
        _Named,
    )


_MESSAGES: Final = _naming(messages)
_EVENTS: Final = _naming(events)
