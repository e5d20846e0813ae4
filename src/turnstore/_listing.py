"""Listing sessions: pages whose cost does not grow with the store.

A page is found in two steps: the places of its sessions in order, from narrow indexes
alone, then the records of those. For the places there are three plans:

``along``
    one filter's own index, which has its matches in the wanted order: equality
    filters in order of creation, a range in order of its column. Costs the page.
``gather``
    all matches of one filter by its own index, then sorted. Costs the matches.
``walk``
    the index of the order, passing over what does not match. Costs the rows walked
    until the page is full.

Between the last two decides a look at how many match, which stops at
``MATCHES_GATHERED_MAX``: few are gathered, and where many match a walk soon meets
enough of them. The database's own planner can't choose so, because it does not know
the values. A filter that drives no plan is a test of the rows that come, its columns
behind a unary plus, which SQLite takes as: no index for this one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from turnstore import _codec
from turnstore._filters import PERIOD_BITS, Condition, unindexed
from turnstore._rows import Query, pairs
from turnstore._selects import SESSION
from turnstore._sql import Both, Either, Formatted, Joined, OrNull
from turnstore.errors import InvalidArgument
from turnstore.records import Session
from turnstore.schema import session_heads, sessions

MATCHES_GATHERED_MAX: Final = 2_000
"""Where gathering so many costs about as much as walking until 50 of so many, among
100,000 sessions, are met (``python -m bench listing``)."""

LABELS: Final = ("value", "created_at", "session_key")
ORDERS: Final = ("created_at", "updated_at", "message_count", "total_tokens")
Place = tuple[int, int, int]
"""Where a session stands: its value in the order, created_at, key."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order of sessions by a column of the heads; ties by created_at, then key."""

    column: Column[Any]
    descending: bool

    def columns(self, base: Table) -> list[ColumnElement[Any]]:
        """The columns of ``base`` that sort: value, created_at, key."""
        value = base.c[self.column.name] if base is not session_heads else self.column
        return [value, base.c.created_at, base.c.session_key]

    def directed(self, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
        return [each.desc() if self.descending else each.asc() for each in columns]

    def along_index(self, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
        """As ``directed``, spelt so that it is seen to be the order of an index."""
        first, *others = self.directed(columns)
        if self.column is session_heads.c.updated_at:
            [period] = self.directed([session_heads.c.updated_period])
            first = Either(first, Both(period, first))
        return [first, *others]

    def after(
        self, columns: Sequence[ColumnElement[Any]], values: Sequence[int]
    ) -> ColumnElement[bool]:
        """Return the condition that a row comes after these values."""
        here, there = tuple_(*columns), tuple_(*(literal(each) for each in values))
        condition = here < there if self.descending else here > there
        if self.column is session_heads.c.updated_at:
            period = session_heads.c.updated_period
            bound = values[0] >> PERIOD_BITS
            coarser = period <= bound if self.descending else period >= bound
            condition = Either(condition, and_(condition, coarser))
        return condition


def order_of(order_by: str, descending: bool) -> Order:
    """:raises InvalidArgument: there is no such order."""
    if order_by not in ORDERS:
        raise InvalidArgument(
            f"order_by must be one of {', '.join(ORDERS)}, got {order_by!r}"
        )
    return Order(column=session_heads.c[order_by], descending=bool(descending))


def cursor_of(order_by: str, descending: bool, place: Place) -> str:
    """Return the cursor that continues after a place."""
    raw = msgspec.json.encode([order_by, bool(descending), *place])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def place_of(cursor: str, order_by: str, descending: bool) -> Place:
    """:raises InvalidArgument: the cursor is none, or one of another order."""
    try:
        raw = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True
        )
        order, direction, value, created_at, key = msgspec.json.decode(
            raw, type=tuple[str, bool, int, int, int]
        )
    except (ValueError, AttributeError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidArgument("the cursor is not one of this store") from error
    if (order, direction) != (order_by, bool(descending)):
        raise InvalidArgument(
            f"the cursor belongs to order_by={order!r}, descending={direction}"
        )
    bounds = (-_codec.INTEGER_MAX, _codec.INTEGER_MAX)
    for each in (value, created_at, key):
        _codec.check_integer(each, "the cursor's content", *bounds)
    return value, created_at, key


def page_places(
    connection: Connection,
    conditions: Sequence[Condition],
    order: Order,
    *,
    limit: int,
    offset: int,
    after: Place | None,
) -> list[Place]:
    """Return the places of a page's sessions, in order."""
    statement = plan(
        connection,
        conditions,
        order,
        rows_max=min(limit + offset, _codec.INTEGER_MAX),
        after=after,
    )
    places = statement.limit(limit).offset(offset).subquery()
    one = Formatted(
        literal_column("'[%s,%s,%s]'"), *(OrNull(column(each)) for each in LABELS)
    )
    rows = select(Joined(one, literal_column("','"))).select_from(places)
    text = connection.execute(rows).scalar_one()
    return msgspec.json.decode(f"[{text or ''}]", type=list[Place])


def plan(
    connection: Connection,
    conditions: Sequence[Condition],
    order: Order,
    *,
    rows_max: int | None,
    after: Place | None = None,
) -> Select[Any]:
    """Return the statement that gives places in order, by the cheapest plan."""
    along = [each for each in conditions if each.along is order.column]
    if not conditions or conditions == along[:1]:
        gathered = None
    else:
        gathered = _gather(connection, conditions)
    if gathered is not None:
        matches, rest = gathered
        return _select(session_heads, None, rest, order, after, matches=matches)
    if along:
        rest = [each for each in conditions if each is not along[0]]
        return _along(along[0], rest, order, rows_max, after)
    return _select(session_heads, None, conditions, order, after)


def count_matches(
    connection: Connection, conditions: Sequence[Condition], order: Order
) -> int:
    """Return how many sessions meet all conditions."""
    every = plan(connection, conditions, order, rows_max=None).order_by(None)
    return connection.execute(
        select(func.count()).select_from(every.subquery())
    ).scalar_one()


def sessions_at(connection: Connection, places: Sequence[Place]) -> list[Session]:
    """Return the records of the sessions at these places, in their order."""
    keys = [(key, at) for at, (_, _, key) in enumerate(places)]
    return _AT_KEYS(connection, keys=_codec.pairs(keys))


def _gather(
    connection: Connection, conditions: Sequence[Condition]
) -> tuple[Select[Any], list[Condition]] | None:
    """Return the keys that the most selective filter matches, and the filters left to
    test; None if each matches too many."""
    best: tuple[int, Condition] | None = None
    for condition in conditions:
        if condition.matches is None:
            continue
        count_max = best[0] if best else MATCHES_GATHERED_MAX
        some = condition.matches.limit(_known(count_max + 1)).subquery()
        count = connection.execute(select(func.count()).select_from(some)).scalar_one()
        if count <= count_max:
            best = (count, condition)
    if best is None:
        return None
    _, chosen = best
    assert chosen.matches is not None
    rest = [each for each in conditions if each is not chosen or not each.is_exact]
    # The limit is never reached. It keeps the matches a list of their own, to be read
    # first, where the planner might merge them into the rest.
    return chosen.matches.limit(_known(MATCHES_GATHERED_MAX + 1)), rest


def _known(limit: int) -> ColumnElement[int]:
    # PostgreSQL takes a parameter here for a tenth of the table.
    return literal_column(str(limit))


def _along(
    driving: Condition,
    rest: Sequence[Condition],
    order: Order,
    rows_max: int | None,
    after: Place | None,
) -> Select[Any]:
    """The index ranges of one filter, merged where they are several."""
    arms = [_select(arm.table, arm.where, rest, order, after) for arm in driving.arms]
    if len(arms) == 1:
        return arms[0]
    limited = [select(arm.limit(rows_max).subquery()) for arm in arms]
    merged = union_all(*limited).subquery()
    return select(merged).order_by(*order.directed(list(merged.c)))


def _select(
    base: Table,
    driving: ColumnElement[bool] | None,
    rest: Sequence[Condition],
    order: Order,
    after: Place | None,
    *,
    matches: Select[Any] | None = None,
) -> Select[Any]:
    """Places from one table, with the tables joined that the tests read.

    :param matches: keys of the only ones to look at, in any order.
    """
    columns = order.columns(base)
    statement = select(
        *(each.label(name) for each, name in zip(columns, LABELS, strict=True))
    ).select_from(base)
    if matches is not None:
        keys = base.c.session_key
        # As an array, PostgreSQL looks its elements up, and scans no table.
        array = func.array(matches.scalar_subquery())
        statement = statement.where(Either(keys.in_(matches), keys == any_(array)))
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
    if after is not None:
        statement = statement.where(order.after(columns, after[-len(columns) :]))
    if matches is not None:
        columns = [unindexed(columns[0]), *columns[1:]]
        return statement.order_by(*order.directed(columns))
    return statement.order_by(*order.along_index(columns))


_wanted, _wanted_key, _wanted_at = pairs(bindparam("keys"), second=BigInteger())
_AT_KEYS: Final = Query(
    SESSION.join(_wanted, _wanted_key == sessions.c.session_key).order_by(_wanted_at),
    Session,
)
