"""Listing sessions: pages whose cost does not grow with the store."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    case,
    func,
    literal_column,
    select,
)

from turnstore.errors import DatabaseCorrupt, InvalidArgument
from turnstore.records import Page, Session
from turnstore.sql import codec
from turnstore.sql.bounded import READ_BYTES, guarded
from turnstore.sql.compiled import Compiled
from turnstore.sql.query import (
    EitherQuery,
    Guard,
    Query,
    TooLarge,
    as_micros,
    object_of,
)
from turnstore.sql.schema import session_heads, sessions
from turnstore.store.selects import SESSION
from turnstore.store.sessions.filters import CompiledFilter, Condition
from turnstore.store.sessions.plans import (
    ANY_ORDER,
    LABELS,
    Gathered,
    Keyset,
    Order,
    after_values,
    gather,
    known,
    matches_counted,
    parameter,
    places,
)
from turnstore.store.sessions.reads import sessions_by_key
from turnstore.values import shown

STATEMENTS_KEPT_MAX: Final = 128
"""Forms of filter, order and plan whose statements are kept, of each step: about 100 KB
each, and 300 KB where a hundred pairs of metadata are wanted."""
ORDERS: Final = ("created_at", "updated_at", "message_count", "total_tokens")


def order_of(order_by: str, descending: bool) -> Order:
    """:raises InvalidArgument: there is no such order."""
    if order_by not in ORDERS:
        raise InvalidArgument(
            f"order_by must be one of {', '.join(ORDERS)}, got {shown(order_by)}"
        )
    return Order(order_by, codec.check_flag(descending, "descending"))


def cursor_of(order: Order, place: Keyset) -> str:
    """Return the cursor that continues after a place."""
    raw = msgspec.json.encode([order.name, order.descending, *place])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def place_of(cursor: str, order: Order) -> Keyset:
    """:raises InvalidArgument: the cursor is none, or one of another order."""
    cursor = codec.check_free_text(cursor, "cursor")
    try:
        raw = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True
        )
        name, descending, value, created_at, key = msgspec.json.decode(
            raw, type=tuple[str, bool, int, int, int]
        )
    except (ValueError, AttributeError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidArgument("the cursor is not one of this store") from error
    if Order(name, descending) != order:
        raise InvalidArgument(
            f"the cursor belongs to order_by={shown(name)}, descending={descending}"
        )
    bounds = (-codec.INTEGER_MAX, codec.INTEGER_MAX)
    for each in (value, created_at, key):
        codec.check_integer(each, "the cursor's content", *bounds)
    return value, created_at, key


class _Place(msgspec.Struct):
    """Where a session stands in the order of a page."""

    value: int
    created_at: int
    session_key: int

    @property
    def place(self) -> Keyset:
        return self.value, self.created_at, self.session_key


class _Listed(_Place):
    """A session of a page, and its place."""

    session: Session


class PageShape(msgspec.Struct, frozen=True):
    """What the statements of a page depend on, whatever the values.

    :param limit: one more than is asked for, which tells whether there is a next page.
    :param has_sessions: False for a page of places alone.
    """

    conditions: tuple[Condition, ...]
    order: Order
    limit: int
    has_offset: bool = False
    is_later: bool = False
    has_sessions: bool = True


class WantedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of which sessions."""

    filter: CompiledFilter
    order: Order
    limit: int
    offset: int
    after: Keyset | None


def page_single_statement(
    connection: Connection, wanted: WantedPage
) -> Page[Session] | None:
    """Return a page; None where its sessions are too large to be read at a time, or
    where one is damaged, perhaps the one after the page."""
    try:
        found: list[_Listed] = _find(connection, wanted, has_sessions=True)
    except TooLarge:
        return None
    except DatabaseCorrupt as error:
        if error.table is None:
            raise
        return None
    listed = [each.session for each in found[: wanted.limit]]
    return Page(items=listed, next_cursor=_next_cursor(wanted, found))


def page_snapshot(connection: Connection, wanted: WantedPage) -> Page[Session]:
    """As ``page_single_statement``, however large they are. For a snapshot."""
    found: list[_Place] = _find(connection, wanted, has_sessions=False)
    keys = [each.session_key for each in found[: wanted.limit]]
    listed = sessions_by_key(connection, keys)
    return Page(
        items=[listed[key] for key in keys], next_cursor=_next_cursor(wanted, found)
    )


def _next_cursor(wanted: WantedPage, found: Sequence[_Place]) -> str | None:
    if len(found) <= wanted.limit:
        return None
    return cursor_of(wanted.order, found[wanted.limit - 1].place)


def _find(connection: Connection, page: WantedPage, *, has_sessions: bool) -> list[Any]:
    """Return the sessions of a page, and one more if there is a next page."""
    wanted, order = page.filter, page.order
    form = PageShape(
        wanted.conditions,
        order,
        page.limit + 1,
        page.offset > 0,
        page.after is not None,
        has_sessions,
    )
    values = {**wanted.values, **after_values(page.after), "offset": page.offset}
    values["rows_max"] = min(page.limit + 1 + page.offset, codec.INTEGER_MAX)
    condition = _to_gather(connection, wanted, order)
    if condition is not None:
        # Whether few match is found out in the step that reads them, so it needs no
        # snapshot in common with the look that chose the condition.
        kept = _either_page(connection.dialect.name, condition, form)
        found = kept(connection, **values)
        if found is not None:
            return found
    return _page(form)(connection, **values)


def count_matches(connection: Connection, wanted: CompiledFilter) -> int:
    """Return how many sessions meet all conditions."""
    condition = _to_gather(connection, wanted, ANY_ORDER)
    kept = _count(connection.dialect.name, condition, wanted.conditions)
    [(count,)] = kept.run_raw(connection, wanted.values)
    return int(count)


def every_match(connection: Connection, wanted: CompiledFilter) -> Subquery:
    """Return the places of all sessions that meet all conditions, as a table; within a
    snapshot."""
    condition = _to_gather(connection, wanted, ANY_ORDER)
    gathered = None
    if condition is not None:
        few = gather(condition, ANY_ORDER, connection.dialect.name)
        if connection.execute(select(few.are_few), wanted.values).scalar_one():
            gathered = few
    return places(wanted.conditions, ANY_ORDER, gathered).order_by(None).subquery()


def _to_gather(
    connection: Connection, wanted: CompiledFilter, order: Order
) -> Condition | None:
    """Return the condition to gather the matches of, if they are few: that with the
    fewest, if there are several. None: no condition has an index, or a page goes along
    one."""
    conditions = wanted.conditions
    if len(conditions) == 1 and order.column in set(conditions[0].along):
        return None
    able = tuple(each for each in conditions if each.matches is not None)
    if len(able) < 2:
        return able[0] if able else None
    look = _look(connection.dialect.name, able)
    [counts] = look.run_raw(connection, wanted.values)
    _, at = min((count * able[at].cost, at) for at, count in enumerate(counts))
    return able[at]


@lru_cache(STATEMENTS_KEPT_MAX)
def _look(dialect: str, conditions: tuple[Condition, ...]) -> Compiled:
    """How many rows each condition matches, counted no further than is of interest."""
    return Compiled(select(*(matches_counted(each, dialect) for each in conditions)))


@lru_cache(STATEMENTS_KEPT_MAX)
def _either_page(
    dialect: str, condition: Condition, form: PageShape
) -> EitherQuery[Any]:
    """Return the pages that gather a condition's matches.

    If there are many, SQLite falls back to a walk in the same statement. PostgreSQL
    runs a second statement instead, because start-up time grows with statement size
    (5 % for a page of few matches), and behind a pooler planning time does too.
    """
    gathered = gather(condition, form.order, dialect)
    found = places(form.conditions, form.order, gathered, is_later=form.is_later)
    walked = _walked(form) if dialect == "sqlite" else None
    guard = _guard(form)
    return EitherQuery(
        gathered.are_few, _records(found, form), walked, _record(form), guard
    )


@lru_cache(STATEMENTS_KEPT_MAX)
def _page(form: PageShape) -> Query[Any]:
    """Pages along an index or by a walk."""
    return Query(_walked(form), _record(form), _guard(form))


def _walked(form: PageShape) -> Select[Any]:
    rows_max = parameter("rows_max") if form.has_offset else known(form.limit)
    found = places(
        form.conditions, form.order, rows_max=rows_max, is_later=form.is_later
    )
    return _records(found, form)


@lru_cache(STATEMENTS_KEPT_MAX)
def _count(
    dialect: str, condition: Condition | None, conditions: tuple[Condition, ...]
) -> Compiled:
    """The matches of all conditions, counted among those of one where they are few."""

    def count(gathered: Gathered | None) -> ColumnElement[int]:
        every = places(conditions, ANY_ORDER, gathered).order_by(None).subquery()
        return select(func.count()).select_from(every).scalar_subquery()

    if condition is None:
        return Compiled(select(count(None)))
    gathered = gather(condition, ANY_ORDER, dialect)
    counted = case((gathered.are_few, count(gathered)), else_=count(None))
    return Compiled(select(counted))


def _records(found: Select[Any], form: PageShape) -> Select[Any]:
    """Return the statement that gives the sessions at a page of these places."""
    found = found.limit(known(form.limit))
    if form.has_offset:
        found = found.offset(parameter("offset"))
    page = found.subquery()
    columns: list[ColumnElement[Any]] = [
        as_micros(page.c[name]).label(name) for name in LABELS
    ]
    if form.has_sessions:
        columns.append(_SESSION.label("session"))
    return (
        select(*columns)
        .select_from(page)
        .join(sessions, sessions.c.session_key == page.c.session_key)
        .join(session_heads, session_heads.c.session_key == page.c.session_key)
        .order_by(*form.order.directed(list(page.c)))
    )


def _record(form: PageShape) -> type[_Place]:
    return _Listed if form.has_sessions else _Place


def _guard(form: PageShape) -> Guard:
    # Behind the making of a session: the sizes of its columns cost more than that.
    bytes_max = literal_column(str(READ_BYTES // form.limit), BigInteger)
    return lambda each: guarded(each, bytes_max) if each.key == "session" else each


_SESSION: Final = object_of(dict(SESSION.selected_columns.items()))
