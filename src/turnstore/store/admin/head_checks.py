"""Whether the heads agree with the rows that they count.

``SESSIONS`` sessions are looked at in one snapshot, so that neither memory nor the log
grows with the store. Each table is read along its key.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    select,
)

from turnstore.errors import DatabaseCorrupt
from turnstore.sql.query import Query, as_micros, object_of
from turnstore.sql.schema import (
    IS_OPEN,
    events,
    fork_sources,
    messages,
    session_heads,
    sessions,
    tool_calls,
    usage_ledger,
)
from turnstore.store.history import shown
from turnstore.store.ledger import COUNTS

SESSIONS: Final = 500

_HEADS: Final = ("event_head", "message_head", "tool_call_head", "usage_head")
"""A head may be beyond the last row: rows are deleted, numbers not used again."""
_TOTALS: Final = (
    "message_count",
    "tool_call_count",
    "pending_tool_calls",
    "total_tokens",
    *COUNTS,
)


class Mismatch(msgspec.Struct, frozen=True):
    """A session whose head does not agree with its rows.

    ``totals`` are what the head has to say; None where there is no head.
    """

    session_key: int
    id: str
    problems: list[str]
    totals: dict[str, int]
    has_head: bool

    def lines(self) -> list[str]:
        return [f"session {self.id!r}: {problem}" for problem in self.problems]


def check_heads(
    connection: Connection, after: int
) -> tuple[int | None, list[Mismatch]]:
    """Look at the next sessions after a key.

    Returns the key of the last one, None when there are no more, and what does not
    agree. Sessions with damaged values are passed over: those are found by
    ``row_checks``.
    """
    keys = [each.session_key for each in _KEYS(connection, after=after)]
    if not keys:
        return None, []
    try:
        return keys[-1], check_sessions(connection, after, keys[-1])
    except DatabaseCorrupt as error:
        if error.table is None:
            raise
    found: list[Mismatch] = []
    for key in keys:
        try:
            found += check_sessions(connection, key - 1, key)
        except DatabaseCorrupt as error:
            if error.table is None:
                raise
    return keys[-1], found


def check_sessions(connection: Connection, after: int, last: int) -> list[Mismatch]:
    """Return what does not agree in the sessions after a key, up to the last one.

    :raises DatabaseCorrupt: a value of them is damaged.
    """
    found = _STORED(connection, after=after, last=last)
    rows: dict[int, dict[str, int]] = {each.session_key: {} for each in found}
    for query in _COUNTED:
        for each in query(connection, after=after, last=last):
            # The ledger has rows of deleted sessions too.
            _add(rows.get(each.session_key, {}), each.counts)
    return [
        Mismatch(each.session_key, each.id, problems, totals, has_head)
        for each in found
        for problems, totals, has_head in [_compared(each, rows[each.session_key])]
        if problems
    ]


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        before = counts.get(name, 0)
        counts[name] = max(before, count) if name in _HEADS else before + count


def _compared(
    session: _Stored, rows: dict[str, int]
) -> tuple[list[str], dict[str, int], bool]:
    problems = []
    totals: dict[str, int] = {}
    for name, value in session.counts.items():
        actual = totals[name] = rows.get(name, 0)
        if value is None:
            continue
        if name in _HEADS:
            totals[name] = max(value, actual)
            if value < actual:
                problems.append(f"{name} is {value}, and there is a row {actual}")
        elif value != actual:
            problems.append(f"{name} is {value}, the rows say {actual}")
    has_head = None not in session.counts.values()
    if not has_head:
        problems = ["it has no head"]
    elif session.head_created_at != session.created_at:
        problems.append(
            f"created_at is {session.created_at}, its head says "
            f"{session.head_created_at}"
        )
    return problems, totals, has_head


class _Stored(msgspec.Struct):
    session_key: int
    id: str
    created_at: int
    head_created_at: int | None
    counts: dict[str, int | None]


class _Key(msgspec.Struct):
    session_key: int


class _Counted(msgspec.Struct):
    session_key: int
    counts: dict[str, int]


def _count(key: Any, rows: FromClause, **counts: ColumnElement[Any]) -> Query[_Counted]:
    """Count the rows of each of the sessions from ``after`` to ``last``."""
    columns: list[ColumnElement[Any]] = [
        key.label("session_key"),
        object_of(counts).label("counts"),
    ]
    statement: Select[Any] = (
        select(*columns)
        .select_from(rows)
        .where(key > bindparam("after"), key <= bindparam("last"))
        .group_by(key)
    )
    return Query(statement, _Counted)


_stored: list[ColumnElement[Any]] = [
    sessions.c.session_key,
    sessions.c.id,
    as_micros(sessions.c.created_at).label("created_at"),
    as_micros(session_heads.c.created_at).label("head_created_at"),
    object_of({name: session_heads.c[name] for name in (*_HEADS, *_TOTALS)}).label(
        "counts"
    ),
]
_STORED: Final = Query(
    select(*_stored)
    .outerjoin(session_heads, session_heads.c.session_key == sessions.c.session_key)
    .where(
        sessions.c.session_key > bindparam("after"),
        sessions.c.session_key <= bindparam("last"),
    )
    .order_by(sessions.c.session_key),
    _Stored,
)
_KEYS: Final = Query(
    select(sessions.c.session_key)
    .where(sessions.c.session_key > bindparam("after"))
    .order_by(sessions.c.session_key)
    .limit(literal_column(str(SESSIONS))),
    _Key,
)
_COUNTED: Final = (
    _count(events.c.session_key, events, event_head=func.max(events.c.seq)),
    _count(
        messages.c.session_key,
        messages,
        message_head=func.max(messages.c.seq),
        message_count=func.count(),
    ),
    # What forks show of other sessions.
    _count(
        fork_sources.c.session_key,
        fork_sources,
        event_head=func.max(fork_sources.c.event_upto),
        message_head=func.max(fork_sources.c.message_upto),
    ),
    _count(
        fork_sources.c.session_key,
        fork_sources.join(messages, shown(messages)),
        message_count=func.count(),
    ),
    _count(
        tool_calls.c.session_key,
        tool_calls,
        tool_call_head=func.max(tool_calls.c.seq),
        tool_call_count=func.count(),
        pending_tool_calls=func.sum(case((IS_OPEN, 1), else_=0)),
    ),
    _count(
        usage_ledger.c.session_key,
        usage_ledger,
        usage_head=func.max(usage_ledger.c.seq),
        total_tokens=func.sum(
            usage_ledger.c.prompt_tokens + usage_ledger.c.completion_tokens
        ),
        **{name: func.sum(usage_ledger.c[name]) for name in COUNTS},
    ),
)
