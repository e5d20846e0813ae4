"""Which messages are archived, over all sessions, and since when."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    Text,
    and_,
    bindparam,
    func,
    or_,
    select,
    union_all,
)

from turnstore.sql.dialects import Bytes
from turnstore.sql.schema import compactions, fork_sources, messages, sessions
from turnstore.store.history import shown


def _bytes(column: ColumnElement[Any]) -> ColumnElement[int]:
    # Of text, length() counts characters.
    return func.coalesce(Bytes(column), 0)


def _rows(*, shared: bool) -> Select[Any]:
    """Return the archived messages of sessions: their own, or what forks show of
    others.

    Takes ``root`` and ``session``, None for any.
    """
    if shared:
        source: FromClause = compactions.join(
            fork_sources, fork_sources.c.session_key == compactions.c.session_key
        )
        is_held = shown(messages)
    else:
        source = compactions
        is_held = messages.c.session_key == compactions.c.session_key
    tables = source.join(
        sessions, sessions.c.session_key == compactions.c.session_key
    ).join(messages, and_(is_held, messages.c.seq < compactions.c.summary_seq))
    root: ColumnElement[str] = bindparam("root", type_=Text())
    session: ColumnElement[str] = bindparam("session", type_=Text())
    return (
        select(
            compactions.c.session_key,
            messages.c.seq,
            # The first of those that would have archived it.
            func.min(compactions.c.seq).label("archived_by"),
            func.min(compactions.c.created_at).label("archived_at"),
            func.max(_bytes(messages.c.content) + _bytes(messages.c.tool_calls)).label(
                "size_bytes"
            ),
        )
        .select_from(tables)
        .where(
            or_(
                and_(
                    messages.c.summary_of.is_(None),
                    messages.c.seq < compactions.c.boundary_seq,
                ),
                messages.c.summary_of < compactions.c.seq,
            ),
            or_(root.is_(None), sessions.c.project_root == root),
            or_(session.is_(None), sessions.c.id == session),
        )
        .group_by(compactions.c.session_key, messages.c.seq)
    )


OWN: Final[Subquery] = _rows(shared=False).subquery("archived")
SHARED: Final[Subquery] = _rows(shared=True).subquery("archived")
ALL: Final[Subquery] = union_all(_rows(shared=False), _rows(shared=True)).subquery(
    "archived"
)
