"""Events appended by one statement, for PostgreSQL.

It locks the heads in the order of their keys, counts them on, and gives the events
their numbers. Outside a transaction it is one by itself: a batch then takes one step to
the server and back, inside one three, with BEGIN and COMMIT.

All or nothing: where one of the sessions is gone no row is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    FromClause,
    Text,
    bindparam,
    cast,
    extract,
    func,
    literal_column,
    select,
    true,
    update,
)

from turnstore.sql import codec
from turnstore.sql.compiled import Compiled
from turnstore.sql.dialects import Greatest
from turnstore.sql.schema import events, session_heads
from turnstore.sql.unnest import NoElements, Unnested

NumberedRow = tuple[int, int, str, str | None, str | None, str | None, int | None]
"""Key of the session, which of its new events it is (from 1), type, encoded data,
model, turn id, microseconds or None for now."""

SET_WITHIN: Final = ("synchronous_commit", "client_min_messages", "lock_timeout")
"""Those of ``write_settings`` that it sets where it is a transaction by itself: all but
the bound on waiting for its client, which it never does. What is added there belongs
here too."""


def append(
    connection: Connection,
    rows: Sequence[NumberedRow],
    counts: Mapping[int, int],
    models: Mapping[int, str],
    settings: Mapping[str, str] | None,
) -> dict[int, tuple[int, int]]:
    """Append events; return the head that each session had, and the time they got, by
    key. Nothing is written or returned where a session is gone, or one row alone has an
    empty text.

    :param counts: of each session's rows, by key.
    :param models: what becomes their last model, of those that get another.
    :param settings: what its transaction has to be set to, where it is one by itself.
    """
    wanted = (list(counts), list(counts.values()), [*map(models.get, counts)])
    statement = _IN_A_TRANSACTION if settings is None else _ALONE
    try:
        values = {
            **_SESSIONS.values(wanted),
            **_EVENTS.values(list(zip(*rows, strict=True))),
            **(settings or {}),
            "sessions": len(counts),
            "now": codec.now_micros(),
        }
    except NoElements:
        return {}
    found = statement.run_raw(connection, values)
    return {key: (head, now) for key, head, now in found}


def _build(settings: FromClause | None) -> Executable:
    heads = session_heads.c
    wanted = _SESSIONS.table(source=settings)
    locked = (
        select(heads.session_key, wanted.c["count"], wanted.c.model)
        .join_from(session_heads, wanted, heads.session_key == wanted.c.session_key)
        .order_by(heads.session_key)
        .with_for_update(of=session_heads)
        .cte("locked")
    )
    # Counted when the last lock is there. That may have taken long, for another writer
    # whose time is later than when this one began.
    waited = extract("epoch", func.clock_timestamp() - func.statement_timestamp())
    waited_us = cast(waited * literal_column("1000000"), BigInteger)
    found = (
        select(
            func.count().label("sessions"),
            (bindparam("now", type_=BigInteger) + waited_us).label("now"),
        )
        .select_from(locked)
        .cte("found")
    )
    advanced = (
        update(session_heads)
        .where(
            heads.session_key == locked.c.session_key,
            found.c.sessions == bindparam("sessions", type_=BigInteger),
        )
        .values(
            {
                heads.event_head: heads.event_head + locked.c["count"],
                # Never back, where another host's clock is ahead.
                heads.updated_at: Greatest(found.c.now, heads.updated_at),
                heads.last_model: func.coalesce(locked.c.model, heads.last_model),
            }
        )
        .returning(
            heads.session_key,
            (heads.event_head - locked.c["count"]).label("event_head"),
            found.c.now,
        )
        .cte("advanced")
    )
    given = _EVENTS.table()
    numbered = select(
        given.c.session_key,
        advanced.c.event_head + given.c.place,
        given.c.type,
        given.c.data,
        given.c.model,
        given.c.turn_id,
        func.coalesce(given.c.created_at, advanced.c.now),
    ).join(advanced, advanced.c.session_key == given.c.session_key)
    columns = list(events.c)
    written = events.insert().from_select(columns, numbered).cte("written")
    return select(
        advanced.c.session_key, advanced.c.event_head, advanced.c.now
    ).add_cte(written)


def _settings() -> FromClause:
    # Set for this transaction, and before a row is locked: each comes from the wanted
    # sessions, whose table reads this one first.
    return select(
        *(
            func.set_config(
                literal_column(f"'{name}'"), bindparam(name, type_=Text), true()
            ).label(name)
            for name in SET_WITHIN
        )
    ).subquery("settings")


_SESSIONS: Final = Unnested(
    "wanted", {"session_key": BigInteger(), "count": BigInteger(), "model": Text()}
)
_EVENTS: Final = Unnested(
    "given",
    {
        "session_key": BigInteger(),
        "place": BigInteger(),
        "type": Text(),
        "data": Text(),
        "model": Text(),
        "turn_id": Text(),
        "created_at": BigInteger(),
    },
)
_IN_A_TRANSACTION: Final = Compiled(lambda: _build(None))
_ALONE: Final = Compiled(lambda: _build(_settings()))
