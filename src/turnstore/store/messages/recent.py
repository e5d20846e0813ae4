"""What users said lately, over all sessions: by time, as there is no other order.

A fork may have its own copies of its parent's rows. Of rows that agree in id, time and
text one is given, so a statement may bring fewer texts than rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    bindparam,
    literal_column,
    or_,
    select,
    tuple_,
)

from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.query import as_micros
from turnstore.sql.schema import messages, sessions


class _Said(msgspec.Struct, frozen=True):
    """A text, and where it stands."""

    created_at_us: int
    session_key: int
    seq: int
    id: str
    content: str


def texts_single_statement(
    connection: Connection, count: int, root: str | None
) -> list[str] | None:
    """Return the newest texts from one statement; None where copies among them leave
    too few.

    :param root: only of sessions with this project root.
    """
    found = _NEWEST.single_statement(connection, count, root=root)
    if found is None:
        return None
    texts = _texts(found.rows)
    return None if len(texts) < len(found.rows) == count else texts


def texts_snapshot(connection: Connection, count: int, root: str | None) -> list[str]:
    """As ``texts_single_statement``, whatever it takes. For a snapshot."""
    found = _NEWEST(connection, count, root=root)
    wanted, step, texts = count, found, _texts(found)
    while len(texts) < count and len(step) == wanted:
        wanted, last = wanted * 2, found[-1]
        step = _OLDER(
            connection,
            wanted,
            root=root,
            at=last.created_at_us,
            key=last.session_key,
            seq=last.seq,
        )
        found += step
        texts = _texts(found)
    return texts[:count]


def _texts(found: Sequence[_Said]) -> list[str]:
    """Return the texts in order, of copies the first."""
    said = dict.fromkeys((each.id, each.created_at_us, each.content) for each in found)
    return [content for _, _, content in said]


_PLACE: Final = (messages.c.created_at, messages.c.session_key, messages.c.seq)
_ROOT: Final = bindparam("root", type_=Text())
_TEXTS: Final = (
    select(
        as_micros(messages.c.created_at).label("created_at_us"),
        messages.c.session_key,
        messages.c.seq,
        messages.c.id,
        messages.c.content,
    )
    .join(sessions, sessions.c.session_key == messages.c.session_key)
    .where(
        messages.c.role == literal_column("'user'"),
        # Text as encoded JSON starts with a quote, and is more than the two of empty
        # text. Not by a range, as databases sort text differently; nor by a function,
        # of which PostgreSQL thinks that few rows meet it, and reads them all first.
        messages.c.content.like(literal_column("'\"%'")),
        messages.c.content != literal_column("'\"\"'"),
        or_(_ROOT.is_(None), sessions.c.project_root == _ROOT),
    )
    .order_by(*(each.desc() for each in _PLACE))
)
_NEWEST: Final = BoundedQuery(_TEXTS, _Said)
_LAST: Final = [bindparam(name, type_=BigInteger) for name in ("at", "key", "seq")]
_OLDER: Final = BoundedQuery(_TEXTS.where(tuple_(*_PLACE) < tuple_(*_LAST)), _Said)
