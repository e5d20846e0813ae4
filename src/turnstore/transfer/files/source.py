"""Reads another system's SQLite file, which is never changed.

Only SQLite opens the file, read-only, together with its write-ahead log. All reads are
one transaction, so they don't see what the file's program writes meanwhile. If the file
can't be opened read-only (its log needs recovery, and the folder can't be written), a
private copy is read instead.
"""

from __future__ import annotations

import heapq
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import column, func, select, table
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import Select
from sqlalchemy.sql.elements import quoted_name

from turnstore.engine.sqlite.files import uri
from turnstore.engine.sqlite.library import library
from turnstore.errors import BackendUnavailable, DatabaseBusy, DatabaseCorrupt
from turnstore.transfer.files.cells import BadText, Cell, Row, text_of
from turnstore.transfer.files.system import ROWID, SchemaEntry, System

BUSY_TIMEOUT_S: Final = 5.0
# Result codes of SQLite.
_BUSY: Final = {5, 6}
_UNREADABLE: Final = {8, 14}  # READONLY, CANTOPEN
_NO_DATABASE: Final = 26

_DIALECT: Final = sqlite.dialect()
_PRAGMAS: Final = (
    "user_version",
    "application_id",
    "auto_vacuum",
    "encoding",
    "journal_mode",
)

Rank = tuple[int, Any]


class SourceTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table that rows are read from.

    ``columns`` begin with the rowid if that is no column of its own. ``order`` is the
    column with the rowid; None for a table without rowid.
    """

    name: str
    columns: tuple[str, ...]
    order: str | None


class Source:
    """An open source file. Used from one thread at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._connection: Any = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self.tables: dict[str, SourceTable] = {}
        self.pragmas: dict[str, int | str] = {}
        self.schema: list[SchemaEntry] = []

    def open(self) -> bool:
        """Open the file and read its schema; return False if it is no database.

        :raises OSError: there is no such file, or it can't be read.
        :raises DatabaseBusy, DatabaseCorrupt, BackendUnavailable: SQLite can't open it.
        """
        if not stat.S_ISREG(self.path.stat().st_mode):
            return False
        try:
            try:
                self._connect(self.path)
            except library().module.Error as error:
                if _code(error) not in _UNREADABLE:
                    raise
                self._close_connection()
                self._connect(self._copied())
        except library().module.Error as error:
            self.close()
            if _code(error) == _NO_DATABASE:
                return False
            raise _translated(self.path, error) from error
        except UnicodeDecodeError as error:
            # SQLite's message cites a damaged schema, and the driver can't decode it.
            self.close()
            raise DatabaseCorrupt(f"can't read {self.path}: {error}") from error
        return True

    def close(self) -> None:
        self._close_connection()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the columns of each table."""
        return {name: each.columns for name, each in self.tables.items()}

    def first_row(self, name: str) -> Row | None:
        """Return the row with the lowest rowid of a table."""
        for row in self.rows(name, limit=1):
            return row
        return None

    def rows(self, name: str, limit: int = -1) -> Iterator[Row]:
        """Yield a table's rows in order of rowid."""
        found = self.tables[name]
        statement = _select(found).limit(limit)
        if found.order is not None:
            statement = statement.order_by(_column(found.order))
        for cells in self._execute(statement):
            yield dict(zip(found.columns, cells, strict=True))

    def count(self, names: Sequence[str]) -> int:
        """Count the rows of tables."""
        total = 0
        for name in names:
            statement = select(func.count()).select_from(_table(name))
            total += next(iter(self._execute(statement)))[0]
        return total

    def highest(self, name: str, key: str) -> int:
        """Return the highest integer in a key column, 0 if there is none."""
        statement = select(func.max(_column(key))).select_from(_table(name))
        [(found,)] = self._execute(statement)
        return found if isinstance(found, int) else 0

    def sessions(self, system: System) -> Iterator[tuple[Cell, dict[str, list[Row]]]]:
        """Yield the ids of sessions in order, each with its rows by table.

        Each table is read once, in the same order, so memory holds one session.
        """
        streams = [
            self._by_session(each.name, each.session)
            for each in system.tables
            if each.name in self.tables
            and each.session in self.tables[each.name].columns
        ]
        merged = heapq.merge(*streams, key=lambda each: each[0])
        for _, group in groupby(merged, key=lambda each: each[0]):
            rows: dict[str, list[Row]] = {}
            session_id: Cell = None
            for _, cell, name, listed in group:
                session_id = cell
                rows[name] = listed
            yield session_id, rows

    def _by_session(
        self, name: str, session: str
    ) -> Iterator[tuple[Rank, Cell, str, list[Row]]]:
        found = self.tables[name]
        at = found.columns.index(session)
        # Ordered by bytes, whatever the column's collation, so that streams can merge.
        statement = _select(found).order_by(_column(session).collate("BINARY"))
        by_id = groupby(self._execute(statement), key=lambda cells: _rank(cells[at]))
        for rank, group in by_id:
            listed = [dict(zip(found.columns, cells, strict=True)) for cells in group]
            if found.order is not None:
                listed.sort(key=itemgetter(found.order))
            yield rank, listed[0][session], name, listed

    def _connect(self, path: Path) -> None:
        connection = library().module.connect(
            uri(path.absolute(), read_only=True),
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
        )
        self._connection = connection
        connection.text_factory = text_of
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA trusted_schema = 0")
        connection.execute("PRAGMA temp_store = 1")
        connection.execute("BEGIN")
        self._read_schema()

    def _read_schema(self) -> None:
        schema = table(
            "sqlite_master", *map(column, ("type", "name", "tbl_name", "sql", "rowid"))
        )
        statement = select(
            schema.c.type, schema.c.name, schema.c.tbl_name, schema.c.sql
        )
        entries = list(self._execute(statement.order_by(schema.c.rowid)))
        self.schema = [
            SchemaEntry(type=kind, name=name, table=owner, sql=sql)
            for kind, name, owner, sql in entries
            if isinstance(sql, str) and not name.startswith("sqlite_")
        ]
        self.tables = {}
        for kind, name, _, sql in entries:
            if kind == "table" and not _is_virtual(sql):
                self.tables[name] = self._read_table(name)
        self.pragmas = {
            name: self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in _PRAGMAS
        }

    def _read_table(self, name: str) -> SourceTable:
        facts = self._connection.execute(
            # Unlike the pragma, the table-valued function takes the name as a value.
            "SELECT name, type, pk FROM pragma_table_info(?)",
            (name,),
        ).fetchall()
        columns = tuple(each[0] for each in facts)
        keys = [each for each in facts if each[2]]
        if _is_without_rowid(self._connection, name):
            order = None
        elif len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER":
            order = keys[0][0]
        elif ROWID in {each.lower() for each in columns}:
            order = None
        else:
            order = ROWID
            columns = (ROWID, *columns)
        return SourceTable(name=name, columns=columns, order=order)

    def _execute(self, statement: Select[Any]) -> Any:
        compiled = statement.compile(
            dialect=_DIALECT, compile_kwargs={"literal_binds": True}
        )
        return self._connection.execute(str(compiled))

    def _copied(self) -> Path:
        """Copy the file and its log to a private folder; return the copy."""
        self._copy = tempfile.TemporaryDirectory(prefix="turnstore-")
        copy = Path(self._copy.name) / "source"
        for ending in ("", "-wal"):
            given = Path(f"{self.path}{ending}")
            if given.exists():
                shutil.copyfile(given, f"{copy}{ending}")
        return copy

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def translate(path: Path, error: Exception) -> Exception:
    """Return the store's error for an error of reading a source."""
    if isinstance(error, library().module.Error):
        return _translated(path, error)
    if isinstance(error, UnicodeDecodeError):  # SQLite's message cites damaged bytes
        return DatabaseCorrupt(f"can't read {path}: {error}")
    return error


def _translated(path: Path, error: Exception) -> Exception:
    code = _code(error)
    if code in _BUSY:
        return DatabaseBusy(f"{path} is locked by its program: try again")
    if code in _UNREADABLE:
        return BackendUnavailable(f"can't open {path}: {error}")
    return DatabaseCorrupt(f"can't read {path}: {error}")


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 1)) & 0xFF


def _rank(cell: Cell) -> Rank:
    """Return a key that sorts cells as SQLite does: NULL, numbers, text, bytes."""
    if cell is None:
        return 0, 0
    if isinstance(cell, int | float):
        return 1, cell
    if isinstance(cell, str):
        return 2, cell.encode()
    return (2, cell.data) if isinstance(cell, BadText) else (3, cell)


def _select(found: SourceTable) -> Select[Any]:
    return select(*(_column(each) for each in found.columns)).select_from(
        _table(found.name)
    )


def _column(name: str) -> Any:
    return column(name if name == ROWID else quoted_name(name, quote=True))


def _table(name: str) -> Any:
    return table(quoted_name(name, quote=True))


def _is_virtual(sql: Any) -> bool:
    return isinstance(sql, str) and sql.lstrip().upper().startswith("CREATE VIRTUAL")


def _is_without_rowid(connection: Any, name: str) -> bool:
    found = connection.execute(
        "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (name,)
    ).fetchone()
    return bool(found and found[0])
