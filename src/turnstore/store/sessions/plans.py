"""Where sessions stand in an order: which index finds them.

A page is found by the places of its sessions in order, from narrow indexes alone, to
which the records are joined. For the places there are three plans:

``along``
    one filter's own index, which has its matches in the wanted order: equality
    filters in order of creation (of a user in that of updates too), a range in order
    of its column. Costs the page.
``gather``
    all matches of one filter by its own index, then sorted. Costs the matches.
``walk``
    the index of the order, passing over what does not match. Costs the rows walked
    until the page is full.

We count matches, up to ``MATCHES_GATHERED_MAX``, to choose between gather and walk: few
are gathered; among many a walk soon meets enough of them. The database's own planner
can't choose so, because it does not know the values. A filter that drives no plan is a
test of the rows found. Its columns stand behind a unary plus, which keeps SQLite from
using an index for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)

from turnstore.sql.compiled import Value
from turnstore.sql.dialects import Both, Either, Unindexed
from turnstore.sql.schema import session_heads, sessions
from turnstore.store.sessions.filters import PERIOD_BITS, Condition

MATCHES_GATHERED_MAX: Final = 2_000
"""Where gathering so many costs about as much as walking until 50 of so many, among
100,000 sessions, are met (``python -m bench listing``); of a condition of higher cost
as many fewer."""

LABELS: Final = ("value", "created_at", "session_key")
Keyset = tuple[int, int, int]
"""Where a session stands: its value in the order, created_at, key."""


class Order(msgspec.Struct, frozen=True):
    """An order of sessions by a column of the heads; ties by created_at, then key."""

    name: str
    descending: bool

    @property
    def column(self) -> Column[Any]:
        return session_heads.c[self.name]

    def columns(self, base: FromClause) -> list[ColumnElement[Any]]:
        """The columns of ``base`` that sort: value, created_at, key."""
        value = base.c.value if isinstance(base, CTE) else base.c[self.name]
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

    def after(
        self, columns: Sequence[ColumnElement[Any]], *, in_heads: bool
    ) -> ColumnElement[bool]:
        """Return the condition that a row comes after the place ``after_values``."""
        names = LABELS[-len(columns) :]
        given = (parameter(f"after_{each}") for each in names)
        here, there = tuple_(*columns), tuple_(*given)
        condition = here < there if self.descending else here > there
        if in_heads and self.name == "updated_at":
            period = session_heads.c.updated_period
            bound = parameter("after_period")
            coarser = period <= bound if self.descending else period >= bound
            condition = Either(condition, and_(condition, coarser))
        return condition


def after_values(place: Keyset | None) -> dict[str, Value]:
    if place is None:
        return {}
    values = {f"after_{name}": at for name, at in zip(LABELS, place, strict=True)}
    return {**values, "after_period": place[0] >> PERIOD_BITS}


class Gathered(msgspec.Struct, frozen=True, eq=False):
    """A condition whose matches are gathered.

    :param rows: their keys; or their places, where ``are_placed``.
    """

    condition: Condition
    dialect: str
    rows: CTE
    are_placed: bool
    are_few: ColumnElement[bool]


def gather(condition: Condition, order: Order, dialect: str) -> Gathered:
    """Places are taken where the index of the matches leads to the heads."""
    matches = condition.matches
    assert matches is not None
    key = matches.selected_columns.session_key
    are_placed = key is session_heads.c.session_key
    if are_placed:
        matches = matches.with_only_columns(*_labelled(order.columns(session_heads)))
    # Read once, and first: the planner might merge them into the rest.
    rows = matches.limit(known(_few(condition))).cte().prefix_with("MATERIALIZED")
    # By the index alone, which takes less than to read so many rows.
    are_few = matches_counted(condition, dialect) <= known(_few(condition))
    return Gathered(condition, dialect, rows, are_placed, are_few)


def matches_counted(condition: Condition, dialect: str) -> ColumnElement[int]:
    """Return how many match, counted no further than is of interest."""
    assert condition.matches is not None
    most = known(_few(condition) + 1)

    def count(matches: Select[Any]) -> ColumnElement[int]:
        some = matches.limit(most).subquery()
        return select(func.count()).select_from(some).scalar_subquery()

    every = count(condition.matches)
    if dialect == "sqlite" or condition.surely is None:
        return every
    return case((count(condition.surely) == most, most), else_=every)


def _few(condition: Condition) -> int:
    return MATCHES_GATHERED_MAX // condition.cost


def places(
    conditions: Sequence[Condition],
    order: Order,
    gathered: Gathered | None = None,
    *,
    rows_max: ColumnElement[int] | None = None,
    is_later: bool = False,
) -> Select[Any]:
    """Return the statement that gives places in order, by the cheapest plan.

    :param rows_max: no more than so many are read.
    :param is_later: only those after the place ``after_values``.
    """
    if gathered is not None:
        few = gathered.condition
        rest = [each for each in conditions if each is not few or not few.is_exact]
        if gathered.are_placed:
            return _select(gathered.rows, None, rest, order, is_later)
        return _select(session_heads, None, rest, order, is_later, gathered)
    along = [each for each in conditions if order.column in set(each.along)]
    if along:
        rest = [each for each in conditions if each is not along[0]]
        return _along(along[0], rest, order, rows_max, is_later)
    return _select(session_heads, None, conditions, order, is_later)


def parameter(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger())


def known(limit: int) -> ColumnElement[int]:
    """Return a LIMIT that PostgreSQL plans with. Without the values, it takes one that
    is a parameter for a tenth of the table."""
    return literal_column(str(limit))


def _along(
    driving: Condition,
    rest: Sequence[Condition],
    order: Order,
    rows_max: ColumnElement[int] | None,
    is_later: bool,
) -> Select[Any]:
    """The index ranges of one filter, merged where they are several."""
    arms = [
        _select(arm.table, arm.where, rest, order, is_later) for arm in driving.arms
    ]
    if len(arms) == 1:
        return arms[0]
    if rows_max is not None:
        arms = [arm.limit(rows_max) for arm in arms]
    merged = union_all(*(select(arm.subquery()) for arm in arms)).subquery()
    return select(merged).order_by(*order.directed(list(merged.c)))


def _select(
    base: FromClause,
    driving: ColumnElement[bool] | None,
    rest: Sequence[Condition],
    order: Order,
    is_later: bool,
    gathered: Gathered | None = None,
) -> Select[Any]:
    """Places from one table, with the tables joined that the tests read.

    :param gathered: has the keys of the only ones to look at, in any order.
    """
    columns = order.columns(base)
    statement = select(*_labelled(columns)).select_from(base)
    if gathered is not None:
        key, keys = base.c.session_key, gathered.rows
        if gathered.dialect == "sqlite":
            statement = statement.join(keys, keys.c.session_key == key)
        else:
            # As an array: of a join PostgreSQL might scan the table.
            array = func.array(select(keys.c.session_key).scalar_subquery())
            statement = statement.where(key == any_(array))
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
        statement = statement.where(
            order.after(columns, in_heads=base is session_heads)
        )
    if gathered is not None:
        columns = [Unindexed(columns[0]), *columns[1:]]
    if gathered is not None or isinstance(base, CTE):
        return statement.order_by(*order.directed(columns))
    return statement.order_by(*order.along_index(columns))


def _labelled(columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [each.label(name) for each, name in zip(columns, LABELS, strict=True)]


ANY_ORDER: Final = Order("created_at", descending=True)
"""That in which most filters have an index."""
