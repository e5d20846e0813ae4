"""Idempotency keys: which call of a session wrote what, for as long as it lives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, select

from turnstore.sql import codec
from turnstore.sql.bulk import Insert, pairs
from turnstore.sql.query import Query
from turnstore.sql.schema import idempotency_keys

KeyRef = tuple[int, str]
"""Session key and idempotency key."""


class _Row(msgspec.Struct, gc=False):
    """A row of ``idempotency_keys``."""

    session_key: int
    kind: str
    key: str
    seq: int


_places, _session_key, _key = pairs(bindparam("places"))
_FIND: Final = Query(
    select(*(idempotency_keys.c[name] for name in _Row.__struct_fields__))
    .select_from(_places)
    .join(
        idempotency_keys,
        and_(
            idempotency_keys.c.session_key == _session_key,
            idempotency_keys.c.kind == bindparam("kind"),
            idempotency_keys.c.key == _key,
        ),
    ),
    _Row,
)
_INSERT: Final = Insert(idempotency_keys, _Row)


def find(
    connection: Connection, kind: str, places: Collection[KeyRef]
) -> dict[KeyRef, int]:
    """Return the first seq that was written under each of the places used before."""
    if not places:
        return {}
    found = _FIND(connection, places=codec.pairs(places), kind=kind)
    return {(each.session_key, each.key): each.seq for each in found}


def remember(
    connection: Connection, kind: str, written: Sequence[tuple[KeyRef, int]]
) -> None:
    _INSERT(connection, [_Row(key, kind, name, seq) for (key, name), seq in written])
