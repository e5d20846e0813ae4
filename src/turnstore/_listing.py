"""Listing sessions: pages whose cost does not grow with the store.

A page is found by the places of its sessions in order, from narrow indexes alone, to
which the records are joined. For the places there are three plans:

``along``
    one filter's own index, which has its matches in the wanted order: equality
    filters in order of creation, a range in order of its column. Costs the page.
``gather``
    all matches of one filter by its own index, then sorted. Costs the matches.
``walk``
    the index of the order, passing over what does not match. Costs the rows walked
    until the page is full.

Between the last two decides how many match, counted up to ``MATCHES_GATHERED_MAX``:
few are gathered, and where many match a walk soon meets enough of them. The database's
own planner can't choose so, because it does not know the values. A filter that drives
no plan is a test of the rows that come, its columns behind a unary plus, which SQLite
takes as: no index for this one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    and_,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
    union_all,
)

from turnstore import _codec
from turnstore._arrays import Value
from turnstore._compiled import Compiled
from turnstore._filters import PERIOD_BITS, Condition, Wanted, unindexed
from turnstore._rows import Query, QueryIf, object_of
from turnstore._selects import SESSION
from turnstore._sql import Both, Either
from turnstore.errors import InvalidArgument
from turnstore.records import Page, Session
from turnstore.schema import session_heads, sessions

MATCHES_GATHERED_MAX: Final = 2_000
"""Where gathering so many costs about as much as walking until 50 of so many, among
100,000 sessions, are met (``python -m bench listing``)."""

STATEMENTS_KEPT_MAX: Final = 256
"""Forms of filter, order and plan whose statements are kept, about 50 KB each."""
LABELS: Final = ("value", "created_at", "session_key")
ORDERS: Final = ("created_at", "updated_at", "message_count", "total_tokens")
Place = tuple[int, int, int]
"""Where a session stands: its value in the order, created_at, key."""


class Order(msgspec.Struct, frozen=True):
    """An order of sessions by a column of the heads; ties by created_at, then key."""

    name: str
    descending: bool

    @property
    def column(self) -> Column[Any]:
        return session_heads.c[self.name]

    def columns(self, base: Table) -> list[ColumnElement[Any]]:
        """The columns of ``base`` that sort: value, created_at, key."""
        value = base.c[self.name] if base is not session_heads else self.column
        return [value, base.c.created_at, base.c.session_key]

    def directed(self, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
        return [each.desc() if self.descending else each.asc() for each in columns]

    def along_index(self, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
        """As ``directed``, spelt so that it is seen to be the order of an index."""
        first, *others = self.directed(columns)
        if self.name == "updated_at":
            [period] = self.directed([session_heads.c.updated_period])
            first = Either(first, Both(period, first))
        return [first, *others]

    def after(self, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Return the condition that a row comes after the place ``after_values``."""
        names = LABELS[-len(columns) :]
        given = (_bound(f"after_{each}") for each in names)
        here, there = tuple_(*columns), tuple_(*given)
        condition = here < there if self.descending else here > there
        if self.name == "updated_at":
            period = session_heads.c.updated_period
            bound = _bound("after_period")
            coarser = period <= bound if self.descending else period >= bound
            condition = Either(condition, and_(condition, coarser))
        return condition


def after_values(place: Place | None) -> dict[str, Value]:
    if place is None:
        return {}
    values = {f"after_{name}": at for name, at in zip(LABELS, place, strict=True)}
    return {**values, "after_period": place[0] >> PERIOD_BITS}


def order_of(order_by: str, descending: bool) -> Order:
    """:raises InvalidArgument: there is no such order."""
    if order_by not in ORDERS:
        raise InvalidArgument(
            f"order_by must be one of {', '.join(ORDERS)}, got {order_by!r}"
        )
    return Order(order_by, bool(descending))


def cursor_of(order: Order, place: Place) -> str:
    """Return the cursor that continues after a place."""
    raw = msgspec.json.encode([order.name, order.descending, *place])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def place_of(cursor: str, order: Order) -> Place:
    """:raises InvalidArgument: the cursor is none, or one of another order."""
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
            f"the cursor belongs to order_by={name!r}, descending={descending}"
        )
    bounds = (-_codec.INTEGER_MAX, _codec.INTEGER_MAX)
    for each in (value, created_at, key):
        _codec.check_integer(each, "the cursor's content", *bounds)
    return value, created_at, key


class Gathered(msgspec.Struct, frozen=True, eq=False):
    """A condition whose matches are gathered: their keys, one more than may be."""

    condition: Condition
    keys: CTE

    @property
    def are_few(self) -> ColumnElement[bool]:
        count = select(func.count()).select_from(self.keys).scalar_subquery()
        return count <= _known(MATCHES_GATHERED_MAX)


class _Listed(msgspec.Struct):
    """A session of a page, and its place."""

    value: int
    created_at: int
    session_key: int
    session: Session

    @property
    def place(self) -> Place:
        return self.value, self.created_at, self.session_key


def read_page(
    connection: Connection,
    wanted: Wanted,
    order: Order,
    *,
    limit: int,
    offset: int,
    after: Place | None,
) -> Page[Session]:
    # One more than asked for tells whether there is a next page.
    values = {**wanted.values, **after_values(after)}
    values |= {"limit": limit + 1, "offset": offset}
    values["rows_max"] = min(limit + 1 + offset, _codec.INTEGER_MAX)
    form = (wanted.conditions, order, after is not None)
    found: list[_Listed] | None = None
    # Whether few match is found out in the step that gathers them: so each step is
    # right by itself, and they need no common snapshot.
    condition = _fewest(connection, wanted, order)
    if condition is not None:
        found = _gathered_page(condition, *form)(connection, **values)
    if found is None:
        found = _page(*form)(connection, **values)
    page = found[:limit]
    return Page(
        items=[each.session for each in page],
        next_cursor=cursor_of(order, page[-1].place) if len(found) > limit else None,
    )


def count_matches(connection: Connection, wanted: Wanted) -> int:
    """Return how many sessions meet all conditions; within a snapshot."""
    statement = select(func.count()).select_from(every_match(connection, wanted))
    return connection.execute(statement, wanted.values).scalar_one()


def every_match(connection: Connection, wanted: Wanted) -> Subquery:
    """Return the places of all sessions that meet all conditions, as a table; within a
    snapshot."""
    order = Order("created_at", descending=True)
    condition = _fewest(connection, wanted, order)
    gathered = None
    if condition is not None:
        few = gather(condition)
        if connection.execute(select(few.are_few), wanted.values).scalar_one():
            gathered = few
    return places(wanted.conditions, order, gathered).order_by(None).subquery()


def _fewest(connection: Connection, wanted: Wanted, order: Order) -> Condition | None:
    """Return the condition whose matches are to be gathered, if they are few; None if
    there is no such condition, or a page goes along an index."""
    conditions = wanted.conditions
    if len(conditions) == 1 and conditions[0].along is order.column:
        return None
    able = tuple(each for each in conditions if each.matches is not None)
    if len(able) < 2:
        return able[0] if able else None
    [counts] = _look(able).execute(connection, wanted.values).fetchall()
    _, at = min((count, at) for at, count in enumerate(counts))
    return able[at]


@lru_cache(STATEMENTS_KEPT_MAX)
def _look(conditions: tuple[Condition, ...]) -> Compiled:
    """How many rows each condition matches, counted no further than is of interest."""
    some = [select(func.count()).select_from(gather(each).keys) for each in conditions]
    return Compiled(select(*(each.scalar_subquery() for each in some)))


@lru_cache(STATEMENTS_KEPT_MAX)
def _gathered_page(
    condition: Condition,
    conditions: tuple[Condition, ...],
    order: Order,
    is_later: bool,
) -> QueryIf[_Listed]:
    """Pages of one form by gathering a condition's matches, where they are few."""
    gathered = gather(condition)
    found = places(conditions, order, gathered, is_page=True, is_later=is_later)
    return QueryIf(gathered.are_few, _records(found, order), _Listed)


@lru_cache(STATEMENTS_KEPT_MAX)
def _page(
    conditions: tuple[Condition, ...], order: Order, is_later: bool
) -> Query[_Listed]:
    """Pages of one form along an index or by a walk."""
    found = places(conditions, order, is_page=True, is_later=is_later)
    return Query(_records(found, order), _Listed)


def _records(found: Select[Any], order: Order) -> Select[Any]:
    """Return the statement that gives the sessions at a page of these places."""
    page = found.limit(_bound("limit")).offset(_bound("offset")).subquery()
    columns: list[ColumnElement[Any]] = [
        type_coerce(page.c[name], BigInteger).label(name) for name in LABELS
    ]
    return (
        select(*columns, _SESSION.label("session"))
        .select_from(page)
        .join(sessions, sessions.c.session_key == page.c.session_key)
        .join(session_heads, session_heads.c.session_key == page.c.session_key)
        .order_by(*order.directed(list(page.c)))
    )


def gather(condition: Condition) -> Gathered:
    assert condition.matches is not None
    # Read once, and first: the planner might merge them into the rest.
    keys = condition.matches.limit(_known(MATCHES_GATHERED_MAX + 1)).cte()
    return Gathered(condition, keys.prefix_with("MATERIALIZED"))


def places(
    conditions: Sequence[Condition],
    order: Order,
    gathered: Gathered | None = None,
    *,
    is_page: bool = False,
    is_later: bool = False,
) -> Select[Any]:
    """Return the statement that gives places in order, by the cheapest plan.

    :param is_page: no more than the parameter ``rows_max`` are read.
    :param is_later: only those after the place ``after_values``.
    """
    if gathered is not None:
        few = gathered.condition
        rest = [each for each in conditions if each is not few or not few.is_exact]
        return _select(session_heads, None, rest, order, is_later, keys=gathered.keys)
    along = [each for each in conditions if each.along is order.column]
    if along:
        rest = [each for each in conditions if each is not along[0]]
        return _along(along[0], rest, order, is_page, is_later)
    return _select(session_heads, None, conditions, order, is_later)


def _bound(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger())


def _known(limit: int) -> ColumnElement[int]:
    # PostgreSQL takes a parameter here for a tenth of the table.
    return literal_column(str(limit))


def _along(
    driving: Condition,
    rest: Sequence[Condition],
    order: Order,
    is_page: bool,
    is_later: bool,
) -> Select[Any]:
    """The index ranges of one filter, merged where they are several."""
    arms = [
        _select(arm.table, arm.where, rest, order, is_later) for arm in driving.arms
    ]
    if len(arms) == 1:
        return arms[0]
    if is_page:
        arms = [arm.limit(_bound("rows_max")) for arm in arms]
    merged = union_all(*(select(arm.subquery()) for arm in arms)).subquery()
    return select(merged).order_by(*order.directed(list(merged.c)))


def _select(
    base: Table,
    driving: ColumnElement[bool] | None,
    rest: Sequence[Condition],
    order: Order,
    is_later: bool,
    *,
    keys: CTE | None = None,
) -> Select[Any]:
    """Places from one table, with the tables joined that the tests read.

    :param keys: those of the only ones to look at, in any order.
    """
    columns = order.columns(base)
    statement = select(
        *(each.label(name) for each, name in zip(columns, LABELS, strict=True))
    ).select_from(base)
    if keys is not None:
        matched, key = select(keys.c.session_key), base.c.session_key
        # As an array, PostgreSQL looks its elements up, and scans no table.
        array = func.array(matched.scalar_subquery())
        statement = statement.where(Either(key.in_(matched), key == any_(array)))
    needed = {each.tests for each in rest} - {base, None}
    for table in (session_heads, sessions):
        if table in needed:
            statement = statement.join(table, table.c.session_key == base.c.session_key)
    if driving is not None:
        statement = statement.where(driving)
    for condition in rest:
        statement = statement.where(condition.test(base, order.column))
    if columns[0] is columns[1]:
        columns = columns[1:]
    if is_later:
        statement = statement.where(order.after(columns))
    if keys is not None:
        columns = [unindexed(columns[0]), *columns[1:]]
        return statement.order_by(*order.directed(columns))
    return statement.order_by(*order.along_index(columns))


_SESSION: Final = object_of(dict(SESSION.selected_columns.items()))
