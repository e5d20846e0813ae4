"""Rows of any size and number, read in portions that are bounded in rows and bytes.

A portion is at most 2,048 rows and ``READ_BYTES`` of JSON, or one row that has more.
Most rows are small, and then nothing is measured: one statement reads them, which gives
a mark in place of every cell that is larger than an equal share of the bytes. Where the
mark comes out, a second statement asks for the sizes of the rows, which databases keep
beside a large text, and a third one reads as many rows as fit.

Long JSON is decoded in fragments, and on PostgreSQL, where statements run in the event
loop's thread, in a worker thread: see ``fragments``.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial, reduce
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar

import msgspec
from anyio import to_thread
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)

from turnstore.options import MIB
from turnstore.sql.column_types import JsonText
from turnstore.sql.compiled import Compiled
from turnstore.sql.damage import may_be_damage
from turnstore.sql.dialects import Bytes, Greatest, Joined, OrNull, Unindexed
from turnstore.sql.fragments import FRAGMENT_BYTES, decode_elements
from turnstore.sql.query import (
    CHUNK_ROWS,
    MARK,
    Guard,
    as_objects,
    decoder,
    raise_damage,
)

T = TypeVar("T")

READ_BYTES: Final = 8 * MIB
"""The most JSON that is read at a time, apart from a single row."""
WHOLE_BYTES: Final = MIB
"""The longest text of rows that one call decodes."""
_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Portion(msgspec.Struct, Generic[T]):
    """Rows that were read at a time.

    ``extra``: the values of further subqueries. ``goes_on``: there may be more rows.
    """

    rows: list[T]
    extra: Sequence[Any]
    goes_on: bool


class BoundedQuery(Generic[T]):
    """A SELECT whose rows become records of one type, by column name.

    Compiled once; call it with the values of its bind parameters.

    :param statement: without a limit. Or what makes it: a function that applies what it
        is given, a guard, to each column that may be large.
    :param extra: scalar subqueries that each portion has too.
    :param computed: the names of JSON columns that are computed and may be large.
    :param rows_max: a SELECT of how many rows there can be, if that is known.
    """

    def __init__(
        self,
        statement: Select[Any] | Callable[[Guard], Select[Any]],
        record: type[T],
        extra: Sequence[ColumnElement[Any]] = (),
        *,
        computed: Collection[str] = (),
        rows_max: Select[Any] | None = None,
    ) -> None:
        self._statement = statement
        self._computed = computed
        self._rows_max = rows_max
        # Without the further values, and with them.
        self._together = [
            Compiled(partial(self._objects, self._guard, each)) for each in ((), extra)
        ]
        self._sizes = Compiled(self._sizes_of_rows)
        self._rows = [
            Compiled(partial(self._objects, _as_it_is, each, encoded=True))
            for each in ((), extra)
        ]
        self._alone = Compiled(
            lambda: as_objects(self._applied(_as_it_is), encoded=True)
        )
        self._record = record
        self._decode = decoder(record)

    def __call__(
        self, connection: Connection, limit: int | None = None, **values: Any
    ) -> list[T]:
        """Return all rows, or the first ones; within a snapshot.

        :raises DatabaseCorrupt: a row is damaged.
        """
        rows: list[T] = []
        while limit is None or len(rows) < limit:
            wanted = CHUNK_ROWS if limit is None else limit - len(rows)
            found = self.portion(
                connection, wanted, skip=len(rows), has_extra=False, **values
            )
            rows += found.rows
            if not found.goes_on:
                break
        return rows

    def one(self, connection: Connection, **values: Any) -> T | None:
        """Return the row of a statement that gives one at most.

        :raises DatabaseCorrupt: it is damaged.
        """
        try:
            [(text,)] = self._alone.run_raw(connection, values)
            if text is None:
                return None
            if len(text) > WHOLE_BYTES:
                return off_loop(connection, lambda: self._decode_one(text))[0]
            return self._decode(text)[0]
        except Exception as error:
            return raise_damage(connection, self._applied(_as_it_is), values, error)

    def single_statement(
        self, connection: Connection, limit: int | None = None, **values: Any
    ) -> Portion[T] | None:
        """Return all rows, or the first ones, as one statement finds them; None where
        they are too many or too large for that, or where one is damaged, perhaps one
        that is not wanted."""
        wanted = min(CHUNK_ROWS, limit or CHUNK_ROWS)
        try:
            found = self._small(connection, wanted, values)
            if found is None:
                sizes = self._measure(connection, wanted, values)
                if _fitting(sizes) < len(sizes):
                    return None
                found = self._large(connection, sizes, wanted, values)
        except Exception as error:
            if may_be_damage(connection, error):
                return None
            raise
        return None if found.goes_on and len(found.rows) != limit else found

    def portion(
        self,
        connection: Connection,
        limit: int,
        *,
        skip: int = 0,
        has_extra: bool = True,
        **values: Any,
    ) -> Portion[T]:
        """Return the first rows, at least one where there is one. They are from one
        statement.

        :param skip: how many rows are passed over.
        :param has_extra: read the further values too.
        :raises DatabaseCorrupt: one of them is damaged.
        """
        limit = min(limit, CHUNK_ROWS)
        values["rows_skipped"] = skip
        try:
            found = self._small(connection, limit, values, has_extra)
            if found is None:
                sizes = self._measure(connection, limit, values)
                found = self._large(connection, sizes, limit, values, has_extra)
        except Exception as error:
            values["rows_max"] = limit
            statement = _limited(self._applied(_as_it_is))
            return raise_damage(connection, statement, values, error)
        return found

    # Statements

    @cached_property
    def _large_columns(self) -> list[ColumnElement[Any]]:
        found: list[ColumnElement[Any]] = []

        def note(column: ColumnElement[Any]) -> ColumnElement[Any]:
            if _is_large(column):
                found.append(column)
            return column

        self._applied(note)
        return found

    def _applied(self, guard: Guard) -> Select[Any]:
        statement = self._statement
        if isinstance(statement, Select):
            columns = [guard(each) for each in statement.selected_columns]
            return statement.with_only_columns(*columns)
        return statement(guard)

    def _objects(
        self,
        guard: Guard,
        extra: Sequence[ColumnElement[Any]],
        *,
        encoded: bool = False,
    ) -> Select[Any]:
        return as_objects(
            _limited(self._applied(guard)),
            guard=None if encoded else self._guard_computed,
            encoded=encoded,
        ).add_columns(*extra)

    def _guard(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return guarded(column, self._cell_bytes_max) if _is_large(column) else column

    def _guard_computed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        if column.key not in self._computed:
            return column
        return guarded(column, self._cell_bytes_max)

    @cached_property
    def _cell_bytes_max(self) -> ColumnElement[int]:
        """An equal share of the bytes: of each cell of the rows that are asked for, or
        of those that there can be."""
        given = bindparam("cell_bytes_max", type_=BigInteger)
        if self._rows_max is None:
            return given
        [rows_max] = self._rows_max.selected_columns
        bytes_max = literal_column(str(READ_BYTES // self._cells), BigInteger)
        share = bytes_max.op("/")(Greatest(rows_max, literal_column("1")))
        greater = Greatest(given, share)
        # Evaluated once, not for each row.
        return self._rows_max.with_only_columns(greater).scalar_subquery()

    @cached_property
    def _cells(self) -> int:
        return max(1, len(self._large_columns) + len(self._computed))

    def _sizes_of_rows(self) -> Select[Any]:
        rows = _limited(self._applied(_as_it_is))
        computed = [rows.selected_columns[name] for name in self._computed]
        size = bytes_of(*self._large_columns, *computed)
        measured = rows.with_only_columns(size.label("size_bytes")).subquery("measured")
        return select(
            Joined(OrNull(measured.c.size_bytes), literal_column("','"))
        ).select_from(measured)

    # Steps of a portion

    def _small(
        self,
        connection: Connection,
        limit: int,
        values: dict[str, Any],
        has_extra: bool = True,
    ) -> Portion[T] | None:
        """Read rows without a large cell; None if there is one."""
        values = {"rows_skipped": 0, **values, "rows_max": limit}
        values["cell_bytes_max"] = READ_BYTES // (limit * self._cells)
        [(text, *extra)] = self._together[has_extra].run_raw(connection, values)
        if text is None:
            return Portion([], extra, goes_on=False)
        if MARK in text:
            return None
        if len(text) > WHOLE_BYTES:
            rows = off_loop(connection, lambda: self._decode_each(text.encode()))
        else:
            rows = self._decode(text)
        return Portion(rows, extra, goes_on=len(rows) == limit)

    def _measure(
        self, connection: Connection, limit: int, values: dict[str, Any]
    ) -> list[int]:
        values = {"rows_skipped": 0, **values, "rows_max": limit}
        [(text,)] = self._sizes.run_raw(connection, values)
        return [int(each) for each in text.split(",")] if text else []

    def _large(
        self,
        connection: Connection,
        sizes: list[int],
        limit: int,
        values: dict[str, Any],
        has_extra: bool = True,
    ) -> Portion[T]:
        """Read as many rows as fit. If all do, one more is asked for, which may have
        been added since they were measured."""
        wanted = _fitting(sizes)
        is_cut = wanted < len(sizes)
        if not is_cut:
            wanted = min(wanted + 1, limit)
        values = {"rows_skipped": 0, **values, "rows_max": wanted}
        [(text, *extra)] = self._rows[has_extra].run_raw(connection, values)
        if text is None:
            return Portion([], extra, goes_on=False)
        if len(text) <= WHOLE_BYTES:
            rows = self._decode(text)
        else:
            decode = self._decode_one if wanted == 1 else self._decode_each
            rows = off_loop(connection, lambda: decode(text))
        return Portion(rows, extra, goes_on=is_cut or len(rows) == wanted)

    # Decoding

    def _decode_each(self, text: bytes) -> list[T]:
        """Decode rows, a few by each call."""
        rows: list[T] = []
        group: list[msgspec.Raw] = []
        size_bytes = 0
        for row in _split(b"[%b]" % text):
            row_bytes = len(memoryview(row))
            if row_bytes > FRAGMENT_BYTES or size_bytes + row_bytes > FRAGMENT_BYTES:
                rows += self._decode(b",".join(group)) if group else []
                group, size_bytes = [], 0
            if row_bytes > FRAGMENT_BYTES:
                rows += self._decode_one(bytes(row))
            else:
                group.append(row)
                size_bytes += row_bytes
        return rows + (self._decode(b",".join(group)) if group else [])

    def _decode_one(self, text: bytes) -> list[T]:
        """Decode a row in fragments."""
        try:
            elements = decode_elements(text)
            return msgspec.convert(elements, list[self._record], strict=False)  # type: ignore[name-defined]
        except (msgspec.MsgspecError, ValueError):
            return self._decode(text)  # which says what is wrong with it


def guarded(
    column: ColumnElement[Any], bytes_max: ColumnElement[int]
) -> ColumnElement[Any]:
    """Return a JSON column, with the mark in place of what is too large."""
    size = _bytes(column)
    mark: ColumnElement[str] = literal_column(f"'{MARK}'")
    either = case((size > bytes_max, mark), else_=type_coerce(column, Text))
    return type_coerce(either, JsonText).label(column.key)


def off_loop(connection: Connection, work: Callable[[], T]) -> T:
    """Run what takes long on another thread than the event loop's. On SQLite this is
    one already."""
    if connection.dialect.name == "sqlite":
        return work()
    driver: Any = connection.connection.dbapi_connection
    found: T = driver.run_async(lambda _: to_thread.run_sync(work))
    return found


def _is_large(column: ColumnElement[Any]) -> bool:
    return isinstance(column, Column) and isinstance(column.type, JsonText)


def _as_it_is(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column


def bytes_of(*columns: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the bytes that columns have together."""
    sizes = (func.coalesce(_bytes(each), literal_column("0")) for each in columns)
    return reduce(operator.add, sizes, literal_column("0", BigInteger))


def _bytes(column: ColumnElement[Any]) -> ColumnElement[int]:
    return Bytes(type_coerce(column, Text))


def _limited(statement: Select[Any]) -> Select[Any]:
    # A bare parameter in LIMIT has SQLite plan the statement again each time.
    rows_max, rows_skipped = (
        Unindexed(bindparam(name, type_=BigInteger))
        for name in ("rows_max", "rows_skipped")
    )
    return statement.limit(rows_max).offset(rows_skipped)


def _fitting(sizes: Sequence[int]) -> int:
    """Return how many rows fit into a portion: the first does, whatever its size."""
    return max(1, bisect_right([*accumulate(sizes)], READ_BYTES)) if sizes else 0
