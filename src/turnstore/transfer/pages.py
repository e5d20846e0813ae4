"""Reads stored rows in pages that are bounded in rows and in bytes.

Exports and copies read the rows of sessions through ``Pages``, from one snapshot. A
copy holds one page in memory, however long a session is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)

from turnstore.errors import DatabaseCorrupt
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import is_in
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.damage import problem
from turnstore.sql.query import CHUNK_ROWS, Guard, Query, object_of
from turnstore.sql.schema import session_heads, sessions
from turnstore.transfer.rows import Stored, StoredTable

R = TypeVar("R", bound=Stored)


class Pages(Generic[R]):
    """Reads the rows of one table, by session or by another column.

    :param where: further conditions, whose parameters are given with each call.
    :param group: the column that rows are grouped by, if not ``session_key``.
    """

    def __init__(
        self,
        stored: StoredTable[R],
        *where: ColumnElement[bool],
        group: Column[Any] | None = None,
    ) -> None:
        group = stored.table.c.session_key if group is None else group
        order = stored.order
        self.stored = stored
        self._order = [each for each in order if each.name != "row_key"]
        self._json = [
            (each, attrgetter(each.name))
            for each in stored.columns
            if isinstance(each.type, JsonText)
        ]
        self._start = {f"after{at}": _lowest(each) for at, each in enumerate(order)}
        starts = [
            bindparam(name, type_=each.type)
            for name, each in zip(self._start, order, strict=True)
        ]
        among = is_in(group, bindparam("keys"))
        self._many = _page(stored, (group, *order), among, *where)
        if len(order) == 1:
            where = (*where, order[0] > starts[0])
        elif order:
            where = (*where, tuple_(*order) > tuple_(*starts))
        is_of_one = group == bindparam("key")
        self._one = _page(stored, order or (group,), is_of_one, *where)

    def of_one(
        self, connection: Connection, key: Value, after: int | None = None, **given: Any
    ) -> Iterator[list[R]]:
        """Yield the rows of one group, page by page.

        :param after: only rows after this one, in a table that is ordered by one
            integer.
        """
        start = self._start if after is None else {"after0": after}
        return self._rest_of(connection, key, start, given)

    def of_many(
        self, connection: Connection, keys: Collection[int]
    ) -> Iterator[tuple[int, list[R]]]:
        """Yield the rows of several groups, in the order of their keys.

        Each step gives a key and some or all rows of its group.
        """
        rest = sorted(keys)
        while len(rest) > 1:
            page = self._many.portion(connection, CHUNK_ROWS, keys=codec.array(rest))
            for key, some in groupby(page.rows, lambda each: each.mark0):
                yield key, self._sound([each.row for each in some])
            if not page.goes_on or not page.rows:
                return
            last = page.rows[-1]
            if self._start:
                start = self._marks_of(last, first=1)
                for rows in self._rest_of(connection, last.mark0, start, {}):
                    yield last.mark0, rows
            rest = rest[bisect_right(rest, last.mark0) :]
        for key in rest:
            for rows in self.of_one(connection, key):
                yield key, rows

    def _rest_of(
        self,
        connection: Connection,
        key: Value,
        start: Mapping[str, Any],
        given: Mapping[str, Any],
    ) -> Iterator[list[R]]:
        while True:
            page = self._one.portion(connection, CHUNK_ROWS, key=key, **start, **given)
            if page.rows:
                yield self._sound([each.row for each in page.rows])
            if not self._start or not page.goes_on or not page.rows:
                return
            start = self._marks_of(page.rows[-1], first=0)

    def _sound(self, rows: list[R]) -> list[R]:
        """Return rows whose JSON, which is read as text here, decodes.

        :raises DatabaseCorrupt: that of one does not.
        """
        for column, value in self._json:
            for row in rows:
                reason = problem(column, "", value(row))
                if reason is not None:
                    place = {each.name: getattr(row, each.name) for each in self._order}
                    raise DatabaseCorrupt(
                        f"{self.stored.name} {place}: {column.name} {reason}",
                        table=self.stored.name,
                        column=column.name,
                        seq=place.get("seq"),
                    )
        return rows

    def _marks_of(self, row: Any, *, first: int) -> dict[str, Value]:
        """Return the parameters for the page after a row, from its marks.

        :param first: the number of the mark of the first column of ``order``.
        """
        return {
            name: getattr(row, f"mark{at}")
            for at, name in enumerate(self._start, first)
        }


def _page(
    stored: StoredTable[Any], order: Sequence[Column[Any]], *where: ColumnElement[bool]
) -> BoundedQuery[Any]:
    """Return the query of pages. A record is a row, and the values that pages are
    ordered by (``mark0``, ``mark1``, …)."""
    marks = [f"mark{at}" for at in range(len(order))]

    def build(guard: Guard) -> Select[Any]:
        row = object_of({each.name: _as_stored(guard(each)) for each in stored.columns})
        labelled = [each.label(name) for each, name in zip(order, marks, strict=True)]
        return select(*labelled, row.label("row")).where(*where).order_by(*order)

    kinds = [
        (name, str if isinstance(each.type, Text) else int)
        for name, each in zip(marks, order, strict=True)
    ]
    record = msgspec.defstruct("PageRow", [*kinds, ("row", stored.record)], gc=False)
    return BoundedQuery(build, record)


def _as_stored(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, JsonText):
        return type_coerce(column, Text)
    if isinstance(column.type, Micros):
        return type_coerce(column, BigInteger)
    return column


def _lowest(column: Column[Any]) -> Value:
    """Return a value that is before all values of a column."""
    return "" if isinstance(column.type, Text) else -1


class SessionSize(msgspec.Struct, kw_only=True):
    """A session and its approximate number of rows."""

    session_key: int
    id: str
    rows: int


ROWS_OF_SESSION: Final[ColumnElement[int]] = func.coalesce(
    session_heads.c.message_head
    + session_heads.c.event_head
    + session_heads.c.tool_call_count
    + session_heads.c.usage_head,
    literal_column("0"),
    type_=BigInteger,
)
"""The approximate number of rows of a session, from its head."""


def next_sessions(
    connection: Connection, after: int, limit: int
) -> Sequence[SessionSize]:
    """Return the sessions after a session key, in order."""
    return _NEXT(connection, after=after, limit=limit)


def next_key(connection: Connection, after: int) -> int | None:
    """Return the session key after one; None where there is none. A key can be read
    whatever else of a session is damaged."""
    [(key,)] = _NEXT_KEY.run_raw(connection, {"after": after})
    return None if key is None else int(key)


def is_of_a_row(error: DatabaseCorrupt) -> bool:
    """Tell whether a row is damaged, and others can be read."""
    return error.table is not None


def find_sessions(connection: Connection, ids: Sequence[str]) -> list[SessionSize]:
    """Return the sessions that exist, in the order of ``ids``."""
    found = {each.id: each for each in _FIND(connection, ids=codec.array(ids))}
    return [found[each] for each in ids if each in found]


_sizes = select(
    sessions.c.session_key, sessions.c.id, ROWS_OF_SESSION.label("rows")
).outerjoin(session_heads, session_heads.c.session_key == sessions.c.session_key)
_NEXT_KEY: Final = Compiled(
    select(func.min(sessions.c.session_key)).where(
        sessions.c.session_key > bindparam("after")
    )
)
_NEXT: Final = Query(
    _sizes.where(sessions.c.session_key > bindparam("after"))
    .order_by(sessions.c.session_key)
    .limit(bindparam("limit")),
    SessionSize,
)
_FIND: Final = Query(_sizes.where(is_in(sessions.c.id, bindparam("ids"))), SessionSize)
