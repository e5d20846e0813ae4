"""``SessionFilter`` as conditions: each says how its matches can be found."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    literal,
    literal_column,
    select,
)
from sqlalchemy.sql.util import ClauseAdapter

from turnstore import _codec
from turnstore._rows import is_in
from turnstore._sql import Either, Place, TitleHas, Unindexed
from turnstore.errors import InvalidArgument
from turnstore.records import SessionFilter, SessionStatus
from turnstore.schema import session_heads, session_metadata, sessions

METADATA_MAX: Final = 100
TRIGRAM_CHARS: Final = 3
PERIOD_BITS: Final = 18
"""Of ``updated_at``, dropped in ``updated_period``."""

Residual = Callable[[Table, Column[Any]], ColumnElement[bool]]
"""From the table and the order of a walk to the condition as a test of its rows."""


class Arm(msgspec.Struct, frozen=True):
    """An index range of one table."""

    table: Table
    where: ColumnElement[bool]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One filter.

    :param test: the filter as a test of rows that another index gives.
    :param tests: the table whose columns the test reads; None: any with a session key.
    :param matches: keys of the matching sessions by the filter's own index.
    :param is_exact: whether ``matches`` gives no others.
    :param arms: index ranges that together are the matches, each of them in the order
        of the column ``along`` of the heads.
    """

    test: Residual
    tests: Table | None = None
    matches: Select[Any] | None = None
    is_exact: bool = True
    arms: tuple[Arm, ...] = ()
    along: Column[Any] | None = None


def conditions(given: SessionFilter) -> list[Condition]:
    """Return the filter's conditions, those with the narrowest index first.

    :raises InvalidArgument: a value is of the wrong type or out of bounds.
    """
    if not isinstance(given, SessionFilter):
        raise InvalidArgument(
            f"filter must be a SessionFilter, got {type(given).__name__}"
        )
    found: list[Condition] = []
    if given.ids is not None:
        found.append(_ids(given.ids))
    for name in (
        "parent_session_id",
        "agent_name",
        "project_root",
        "provider",
        "model",
    ):
        value = getattr(given, name)
        if value is not None:
            text = _codec.check_text(value, name)
            found.append(_equal(sessions.c[name], [text]))
    if given.last_model is not None:
        text = _codec.check_text(given.last_model, "last_model")
        found.append(_equal(session_heads.c.last_model, [text]))
    if given.status is not None:
        found.append(_equal(sessions.c.status, _statuses(given.status)))
    in_metadata = [*_pairs(given.metadata), *_keys(given.metadata_keys)]
    if len(in_metadata) > METADATA_MAX:
        raise InvalidArgument(
            f"at most {METADATA_MAX} metadata pairs and keys together, "
            f"got {len(in_metadata)}"
        )
    found += in_metadata
    if given.has_pending_tool_calls is not None:
        found.append(_pending(given.has_pending_tool_calls))
    if given.title_contains is not None:
        found.append(_title(given.title_contains))
    found += _between(
        "message_count",
        _count_or_none(given.message_count_min, "message_count_min"),
        _count_or_none(given.message_count_max, "message_count_max"),
    )
    found += _times("updated_at", given.updated_after, given.updated_before)
    found += _times("created_at", given.created_after, given.created_before)
    return found


def unindexed(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column behind a unary plus: SQLite then uses no index of it."""
    return Unindexed(value)


def fold(title: str) -> str:
    """Return a title as it is searched: ASCII letters lowered, without NUL."""
    return title.translate(_FOLD)


def _ids(ids: Collection[str]) -> Condition:
    wanted = literal(_codec.array(_codec.check_texts(ids, "ids")))
    return Condition(
        test=lambda base, _: is_in(unindexed(sessions.c.id), wanted),
        tests=sessions,
        matches=select(sessions.c.session_key).where(is_in(sessions.c.id, wanted)),
    )


def _equal(column: Column[Any], values: list[str]) -> Condition:
    base = column.table
    assert isinstance(base, Table)
    return Condition(
        test=lambda *_: unindexed(column).in_([literal(each) for each in values]),
        tests=base,
        matches=_in_index_order(
            select(base.c.session_key).where(column.in_(values)),
            # Of several values the index has no order by time.
            *([column, base.c.created_at] if len(values) == 1 else []),
        ),
        arms=tuple(Arm(base, column == value) for value in values),
        along=session_heads.c.created_at if values else None,
    )


def _pairs(pairs: Mapping[str, str] | None) -> list[Condition]:
    if pairs is not None and not isinstance(pairs, Mapping):
        raise InvalidArgument("metadata must be a mapping of text to text")
    return [
        _in_metadata(
            and_(
                session_metadata.c.key == _codec.check_text(key, "metadata key"),
                session_metadata.c.value
                == _codec.encode(_text(value, "metadata"), sys.maxsize),
            ),
            session_metadata.c.key,
            session_metadata.c.value,
        )
        for key, value in (pairs or {}).items()
    ]


def _keys(keys: Collection[str] | None) -> list[Condition]:
    if keys is None:
        return []
    return [
        _in_metadata(session_metadata.c.key == key, session_metadata.c.key)
        for key in _codec.check_texts(keys, "metadata_keys")
    ]


def _in_metadata(where: ColumnElement[bool], *index: Column[Any]) -> Condition:
    def test(base: Table, _: Column[Any]) -> ColumnElement[bool]:
        inner = session_metadata.alias()
        # Not EXISTS: PostgreSQL would weigh every order of joining a hundred of them.
        one: Select[Any] = (
            select(literal_column("1"))
            .select_from(inner)
            .where(
                inner.c.session_key == base.c.session_key,
                _moved(where, inner),
            )
        )
        return one.scalar_subquery().is_not(None)

    return Condition(
        test=test,
        matches=_in_index_order(
            select(session_metadata.c.session_key).where(where),
            *index,
            session_metadata.c.created_at,
        ),
        arms=(Arm(session_metadata, where),),
        along=session_heads.c.created_at,
    )


def _moved(where: ColumnElement[bool], inner: Any) -> ColumnElement[bool]:
    """Return a condition on the metadata table as one on an alias of it."""
    moved: ColumnElement[bool] = ClauseAdapter(inner).traverse(where)
    return moved


def _pending(wanted: bool) -> Condition:
    if not isinstance(wanted, bool):
        raise InvalidArgument("has_pending_tool_calls must be True or False")
    count = session_heads.c.pending_tool_calls
    # As in the partial indexes, to the letter: a parameter would not match them.
    zero: ColumnElement[int] = literal_column("0")
    return Condition(
        test=lambda *_: unindexed(count) > zero if wanted else unindexed(count) == zero,
        tests=session_heads,
        matches=_in_index_order(
            select(session_heads.c.session_key).where(
                count > zero if wanted else count == zero
            ),
            session_heads.c.created_at,
        ),
        arms=(Arm(session_heads, count > zero if wanted else count == zero),),
        along=session_heads.c.created_at,
    )


def _title(part: str) -> Condition:
    wanted = fold(_text(part, "title_contains"))
    last = len(wanted) - TRIGRAM_CHARS
    # The first, the middle and the last: more of them cost more than they sift out,
    # and what they let pass is tested.
    starts = sorted({0, last // 2, last}) if last >= 0 else []
    trigrams = [wanted[at : at + TRIGRAM_CHARS] for at in starts]
    quoted = ['"{}"'.format(each.replace('"', '""')) for each in trigrams]
    query = " AND ".join(quoted)
    escaped = re.sub(r"([%_\\\\])", r"\\\1", wanted)
    return Condition(
        test=lambda *_: Place(sessions.c.title_folded, literal(wanted)) > 0,
        tests=sessions,
        matches=select(sessions.c.session_key).where(
            TitleHas(
                sessions.c.session_key,
                sessions.c.title_folded,
                literal(query),
                literal(f"%{escaped}%"),
            )
        )
        if trigrams
        else None,
        is_exact=False,
    )


def _between(name: str, low: int | None, high: int | None) -> list[Condition]:
    if low is None and high is None:
        return []
    indexed = session_heads.c[name]

    def within(value: ColumnElement[Any]) -> ColumnElement[bool]:
        condition = _between_bounds(value, low, high)
        if name != "updated_at":
            return condition
        periods = [each and each >> PERIOD_BITS for each in (low, high)]
        period = session_heads.c.updated_period
        return Either(condition, and_(condition, _between_bounds(period, *periods)))

    def test(base: Table, order: Column[Any]) -> ColumnElement[bool]:
        # A bound on what the walk is ordered by narrows it; any other is a test.
        value = base.c.created_at if name == "created_at" else indexed
        if order is indexed:
            return within(value)
        tested = _between_bounds(unindexed(value), low, high)
        if name == "updated_at" and order.name == "created_at" and high is not None:
            # Nothing is updated before it is created: the walk begins at the bound.
            return and_(tested, base.c.created_at <= high)
        return tested

    return [
        Condition(
            test=test,
            tests=None if name == "created_at" else session_heads,
            matches=_in_index_order(
                select(session_heads.c.session_key).where(within(indexed)),
                Either(indexed, session_heads.c.updated_period)
                if name == "updated_at"
                else indexed,
            ),
            arms=(Arm(session_heads, within(indexed)),),
            along=indexed,
        )
    ]


def _in_index_order(matches: Select[Any], *columns: ColumnElement[Any]) -> Select[Any]:
    """Have matches read by their index. Without knowing the values PostgreSQL may
    take them for a large part of the table, and scan that."""
    return matches.order_by(*columns)


def _between_bounds(
    value: ColumnElement[Any], low: int | None, high: int | None
) -> ColumnElement[bool]:
    bounds = []
    if low is not None:
        bounds.append(value >= low)
    if high is not None:
        bounds.append(value <= high)
    return and_(*bounds)


def _times(
    name: str, after: datetime | None, before: datetime | None
) -> list[Condition]:
    prefix = name.removesuffix("_at")
    return _between(
        name,
        _codec.micros_or_none(after, f"{prefix}_after"),
        _codec.micros_or_none(before, f"{prefix}_before"),
    )


def _statuses(
    given: SessionStatus | str | Collection[SessionStatus | str],
) -> list[str]:
    several = _codec.check_texts([given] if isinstance(given, str) else given, "status")
    known = {str(each) for each in SessionStatus}
    for each in several:
        if each not in known:
            raise InvalidArgument(
                f"status {each!r} is not one of {', '.join(sorted(known))}"
            )
    return list(dict.fromkeys(several))


def _count_or_none(value: int | None, name: str) -> int | None:
    return None if value is None else _codec.check_integer(value, name, 0)


def _text(value: str, name: str) -> str:
    text = _codec.check_free_text(value, name)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidArgument(f"{name} must not contain a lone surrogate")
    return text


_FOLD: Final = {
    **{ord(upper): ord(upper) + 32 for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    0: 0xFFFD,
}
