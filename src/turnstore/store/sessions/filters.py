"""``SessionFilter`` as conditions: each says how its matches can be found."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cache
from operator import ge, gt, le, lt
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    false,
    literal_column,
    select,
)

from turnstore.errors import InvalidArgument
from turnstore.records import SessionFilter, SessionStatus
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.codec import fold
from turnstore.sql.compiled import Value
from turnstore.sql.dialects import Either, Position, TitlesWith, Unindexed
from turnstore.sql.schema import session_heads, session_metadata, sessions
from turnstore.values import is_a, shown, type_name

METADATA_MAX: Final = 100
TRIGRAM_CHARS: Final = 3
PERIOD_BITS: Final = 18
"""Of ``updated_at``, dropped in ``updated_period``."""

Compare = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]
Residual = Callable[[FromClause, Column[Any]], ColumnElement[bool]]
"""From the table and the order of a walk to the condition as a test of its rows."""


class Arm(msgspec.Struct, frozen=True):
    """An index range of one table."""

    table: Table
    where: ColumnElement[bool]


class Condition(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One filter, whatever its values, which are parameters of its statements.

    There is one object of each kind, so that statements can be kept by it.

    :param test: the filter as a test of rows that another index gives.
    :param tests: the table whose columns the test reads; None: any with a session key.
    :param matches: keys of the matching sessions, each once, by the filter's own index
        and in its order: without knowing the values PostgreSQL may take them for a
        large part of the table, and scan that.
    :param is_exact: whether ``matches`` gives no others.
    :param surely: a subset that PostgreSQL can count by an index-only scan; if the
        subset is large, the full set is.
    :param cost: what finding a match takes, as a multiple of what most indexes take.
    :param arms: index ranges that together are the matches.
    :param along: columns of the heads in whose order there is an index of each arm.
    """

    test: Residual
    tests: Table | None = None
    matches: Select[Any] | None = None
    is_exact: bool = True
    surely: Select[Any] | None = None
    cost: int = 1
    arms: tuple[Arm, ...] = ()
    along: tuple[Column[Any], ...] = ()


class CompiledFilter(msgspec.Struct, frozen=True):
    """A filter: its conditions, and the values of their parameters."""

    conditions: tuple[Condition, ...]
    values: dict[str, Value]


def wanted(given: SessionFilter) -> CompiledFilter:
    """Return what a filter says, the conditions with the narrowest index first.

    :raises InvalidArgument: a value is of the wrong type or out of bounds.
    """
    if not is_a(given, SessionFilter):
        raise InvalidArgument(f"filter must be a SessionFilter, got {type_name(given)}")
    found: list[Condition] = []
    values: dict[str, Value] = {}
    if given.ids is not None:
        found.append(_ids())
        values["ids"] = codec.array(codec.check_texts(given.ids, "ids"))
    for column in EQUALS:
        value = getattr(given, column.name)
        if value is not None:
            found.append(_equal(column, 1))
            values[f"{column.name}_0"] = codec.check_text(value, column.name)
    if given.status is not None:
        statuses = _statuses(given.status)
        found.append(_equal(sessions.c.status, len(statuses)))
        values |= {f"status_{at}": each for at, each in enumerate(statuses)}
    in_metadata = _metadata(given.metadata, given.metadata_keys)
    for at, (key, value) in enumerate(in_metadata):
        found.append(_in_metadata(at, value is not None))
        values[f"key_{at}"] = key
        if value is not None:
            values[f"value_{at}"] = value
    if given.has_pending_tool_calls is not None:
        is_open = codec.check_flag(
            given.has_pending_tool_calls, "has_pending_tool_calls"
        )
        found.append(_pending(is_open))
    if given.title_contains is not None:
        part = fold(codec.check_free_text(given.title_contains, "title_contains"))
        found.append(_title(len(part) >= TRIGRAM_CHARS))
        values |= _title_values(part)
    for name, low, high in (
        (
            "message_count",
            _count_or_none(given.message_count_min, "message_count_min"),
            _count_or_none(given.message_count_max, "message_count_max"),
        ),
        ("updated_at", *_times("updated", given.updated_after, given.updated_before)),
        ("created_at", *_times("created", given.created_after, given.created_before)),
    ):
        if low is not None or high is not None:
            found.append(_between(name, low is not None, high is not None))
            values |= _between_values(name, low, high)
    return CompiledFilter(tuple(found), values)


@cache
def _ids() -> Condition:
    given = bindparam("ids", type_=Text())
    return Condition(
        test=lambda base, _: is_in(Unindexed(sessions.c.id), given),
        tests=sessions,
        matches=select(sessions.c.session_key).where(is_in(sessions.c.id, given)),
    )


@cache
def _equal(column: Column[Any], count: int) -> Condition:
    base = column.table
    assert isinstance(base, Table)
    given = [bindparam(f"{column.name}_{at}", type_=column.type) for at in range(count)]
    none = false()
    matches = select(base.c.session_key).where(column.in_(given) if given else none)
    if count == 1:  # of several values the index has no order by time
        matches = matches.order_by(column, base.c.created_at)
    tested = Unindexed(column).in_(given) if given else none
    return Condition(
        test=lambda *_: _as_value(tested, base),
        tests=base,
        matches=matches,
        arms=tuple(Arm(base, column == value) for value in given),
        along=_orders_of(column) if given else (),
    )


def _orders_of(column: Column[Any]) -> tuple[Column[Any], ...]:
    """Return the columns of the heads in whose order a column's indexes have its rows:
    those that stand behind it."""
    table = column.table
    assert isinstance(table, Table)
    behind = {
        columns[1].name
        for columns in (list(each.columns) for each in table.indexes)
        if columns[0] is column
    }
    return tuple(each for each in session_heads.c if each.name in behind)


def _as_value(tested: ColumnElement[bool], table: Table) -> ColumnElement[bool]:
    """Return a test that PostgreSQL makes no plan of: not knowing what is given it may
    take few rows to pass, and begin with them, or make a plan for each call."""
    return Either(tested, select(tested).correlate(table).scalar_subquery())


def _metadata(
    pairs: Mapping[str, str] | None, keys: Collection[str] | None
) -> list[tuple[str, str | None]]:
    """Return the keys that are wanted, with the value where one is."""
    found: list[tuple[str, str | None]] = [
        (
            codec.check_text(key, "metadata key"),
            codec.encode(codec.check_free_text(value, "metadata"), sys.maxsize),
        )
        for key, value in (
            () if pairs is None else codec.check_mapping(pairs, "metadata")
        )
    ]
    if keys is not None:
        found += [(each, None) for each in codec.check_texts(keys, "metadata_keys")]
    if len(found) > METADATA_MAX:
        raise InvalidArgument(
            f"at most {METADATA_MAX} metadata pairs and keys together, got {len(found)}"
        )
    return found


@cache
def _in_metadata(at: int, is_pair: bool) -> Condition:
    def is_meant(rows: FromClause) -> ColumnElement[bool]:
        terms = [rows.c.key == bindparam(f"key_{at}")]
        if is_pair:
            terms.append(rows.c.value == bindparam(f"value_{at}"))
        return and_(*terms)

    table = session_metadata
    where = is_meant(table)
    # Outside the test, to be shared by all statements that are kept.
    inner = table.alias()
    meant: Select[Any] = (
        select(literal_column("1")).select_from(inner).where(is_meant(inner))
    )

    def test(base: FromClause, _: Column[Any]) -> ColumnElement[bool]:
        # Not EXISTS: PostgreSQL would weigh every order of joining a hundred of them.
        own = meant.where(inner.c.session_key == base.c.session_key)
        return own.scalar_subquery().is_not(None)

    return Condition(
        test=test,
        matches=select(table.c.session_key)
        .where(where)
        .order_by(
            table.c.key, *([table.c.value] if is_pair else []), table.c.created_at
        ),
        arms=(Arm(table, where),),
        along=(session_heads.c.created_at,),
    )


@cache
def _pending(is_open: bool) -> Condition:
    count = session_heads.c.pending_tool_calls
    # As in the partial indexes, to the letter: a parameter would not match them.
    zero: ColumnElement[int] = literal_column("0")
    where = count > zero if is_open else count == zero
    return Condition(
        test=lambda *_: (
            Unindexed(count) > zero if is_open else Unindexed(count) == zero
        ),
        tests=session_heads,
        matches=select(session_heads.c.session_key)
        .where(where)
        .order_by(session_heads.c.created_at),
        arms=(Arm(session_heads, where),),
        along=(session_heads.c.created_at,),
    )


@cache
def _title(has_trigrams: bool) -> Condition:
    title, trigrams, pattern = (
        bindparam(name, type_=Text())
        for name in ("title", "title_trigrams", "title_pattern")
    )
    found = TitlesWith(trigrams, pattern).table_valued("session_key", name="titled")
    return Condition(
        test=lambda *_: Position(sessions.c.title_folded, title) > 0,
        tests=sessions,
        matches=select(found.c.session_key) if has_trigrams else None,
        is_exact=False,
        cost=2,
    )


def _title_values(part: str) -> dict[str, Value]:
    last = len(part) - TRIGRAM_CHARS
    if last < 0:
        return {"title": part}
    # The first, the middle and the last: more of them cost more than they sift out,
    # and what they let pass is tested.
    starts = sorted({0, last // 2, last})
    trigrams = [part[at : at + TRIGRAM_CHARS] for at in starts]
    quoted = ['"{}"'.format(each.replace('"', '""')) for each in trigrams]
    escaped = re.sub(r"([%_\\\\])", r"\\\1", part)
    return {
        "title": part,
        "title_trigrams": " AND ".join(quoted),
        "title_pattern": f"%{escaped}%",
    }


@cache
def _between(name: str, has_low: bool, has_high: bool) -> Condition:
    indexed = session_heads.c[name]
    period = session_heads.c.updated_period

    def bounds(
        value: ColumnElement[Any], name: str, low: Compare = ge, high: Compare = le
    ) -> ColumnElement[bool]:
        terms = []
        if has_low:
            terms.append(low(value, bindparam(f"{name}_low", type_=value.type)))
        if has_high:
            terms.append(high(value, bindparam(f"{name}_high", type_=value.type)))
        return and_(*terms)

    def within(value: ColumnElement[Any]) -> ColumnElement[bool]:
        condition = bounds(value, name)
        if name != "updated_at":
            return condition
        return Either(condition, and_(condition, bounds(period, "updated_period")))

    def test(base: FromClause, order: Column[Any]) -> ColumnElement[bool]:
        # A bound on what the walk is ordered by narrows it; any other is a test.
        value = base.c.created_at if name == "created_at" else indexed
        if order is indexed:
            return within(value)
        tested = bounds(Unindexed(value), name)
        if name != "created_at":
            tested = _as_value(tested, session_heads)
        if name == "updated_at" and order.name == "created_at" and has_high:
            # Nothing is updated before it is created: the walk begins at the bound.
            created_at = base.c.created_at
            high = bindparam("updated_at_high", type_=created_at.type)
            return and_(tested, created_at <= high)
        return tested

    keys = select(session_heads.c.session_key)
    in_order: ColumnElement[Any] = indexed
    surely: Select[Any] | None = None
    if name == "updated_at":
        in_order = Either(indexed, period)
        inside = bounds(period, "updated_period", gt, lt)
        surely = keys.where(inside).order_by(period.desc())
    return Condition(
        test=test,
        tests=None if name == "created_at" else session_heads,
        # Newest first, as pages mostly are: who sorts them then moves few.
        matches=keys.where(within(indexed)).order_by(in_order.desc()),
        surely=surely,
        arms=(Arm(session_heads, within(indexed)),),
        along=(indexed,),
    )


def _between_values(name: str, low: int | None, high: int | None) -> dict[str, Value]:
    given = {f"{name}_low": low, f"{name}_high": high}
    if name == "updated_at":
        given["updated_period_low"] = None if low is None else low >> PERIOD_BITS
        given["updated_period_high"] = None if high is None else high >> PERIOD_BITS
    return {key: value for key, value in given.items() if value is not None}


def _times(
    name: str, after: datetime | None, before: datetime | None
) -> tuple[int | None, int | None]:
    return (
        codec.to_micros_or_none(after, f"{name}_after"),
        codec.to_micros_or_none(before, f"{name}_before"),
    )


def _statuses(
    given: SessionStatus | str | Collection[SessionStatus | str],
) -> list[str]:
    several = codec.check_texts([given] if is_a(given, str) else given, "status")
    known = {str(each) for each in SessionStatus}
    for each in several:
        if each not in known:
            raise InvalidArgument(
                f"status {shown(each)} is not one of {', '.join(sorted(known))}"
            )
    return list(dict.fromkeys(several))


def _count_or_none(value: int | None, name: str) -> int | None:
    return None if value is None else codec.check_integer(value, name, 0)


EQUALS: Final = sorted(
    (
        table.c[name]
        for name in SessionFilter.__struct_fields__
        for table in (sessions, session_heads)
        if name in table.c and name != "status"
    ),
    # The narrowest first.
    key=lambda each: each is not sessions.c.parent_session_id,
)
"""The columns that a filter of their name compares with one value."""
