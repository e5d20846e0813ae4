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

from turnstore.sql.query import Query, object_of
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


def check_heads(connection: Connection, after: int) -> tuple[int | None, list[str]]:
    """Look at the next sessions after a key.

    Returns the key of the last one, None when there are no more, and what is wrong, a
    problem a line.
    """
    found = _STORED(connection, after=after)
    if not found:
        return None, []
    last = found[-1].session_key
    rows: dict[int, dict[str, int]] = {each.session_key: {} for each in found}
    for query in _COUNTED:
        for each in query(connection, after=after, last=last):
            # The ledger has rows of deleted sessions too.
            _add(rows.get(each.session_key, {}), each.counts)
    return last, [
        f"session {each.id!r}: {problem}"
        for each in found
        for problem in _problems(each.counts, rows[each.session_key])
    ]


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        before = counts.get(name, 0)
        counts[name] = max(before, count) if name in _HEADS else before + count


def _problems(stored: dict[str, int | None], rows: dict[str, int]) -> list[str]:
    problems = []
    for name, value in stored.items():
        actual = rows.get(name, 0)
        if value is None:
            return ["it has no head"]
        if name in _HEADS and value < actual:
            problems.append(f"{name} is {value}, and there is a row {actual}")
        if name in _TOTALS and value != actual:
            problems.append(f"{name} is {value}, the rows say {actual}")
    return problems


class _Stored(msgspec.Struct):
    session_key: int
    id: str
    counts: dict[str, int | None]


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
    object_of({name: session_heads.c[name] for name in (*_HEADS, *_TOTALS)}).label(
        "counts"
    ),
]
_STORED: Final = Query(
    select(*_stored)
    .outerjoin(session_heads, session_heads.c.session_key == sessions.c.session_key)
    .where(sessions.c.session_key > bindparam("after"))
    .order_by(sessions.c.session_key)
    .limit(literal_column(str(SESSIONS))),
    _Stored,
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
