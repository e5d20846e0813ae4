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
    Text,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)

from turnstore.errors import DatabaseCorrupt
from turnstore.options import MIB
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.cells import problem
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.compiled import Compiled, Value
from turnstore.sql.dialects import Bytes
from turnstore.sql.query import CHUNK_ROWS, Query, object_of
from turnstore.sql.schema import session_heads, sessions
from turnstore.transfer.rows import Stored, StoredTable

R = TypeVar("R", bound=Stored)

PAGE_BYTES: Final = 8 * MIB
_LIMIT_MIN: Final = 16


class Pages(Generic[R]):
    """Reads the rows of one table, by session or by another column.

    :param where: further conditions, whose parameters are given with each call.
    :param group: the column that rows are grouped by, if not ``session_key``.
    :param bytes_max: a page ends with the row whose text reaches this. None bounds
        pages in rows only, which takes half the time.
    """

    def __init__(
        self,
        stored: StoredTable[R],
        *where: ColumnElement[bool],
        group: Column[Any] | None = None,
        bytes_max: int | None = PAGE_BYTES,
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
        self._bytes_max = bytes_max
        self._start = {f"after{at}": _lowest(each) for at, each in enumerate(order)}
        starts = [
            bindparam(name, type_=each.type)
            for name, each in zip(self._start, order, strict=True)
        ]
        among = is_in(group, bindparam("keys"))
        self._many = _page(stored, (group, *order), bytes_max, among, *where)
        if len(order) == 1:
            where = (*where, order[0] > starts[0])
        elif order:
            where = (*where, tuple_(*order) > tuple_(*starts))
        is_of_one = group == bindparam("key")
        self._one = _page(stored, order or (group,), bytes_max, is_of_one, *where)

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
            page = self._many(connection, keys=codec.array(rest), limit=CHUNK_ROWS)
            for key, some in groupby(page, lambda each: each.mark0):
                yield key, self._sound([each.row for each in some])
            if not self._goes_on(page, CHUNK_ROWS):
                return
            last = page[-1]
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
        start: Mapping[str, Value],
        given: Mapping[str, Value],
    ) -> Iterator[list[R]]:
        limit = CHUNK_ROWS
        while True:
            page = self._one(connection, key=key, limit=limit, **start, **given)
            if page:
                yield self._sound([each.row for each in page])
            if not self._start or not self._goes_on(page, limit):
                return
            start = self._marks_of(page[-1], first=0)
            # The database measures the rows that it cuts off: ask for fewer of them.
            limit = CHUNK_ROWS
            if len(page) < limit:
                limit = min(limit, max(_LIMIT_MIN, 2 * len(page)))

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

    def _goes_on(self, page: Sequence[Any], limit: int) -> bool:
        """Whether there may be rows after a page."""
        if len(page) == limit:
            return True
        return (
            self._bytes_max is not None
            and bool(page)
            and page[-1].upto_bytes >= self._bytes_max
        )

    def _marks_of(self, row: Any, *, first: int) -> dict[str, Value]:
        """Return the parameters for the page after a row, from its marks.

        :param first: the number of the mark of the first column of ``order``.
        """
        return {
            name: getattr(row, f"mark{at}")
            for at, name in enumerate(self._start, first)
        }


def _page(
    stored: StoredTable[Any],
    order: Sequence[Column[Any]],
    bytes_max: int | None,
    *where: ColumnElement[bool],
) -> Query[Any]:
    """Return the query of one page.

    Each record has the marks that the page is ordered by, the bytes of the page up to
    this row, and the row. For a table with the columns ``seq`` and ``data``::

        SELECT mark0, upto_bytes, printf(…, seq, data) AS row FROM (
            SELECT *, sum(size_bytes) OVER (ORDER BY mark0) AS upto_bytes FROM (
                SELECT seq AS mark0, seq, data, length(data) AS size_bytes
                FROM … WHERE session_key = :key AND seq > :after0
                ORDER BY seq LIMIT :limit))
        WHERE upto_bytes - size_bytes < 8388608 ORDER BY mark0

    Without ``bytes_max`` the rows are not measured, and ``upto_bytes`` is 0.
    """
    marks = [f"mark{at}" for at in range(len(order))]
    size: ColumnElement[int] = literal_column("0", BigInteger)
    if bytes_max is not None:
        size = _size(stored)
    page = (
        select(
            *(each.label(mark) for each, mark in zip(order, marks, strict=True)),
            *(_as_stored(each).label(f"c_{each.name}") for each in stored.columns),
            size.label("size_bytes"),
        )
        .where(*where)
        .order_by(*order)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    upto: ColumnElement[int] = page.c.size_bytes
    if bytes_max is not None:
        by = [page.c[mark] for mark in marks]
        total = func.sum(page.c.size_bytes, type_=BigInteger).over(order_by=by)
        page = select(page, total.label("upto_bytes")).subquery("measured")
        upto = page.c.upto_bytes
    values = {each.name: page.c[f"c_{each.name}"] for each in stored.columns}
    by = [page.c[mark] for mark in marks]
    row = object_of(values).label("row")
    statement = select(*by, upto.label("upto_bytes"), row).order_by(*by)
    if bytes_max is not None:
        before = upto - page.c.size_bytes
        statement = statement.where(before < literal_column(str(bytes_max)))
    kinds = [
        (mark, str if isinstance(each.type, Text) else int)
        for mark, each in zip(marks, order, strict=True)
    ]
    record = msgspec.defstruct(
        "PageRow", [*kinds, ("upto_bytes", int), ("row", stored.record)], gc=False
    )
    return Query(statement, record)


def _size(stored: StoredTable[Any]) -> ColumnElement[int]:
    """Return the expression for the bytes of a row's texts."""
    size: ColumnElement[int] = literal_column("0")
    for each in stored.columns:
        if isinstance(each.type, Text | JsonText):
            text = type_coerce(each, Text)
            size = size + func.coalesce(Bytes(text), literal_column("0"))
    return size


def _as_stored(column: Column[Any]) -> ColumnElement[Any]:
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
