"""Forks show rows of their sources: how these are read, and copied to a fork.

A fork shows rows of other sessions as its own. ``fork_sources`` names them, oldest
first: each is a range of ``seq`` in another session, after the ranges before it. The
fork's own rows come after them all. So a history is read piece by piece, and only a
fork pays for it: the first statement of a read tells whether the session is one.

Whatever deletes rows of a session first *materializes* the forks that show them: each
gets its own copy of what it shows, and names no source any longer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)

from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery, Portion
from turnstore.sql.bulk import copying, is_in
from turnstore.sql.compiled import Value
from turnstore.sql.dialects import Greatest
from turnstore.sql.query import CHUNK_ROWS, Query
from turnstore.sql.schema import events, fork_sources, messages, session_heads, sessions
from turnstore.store.selects import SESSION_IS

T = TypeVar("T")
Kind = Literal["message", "event"]
Piece = tuple[int, int, int]
"""Rows of a session, by key: those with after < seq <= upto."""


class Source(msgspec.Struct, frozen=True):
    """Rows of another session: those with after < seq <= upto."""

    source_key: int
    message_after: int
    message_upto: int
    event_after: int
    event_upto: int

    def range_of(self, kind: Kind) -> tuple[int, int]:
        if kind == "message":
            return self.message_after, self.message_upto
        return self.event_after, self.event_upto


class History(Generic[T]):
    """Rows of one table by ``seq``, with those of the session's sources.

    The bind parameters are ``session``, ``after`` and ``before`` (both exclusive),
    ``limit``, and those of ``where``.

    :param columns: a SELECT of the table and ``sessions``, not joined yet.
    :param extra: scalar subqueries that ``single_statement`` gives too.
    :param first: a scalar subquery: the first seq that is wanted.
    :param newest: by descending seq.
    """

    def __init__(
        self,
        kind: Kind,
        table: Table,
        columns: Select[Any],
        record: type[T],
        *where: ColumnElement[bool],
        extra: Sequence[ColumnElement[Any]] = (),
        first: ColumnElement[int] | None = None,
        newest: bool = False,
    ) -> None:
        self._kind = kind
        self._newest = newest
        seq = table.c.seq
        after: ColumnElement[int] = bindparam("after", type_=BigInteger)
        if first is not None:
            # One bound, as only one leads an index.
            after = Greatest(after, first - 1)
        wanted = columns.where(
            SESSION_IS,
            seq > after,
            seq < bindparam("before"),
            *where,
        ).order_by(seq.desc() if newest else seq)
        key = table.c.session_key
        # By value, or PostgreSQL may sort all rows of a session, or read the table.
        head = session_heads.c[f"{kind}_head"] - bindparam("after", type_=BigInteger)
        there = select(head).join(sessions, _HEAD_OF_SESSION).where(SESSION_IS)
        self._own = BoundedQuery(
            wanted.select_from(
                table.join(sessions, sessions.c.session_key == key)
            ).where(key == _KEY_OF_SESSION),
            record,
            extra=(SOURCES_COUNT, *extra),
            rows_max=there,
        )
        self._of_source = BoundedQuery(
            wanted.select_from(table.join(sessions, SESSION_IS)).where(
                key == bindparam("source")
            ),
            record,
        )

    def single_statement(
        self, connection: Connection, limit: int | None, **values: Value
    ) -> tuple[list[T], Sequence[Any]] | None:
        """Read in one statement; None where it takes more: of a fork, or where there
        are many rows or large ones."""
        found = self._own.single_statement(connection, limit, **values)
        if found is None:
            return None
        sources, *extra = found.extra
        return None if sources else (found.rows, extra)

    def portion(
        self, connection: Connection, limit: int, **values: Any
    ) -> Portion[T] | None:
        """Read the first rows, as many as fit into a portion; None of a fork."""
        found = self._own.portion(connection, limit, **values)
        sources, *extra = found.extra
        return None if sources else Portion(found.rows, extra, found.goes_on)

    def snapshot(
        self,
        connection: Connection,
        limit: int | None,
        *,
        session: str,
        after: int,
        before: int,
        **values: Value,
    ) -> list[T]:
        """Read all, portion by portion. For a snapshot."""
        return self._read_pieces(
            connection, limit, session, after, before, values, is_whole=True
        ).rows

    def snapshot_portion(
        self,
        connection: Connection,
        limit: int,
        *,
        session: str,
        after: int,
        before: int,
        **values: Value,
    ) -> Portion[T]:
        """As ``portion``, of a fork too, without ``extra``. For a snapshot."""
        return self._read_pieces(
            connection, limit, session, after, before, values, is_whole=False
        )

    def _read_pieces(
        self,
        connection: Connection,
        limit: int | None,
        session: str,
        after: int,
        before: int,
        values: Mapping[str, Any],
        *,
        is_whole: bool,
    ) -> Portion[T]:
        pieces: list[tuple[int | None, int, int]] = [
            (each.source_key, *each.range_of(self._kind))
            for each in find_sources(connection, session)
        ]
        pieces.append((None, 0, before))
        records: list[T] = []
        for source, low, high in reversed(pieces) if self._newest else pieces:
            query = self._own if source is None else self._of_source
            found = _read(
                partial(
                    query.portion,
                    connection,
                    session=session,
                    source=source,
                    has_extra=False,
                    **values,
                ),
                None if limit is None else limit - len(records),
                after=max(after, low),
                before=min(before, high + 1),
                newest=self._newest,
                is_whole=is_whole,
            )
            records += found.rows
            if found.goes_on or (records and not is_whole):
                return Portion(records, (), goes_on=True)
        return Portion(records, (), goes_on=False)


def shown(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row of messages or events is one of those that a row
    of ``fork_sources`` shows."""
    kind = {messages: "message", events: "event"}[table]
    return and_(
        table.c.session_key == fork_sources.c.source_key,
        table.c.seq > fork_sources.c[f"{kind}_after"],
        table.c.seq <= fork_sources.c[f"{kind}_upto"],
    )


def find_sources(connection: Connection, session_id: str) -> list[Source]:
    """Return what a session shows of others, oldest first; none unless it is a fork."""
    return _SOURCES(connection, session=session_id)


def pieces(kind: Kind, key: int, sources: Sequence[Source], upto: int) -> list[Piece]:
    """Return where the rows of a session up to the point lie, oldest first."""
    shown = [(each.source_key, *each.range_of(kind)) for each in sources]
    return [(at, low, min(high, upto)) for at, low, high in [*shown, (key, 0, upto)]]


def materialize(connection: Connection, forks: Collection[int]) -> None:
    """Copy to forks what they show of other sessions.

    From all sources of a fork: its own rows come after theirs.
    """
    # Locked, or another transaction could copy to a fork meanwhile, or hide some rows.
    found = [
        (fork, each)
        for fork in sorted(forks)
        for each in _SOURCES_OF(connection, fork=fork)
    ]
    if found:
        connection.execute(_COPY_MESSAGES, _ranges(found, "message"))
        connection.execute(_COPY_EVENTS, _ranges(found, "event"))
        connection.execute(_FORGET_SOURCES, {"keys": codec.array(forks)})


def materialize_forks_of(connection: Connection, session_keys: Collection[int]) -> None:
    """``materialize`` the forks that show rows of any of the sessions."""
    found = connection.execute(_FORKS_OF, {"keys": codec.array(session_keys)})
    materialize(connection, found.scalars().all())


def pass_over_events(connection: Connection, fork: int, before: int) -> int:
    """Hide inherited events with a smaller seq; return how many were hidden."""
    found = [(fork, each) for each in _SOURCES_OF(connection, fork=fork)]
    count = 0
    for shown in _ranges(found, "event"):
        values = {**shown, "before": before}
        count += connection.execute(_COUNT_SHOWN, values).scalar_one()
    if count:
        connection.execute(_RAISE, {"fork": fork, "before": before})
    return count


def _ranges(sources: list[tuple[int, Source]], kind: Kind) -> list[dict[str, int]]:
    # A statement takes one of them, with both keys by value: tables that are
    # distributed by session are not joined by another key.
    ranges = []
    for fork, source in sources:
        after, upto = source.range_of(kind)
        key = source.source_key
        ranges.append({"fork": fork, "source": key, "after": after, "upto": upto})
    return ranges


def _read(
    portion: Callable[..., Portion[T]],
    limit: int | None,
    *,
    after: int,
    before: int,
    newest: bool,
    is_whole: bool,
) -> Portion[T]:
    records: list[T] = []
    while limit is None or len(records) < limit:
        wanted = CHUNK_ROWS if limit is None else limit - len(records)
        found = portion(limit=wanted, after=after, before=before)
        records += found.rows
        if not found.goes_on or not is_whole:
            return Portion(records, (), found.goes_on)
        last: Any = records[-1]
        if newest:
            before = last.seq
        else:
            after = last.seq
    return Portion(records, (), goes_on=True)


_KEY_OF_SESSION: Final = (
    select(sessions.c.session_key).where(SESSION_IS).scalar_subquery()
)
_HEAD_OF_SESSION: Final = session_heads.c.session_key == sessions.c.session_key
_of_session = and_(fork_sources.c.session_key == sessions.c.session_key, SESSION_IS)
_columns = select(*(fork_sources.c[name] for name in Source.__struct_fields__))
_SOURCES: Final = Query(
    _columns.join(sessions, _of_session).order_by(fork_sources.c.position), Source
)
_SOURCES_OF: Final = Query(
    _columns.where(fork_sources.c.session_key == bindparam("fork"))
    .order_by(fork_sources.c.position)
    .with_for_update(),
    Source,
)
SOURCES_COUNT: Final = (
    select(func.count())
    .select_from(fork_sources.join(sessions, _of_session))
    .scalar_subquery()
)
"""For ``extra``: tells whether the session is a fork."""


def _is_within(table: Table) -> ColumnElement[bool]:
    """``shown``, of a range that is given by value: see ``_ranges``."""
    return and_(
        table.c.session_key == bindparam("source"),
        table.c.seq > bindparam("after"),
        table.c.seq <= bindparam("upto"),
    )


def _copy(table: Table) -> Executable:
    fork = bindparam("fork", type_=BigInteger)
    return copying(table, _is_within(table), session_key=fork)


_COPY_MESSAGES: Final = _copy(messages)
_COPY_EVENTS: Final = _copy(events)
_FORGET_SOURCES: Final = delete(fork_sources).where(
    is_in(fork_sources.c.session_key, bindparam("keys"))
)
_FORKS_OF: Final = (
    select(fork_sources.c.session_key)
    .where(is_in(fork_sources.c.source_key, bindparam("keys")))
    .distinct()
)
_COUNT_SHOWN: Final = (
    select(func.count())
    .select_from(events)
    .where(_is_within(events), events.c.seq < bindparam("before"))
)
_last = bindparam("before", type_=BigInteger) - 1
_RAISE: Final = (
    update(fork_sources)
    .where(
        fork_sources.c.session_key == bindparam("fork"),
        fork_sources.c.event_after < _last,
    )
    .values(
        event_after=case(
            (fork_sources.c.event_upto < _last, fork_sources.c.event_upto), else_=_last
        )
    )
)
