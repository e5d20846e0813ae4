"""Rows that are copied together: counted, digested and spooled to a temporary file.

Equal rows have equal digests, whatever databases they are stored in. A digest takes the
values of all columns except the keys that a database gives; of a fork source it takes
the id of the session instead of its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from tempfile import SpooledTemporaryFile
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, select

from turnstore.options import MIB
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.sql.compiled import Value
from turnstore.sql.query import Query
from turnstore.sql.schema import fork_sources, imports, sessions, source_rows
from turnstore.transfer.pages import Pages
from turnstore.transfer.rows import (
    FORK_SOURCES,
    IMPORTS,
    PARTS,
    SOURCE_ROWS,
    USAGE,
    Stored,
    StoredTable,
)

R = TypeVar("R", bound=Stored)

SPOOL_BYTES: Final = MIB
"""How much of one session stays in memory; the rest waits in the file."""
_encode: Final = msgspec.json.Encoder().encode


class SpooledRows:
    """Rows of several tables that belong together.

    :param name: the id of the session, or of the import.
    :param is_kept: False to count and digest the rows only.
    :param ids: the ids of the sessions that fork sources name, by key.
    """

    def __init__(
        self, name: str, *, is_kept: bool, ids: Mapping[int, str] | None = None
    ) -> None:
        self.name = name
        self.counts: dict[str, int] = {}
        self.sources: dict[int, str] = {}
        """The ids of the sessions whose rows a fork shows, by key."""
        self.size_bytes = 0
        self._ids = ids or {}
        self._sums: dict[str, int] = {}
        self._chunks: dict[str, list[tuple[int, int]]] = {}
        self._file: Any = None
        if is_kept:
            # A temporary file without a name; ``close`` removes it.
            self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115

    def add(self, table: StoredTable[Any], rows: Sequence[Any]) -> None:
        name = table.name
        if table is FORK_SOURCES:
            self.sources |= {
                each.source_key: self._ids[each.source_key] for each in rows
            }
        # A sum, because databases sort text differently.
        total = sum(
            int.from_bytes(blake2b(_encode(values), digest_size=16).digest())
            for values in map(self._values_of(table), rows)
        )
        self._sums[name] = (self._sums.get(name, 0) + total) % 2**128
        self.counts[name] = self.counts.get(name, 0) + len(rows)
        if self._file is not None:
            chunk = _encode(rows)
            self._chunks.setdefault(name, []).append((self.size_bytes, len(chunk)))
            self._file.write(chunk)
            self.size_bytes += len(chunk)

    def _values_of(self, table: StoredTable[Any]) -> Callable[[Any], Sequence[Value]]:
        """Return the function that returns the digested values of a row."""
        if table is not FORK_SOURCES:
            return table.values
        names = [each.name for each in table.columns]
        return lambda row: [
            self.sources[row.source_key] if name == "source_key" else getattr(row, name)
            for name in names
        ]

    def chunks(self, table: StoredTable[R]) -> Iterator[tuple[list[R], int]]:
        """Yield the pages of rows as they were added, each with its size in bytes."""
        decode = msgspec.json.Decoder(list[table.record]).decode  # type: ignore[name-defined]
        for at, size_bytes in self._chunks.get(table.name, ()):
            self._file.seek(at)
            yield decode(self._file.read(size_bytes)), size_bytes

    @property
    def digest(self) -> str:
        facts = [
            [name, count, f"{self._sums[name]:x}"]
            for name, count in self.counts.items()
        ]
        return blake2b(_encode(sorted(facts)), digest_size=16).hexdigest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_rows(
    connection: Connection, names: Mapping[int, str], *, is_kept: bool
) -> list[SpooledRows]:
    """Return all rows of sessions in the order of their keys.

    :param names: the ids of the sessions by their keys.
    """
    sources = _SOURCES(connection, keys=codec.array(names))
    ids = {each.session_key: each.id for each in sources}
    found = {
        key: SpooledRows(names[key], is_kept=is_kept, ids=ids) for key in sorted(names)
    }
    try:
        for pages in _PAGES:
            for key, rows in pages.of_many(connection, found):
                found[key].add(pages.stored, rows)
    except BaseException:
        for each in found.values():
            each.close()
        raise
    return list(found.values())


def read_usage(connection: Connection, key: int, *, is_kept: bool) -> SpooledRows:
    """Return the usage ledger of a session, which may be deleted."""
    found = SpooledRows(f"deleted session {key}", is_kept=is_kept)
    for rows in _USAGE.of_one(connection, key):
        found.add(USAGE, rows)
    return found


def read_import(connection: Connection, batch: str, *, is_kept: bool) -> SpooledRows:
    """Return the record of an imported file, and its rows of no session."""
    found = SpooledRows(batch, is_kept=is_kept)
    for pages in _OF_IMPORT:
        for rows in pages.of_one(connection, batch):
            found.add(pages.stored, rows)
    return found


class _Source(msgspec.Struct):
    session_key: int
    id: str


_SOURCES: Final = Query(
    select(sessions.c.session_key, sessions.c.id)
    .join(fork_sources, fork_sources.c.source_key == sessions.c.session_key)
    .where(is_in(fork_sources.c.session_key, bindparam("keys")))
    .distinct(),
    _Source,
)
_PAGES: Final[tuple[Pages[Any], ...]] = tuple(Pages(each) for each in PARTS.values())
_USAGE: Final = Pages(USAGE)
_OF_IMPORT: Final[tuple[Pages[Any], ...]] = (
    Pages(IMPORTS, group=imports.c.batch),
    Pages(SOURCE_ROWS, source_rows.c.session_key.is_(None), group=source_rows.c.batch),
)
