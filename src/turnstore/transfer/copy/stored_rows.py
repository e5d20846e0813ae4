"""The rows of a session as they are stored, without integer keys; and their digest.

What is read here is equal for equal stores, whatever their databases: a row is an
array of its columns but for the keys that a database has given. A fork names its
sources by id.

Rows are read in pages bounded in rows and in bytes, and spooled to a temporary file
that has no name, so that memory does not grow with a session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)

from turnstore.options import MIB
from turnstore.sql.compiled import Value
from turnstore.sql.dialects import Bytes
from turnstore.sql.query import CHUNK_ROWS, Query
from turnstore.sql.schema import (
    JsonText,
    Micros,
    compactions,
    events,
    fork_sources,
    idempotency_keys,
    imports,
    messages,
    questions,
    session_heads,
    session_metadata,
    sessions,
    settings,
    source_rows,
    tool_calls,
    usage_ledger,
)

PAGE_BYTES: Final = 8 * MIB
"""Text of a page at most, and one row."""
SPOOL_BYTES: Final = MIB
"""Of one session in memory at most."""
_LIMIT_MIN: Final = 16
_GIVEN_KEYS: Final = ("session_key", "row_key")
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[list[Value]]).decode

Row = Sequence[Value]


class StoredRows:
    """Rows of several tables that belong together, and the digest of them.

    :param name: the id of the session, or what else they belong to.
    :param is_kept: without, they are counted and digested only.
    """

    def __init__(self, name: str, *, is_kept: bool) -> None:
        self.name = name
        self.counts: dict[str, int] = {}
        self.sources: list[str] = []
        self.size_bytes = 0
        self._sums: dict[str, int] = {}
        self._chunks: dict[str, list[tuple[int, int]]] = {}
        self._file: Any = None
        if is_kept:
            self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - see close

    def add(self, table: str, rows: Sequence[Row]) -> None:
        lines = [_encode(row) for row in rows]
        # A sum, because databases sort text differently.
        total = sum(
            int.from_bytes(blake2b(line, digest_size=16).digest()) for line in lines
        )
        self._sums[table] = (self._sums.get(table, 0) + total) % 2**128
        self.counts[table] = self.counts.get(table, 0) + len(rows)
        if table == fork_sources.name:
            self.sources += [str(row[_SOURCE_AT]) for row in rows]
        if self._file is not None:
            chunk = b"[" + b",".join(lines) + b"]"
            place = (self.size_bytes, len(chunk))
            self._chunks.setdefault(table, []).append(place)
            self._file.write(chunk)
            self.size_bytes += len(chunk)

    def chunks(self, table: str) -> Iterator[tuple[list[list[Value]], int]]:
        """Yield the rows in pages as they were read, each with its bytes."""
        for at, size_bytes in self._chunks.get(table, ()):
            self._file.seek(at)
            yield _decode(self._file.read(size_bytes)), size_bytes

    @property
    def digest(self) -> str:
        facts = [
            [str(name), self.counts[name], f"{self._sums[name]:x}"]
            for name in self.counts
        ]
        return blake2b(_encode(sorted(facts)), digest_size=16).hexdigest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Pages:
    """Reads the rows of a table in pages.

    :param group: the column that tells whose a row is; the rows come by it.
    :param order: the columns that tell rows of one group apart.
    :param scope: which rows; its parameters are given with each call.
    """

    def __init__(
        self,
        table: Table,
        group: ColumnElement[Any],
        order: Sequence[Column[Any]],
        *scope: ColumnElement[bool],
    ) -> None:
        places = [group, *order]
        self._marks = [f"o{at}" for at in range(len(places))]
        self._first: list[Value] = [_before_all(each) for each in places]
        values = _values(table)
        texts = [each for each in values if isinstance(each.type, Text)]
        size: ColumnElement[int] = literal_column("0")
        for each in texts:
            size = size + func.coalesce(Bytes(each), literal_column("0"))
        starts = [
            bindparam(mark, type_=each.type)
            for mark, each in zip(self._marks, places, strict=True)
        ]
        start = tuple_(*places) > tuple_(*starts) if order else group > starts[0]
        page = (
            select(
                *(e.label(mark) for e, mark in zip(places, self._marks, strict=True)),
                *(each.label(f"c{at}") for at, each in enumerate(values)),
                size.label("size_bytes"),
            )
            .select_from(_from(table))
            .where(start, *scope)
            .order_by(*places)
            .limit(bindparam("limit"))
            .subquery("page")
        )
        by = [page.c[mark] for mark in self._marks]
        upto = func.sum(page.c.size_bytes, type_=BigInteger).over(order_by=by)
        counted = select(page, upto.label("upto_bytes")).subquery("counted")
        names = [*self._marks, *(f"c{at}" for at in range(len(values))), "upto_bytes"]
        before = counted.c.upto_bytes - counted.c.size_bytes
        bounded: Select[Any] = (
            select(*(counted.c[name] for name in names))
            .where(before < literal_column(str(PAGE_BYTES)))
            .order_by(*(counted.c[mark] for mark in self._marks))
        )
        kinds = [(name, _kind(counted.c[name])) for name in names]
        self._query: Query[Any] = Query(
            bounded, msgspec.defstruct("StoredRow", kinds, gc=False)
        )

    def __call__(
        self, connection: Connection, start: int | None = None, **scope: Value
    ) -> Iterator[tuple[Any, list[Row]]]:
        """Yield the rows of a page that are of one group, and whose they are.

        :param start: of the groups that are integers the first.
        """
        marks = len(self._marks)
        after = list(self._first)
        if start is not None:
            after[0] = start if marks > 1 else start - 1
        limit = CHUNK_ROWS
        while True:
            given = dict(zip(self._marks, after, strict=True)) | scope
            found = self._query(connection, limit=limit, **given)
            rows = [msgspec.structs.astuple(each) for each in found]
            for group, some in groupby(rows, lambda row: row[0]):
                yield group, [row[marks:-1] for row in some]
            is_cut = bool(rows) and rows[-1][-1] >= PAGE_BYTES
            if len(rows) < limit and not is_cut:
                return
            after = list(rows[-1][:marks])
            # What a page cuts off is measured again with the next one.
            limit = max(_LIMIT_MIN, 2 * len(rows)) if is_cut else CHUNK_ROWS
            limit = min(limit, CHUNK_ROWS)


def read_rows(
    connection: Connection, names: Mapping[int, str], *, is_kept: bool
) -> list[StoredRows]:
    """Return all rows of sessions, given by key, in the order of their keys.

    The fewer keys of others lie between them, the better.
    """
    found = {key: StoredRows(names[key], is_kept=is_kept) for key in sorted(names)}
    try:
        for first, last in _runs(list(found)):
            for name, pages in _PAGES.items():
                for key, rows in pages(connection, first, last=last):
                    if key in found:
                        found[key].add(name, rows)
    except BaseException:
        for each in found.values():
            each.close()
        raise
    return list(found.values())


def read_usage(connection: Connection, key: int, *, is_kept: bool) -> StoredRows:
    """Return the ledger of a session by key, which may be deleted."""
    found = StoredRows(f"deleted session {key}", is_kept=is_kept)
    for _, rows in _PAGES[usage_ledger.name](connection, key, last=key):
        found.add(usage_ledger.name, rows)
    return found


def read_import(connection: Connection, batch: str, *, is_kept: bool) -> StoredRows:
    """Return what is known of an imported file, and its rows of no session."""
    found = StoredRows(batch, is_kept=is_kept)
    for name, pages in _IMPORT_PAGES.items():
        for _, rows in pages(connection, batch=batch):
            found.add(name, rows)
    return found


def columns_of(table: Table) -> list[Column[Any]]:
    """Return the columns that a row holds, in its order."""
    return [
        each
        for each in table.c
        if each.name not in _GIVEN_KEYS and each.computed is None
    ]


def _values(table: Table) -> list[ColumnElement[Any]]:
    found: list[ColumnElement[Any]] = []
    for each in columns_of(table):
        if each is fork_sources.c.source_key:
            found.append(_SOURCES.c.id)
        elif isinstance(each.type, JsonText):
            found.append(type_coerce(each, Text))
        elif isinstance(each.type, Micros):
            found.append(type_coerce(each, BigInteger))
        else:
            found.append(each)
    return found


def _from(table: Table) -> Any:
    if table is not fork_sources:
        return table
    return table.join(_SOURCES, _SOURCES.c.session_key == table.c.source_key)


def _kind(column: ColumnElement[Any]) -> Any:
    return str | None if isinstance(column.type, Text) else int | None


def _before_all(column: ColumnElement[Any]) -> Value:
    return "" if isinstance(column.type, Text) else -1


def _runs(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of keys, sorted, that follow one another."""
    if not keys:
        return
    first = last = keys[0]
    for key in keys[1:]:
        if key != last + 1:
            yield first, last
            first = key
        last = key
    yield first, last


_SOURCES: Final = sessions.alias("sources")
_SOURCE_AT: Final = columns_of(fork_sources).index(fork_sources.c.source_key)
_ORDER: Final[dict[Table, tuple[Column[Any], ...]]] = {
    sessions: (),
    session_heads: (),
    session_metadata: (session_metadata.c.key,),
    messages: (messages.c.seq,),
    tool_calls: (tool_calls.c.seq,),
    events: (events.c.seq,),
    idempotency_keys: (idempotency_keys.c.kind, idempotency_keys.c.key),
    usage_ledger: (usage_ledger.c.seq,),
    compactions: (compactions.c.seq,),
    fork_sources: (fork_sources.c.position,),
    questions: (questions.c.seq,),
    settings: (settings.c.seq,),
    source_rows: (source_rows.c.row_key,),
}
TABLES: Final = tuple(_ORDER)
"""Those with rows of sessions; a row comes after what it refers to."""

_PAGES: Final = {
    table.name: _Pages(
        table, table.c.session_key, order, table.c.session_key <= bindparam("last")
    )
    for table, order in _ORDER.items()
}
_IMPORT_PAGES: Final = {
    imports.name: _Pages(
        imports, imports.c.batch, (), imports.c.batch == bindparam("batch")
    ),
    source_rows.name: _Pages(
        source_rows,
        source_rows.c.batch,
        (source_rows.c.row_key,),
        and_(
            source_rows.c.session_key.is_(None),
            source_rows.c.batch == bindparam("batch"),
        ),
    ),
}
