"""Walks through all that a snapshot of a store holds, in groups of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection, bindparam, func, literal_column, select

from turnstore.errors import DatabaseCorrupt
from turnstore.sql.query import Query
from turnstore.sql.schema import (
    imports,
    sessions,
    source_rows,
    usage_ledger,
)
from turnstore.transfer.copy.spool import (
    SpooledRows,
    read_import,
    read_rows,
    read_usage,
)
from turnstore.transfer.pages import (
    SessionSize,
    is_of_a_row,
    next_key,
    next_sessions,
)
from turnstore.transfer.report import Problem
from turnstore.transfer.rows import IMPORTS, PARTS, SESSIONS

GROUP_SESSIONS: Final = 64
GROUP_ROWS: Final = 2_048
"""About the most rows of a group; a session with more is a group of its own."""


class Group(msgspec.Struct, kw_only=True):
    """Rows that are compared and written together, with the progress of the walk.

    ``kind`` is sessions, usage or imports; ``done`` and ``total`` count sessions.
    """

    kind: str
    rows: list[SpooledRows]
    done: int
    total: int

    def close(self) -> None:
        for each in self.rows:
            each.close()


class Walk:
    """Iterates over the groups of a snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._total = connection.execute(_COUNT_SESSIONS).scalar_one()
        self._done = 0
        self._seen: Counter[str] = Counter()
        self._problems: list[Problem] = []

    def __iter__(self) -> Iterator[Group]:
        for kind, groups in (
            ("sessions", self._sessions()),
            ("usage", self._usage()),
            ("imports", self._imports()),
        ):
            for rows in groups:
                for each in rows:
                    self._seen.update(each.counts)
                yield Group(kind=kind, rows=rows, done=self._done, total=self._total)

    def problems(self) -> list[Problem]:
        """Report the tables with rows that belong to nothing the walk has found."""
        found = self._problems
        for name, statement in _COUNT.items():
            count = self._connection.execute(statement).scalar_one()
            seen = self._seen[name]
            if count != seen:
                reason = f"{count} rows in the source, {seen} of them were read"
                found.append(Problem(file=name, reason=reason))
        return found

    def _sessions(self) -> Iterator[list[SpooledRows]]:
        after = -1
        while True:
            try:
                following = next_sessions(self._connection, after, GROUP_SESSIONS)
            except DatabaseCorrupt as error:
                if not is_of_a_row(error):
                    raise
                key = next_key(self._connection, after)
                assert key is not None
                following = self._one(key)
                if not following:
                    after = key
                    continue
            if not following:
                return
            names: dict[int, str] = {}
            rows = 0
            for each in following:
                rows += each.rows
                if names and rows > GROUP_ROWS:
                    break
                names[each.session_key] = each.id
            after = max(names)
            found = self._read(names)
            self._done += len(names)
            yield found

    def _one(self, key: int) -> Sequence[SessionSize]:
        """Return the session with this key; none where it is damaged, which is
        reported."""
        try:
            return next_sessions(self._connection, key - 1, 1)
        except DatabaseCorrupt as error:
            self._report(f"session with key {key}", error)
            return []

    def _read(self, names: dict[int, str]) -> list[SpooledRows]:
        """Read sessions; damaged ones are reported and left out."""
        try:
            return read_rows(self._connection, names, is_kept=True)
        except DatabaseCorrupt as error:
            if len(names) == 1:
                self._report(next(iter(names.values())), error)
                return []
            if not is_of_a_row(error):
                raise
        return [rows for key in names for rows in self._read({key: names[key]})]

    def _report(self, name: str, error: DatabaseCorrupt) -> None:
        if not is_of_a_row(error):
            raise error
        self._problems.append(Problem(file=name, reason=str(error)))

    def _usage(self) -> Iterator[list[SpooledRows]]:
        for keys in deleted_sessions(self._connection):
            read = partial(read_usage, self._connection, is_kept=True)
            yield [read(key) for key in keys]

    def _imports(self) -> Iterator[list[SpooledRows]]:
        after = ""
        while found := _BATCHES(self._connection, after=after, limit=1):
            after = found[0].batch
            yield [read_import(self._connection, after, is_kept=True)]


def deleted_sessions(connection: Connection) -> Iterator[list[int]]:
    """Yield the keys of deleted sessions that have usage in the ledger."""
    after = -1
    while found := _DELETED(connection, after=after, limit=GROUP_SESSIONS):
        after = found[-1].session_key
        yield [each.session_key for each in found]


class _Key(msgspec.Struct):
    session_key: int


class _Batch(msgspec.Struct):
    batch: str


_COUNT: Final = {
    each.name: select(func.count()).select_from(each.table)
    for each in (*PARTS.values(), IMPORTS)
}
_COUNT_SESSIONS: Final = _COUNT[SESSIONS.name]
_is_known = (
    select(literal_column("1"))
    .where(sessions.c.session_key == usage_ledger.c.session_key)
    .exists()
)
_DELETED: Final = Query(
    select(usage_ledger.c.session_key)
    .where(usage_ledger.c.session_key > bindparam("after"), ~_is_known)
    .distinct()
    .order_by(usage_ledger.c.session_key)
    .limit(bindparam("limit")),
    _Key,
)
_batches = (
    select(imports.c.batch)
    .union(select(source_rows.c.batch).where(source_rows.c.session_key.is_(None)))
    .subquery("batches")
)
_BATCHES: Final = Query(
    select(_batches.c.batch)
    .where(_batches.c.batch > bindparam("after"))
    .order_by(_batches.c.batch)
    .limit(bindparam("limit")),
    _Batch,
)
