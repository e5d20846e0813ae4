"""Writes a new SQLite file for another system.

The file has a temporary name in the same folder until it is complete, so an export that
is stopped leaves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    TEXT,
    ColumnClause,
    bindparam,
    cast,
    column,
    insert,
    select,
    table,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import quoted_name

from turnstore.engine.sqlite.files import uri
from turnstore.engine.sqlite.library import library
from turnstore.errors import InvalidArgument
from turnstore.sql import codec
from turnstore.sql.bulk import is_in
from turnstore.transfer.files.cells import BadText, Cell
from turnstore.transfer.files.system import SchemaEntry

_DIALECT: Final = sqlite.dialect()
_INTEGER_PRAGMAS: Final = ("user_version", "application_id")


class Target:
    """A file that is being written. Used from one thread at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        self._partial = partial_name(self._path)
        self._connection: Any = None
        self._later: list[SchemaEntry] = []
        self._columns: dict[str, tuple[str, ...]] = {}
        self._keys: dict[str, str | None] = {}
        self._with_rowid: set[str] = set()

    def create(self, pragmas: Mapping[str, int | str]) -> None:
        """Make the file.

        :raises InvalidArgument: there is a file of this name.
        :raises OSError: the file can't be made.
        """
        os.close(reserve(self._path, self._partial))
        self._connection = library().module.connect(
            uri(self._partial, read_only=False),
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        execute = self._connection.execute
        for pragma in (
            "journal_mode = MEMORY",
            "synchronous = OFF",
            "foreign_keys = OFF",
            "ignore_check_constraints = ON",
            "trusted_schema = OFF",
            "recursive_triggers = OFF",
        ):
            execute(f"PRAGMA {pragma}")
        if str(pragmas.get("encoding", "")).upper().startswith("UTF-16"):
            execute(f"PRAGMA encoding = '{_encoding(pragmas['encoding'])}'")
        if pragmas.get("auto_vacuum") in (1, 2):
            execute(f"PRAGMA auto_vacuum = {pragmas['auto_vacuum']}")
        execute("BEGIN")

    def add_schema(self, entries: Sequence[SchemaEntry]) -> None:
        """Make the missing tables. ``finish`` makes indexes, triggers and the like."""
        known = {each.name for each in self._later}
        for each in entries:
            if each.type != "table" or _is_virtual(each):
                if each.name not in known:
                    self._later.append(each)
            elif each.name not in self._columns:
                self._connection.execute(each.sql)
                self._learn(each.name)

    def add_column(self, name: str, column_name: str) -> None:
        """Add a column without a type to a table."""
        quote = _DIALECT.identifier_preparer.quote
        self._connection.execute(
            f"ALTER TABLE {quote(quoted_name(name, quote=True))} "
            f"ADD COLUMN {quote(quoted_name(column_name, quote=True))}"
        )
        self._learn(name)

    def has_table(self, name: str) -> bool:
        return name in self._columns

    def columns(self, name: str) -> tuple[str, ...]:
        return self._columns.get(name, ())

    def has_integer_key(self, name: str, key: str) -> bool:
        """Whether a column is the table's rowid."""
        return self._keys.get(name) == key

    def has_rowid(self, name: str) -> bool:
        """Whether a table has a rowid that is not one of its columns."""
        return name in self._with_rowid

    def taken(self, name: str, key: str, ids: Iterable[Cell]) -> set[Cell]:
        """Return the ids that a table has already."""
        wanted = [each for each in ids if isinstance(each, int | str)]
        if not wanted:
            return set()
        found = self._connection.execute(_taken(name, key), (codec.array(wanted),))
        return {each for (each,) in found}

    def insert(self, name: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Insert rows into a table, in order; rows may differ in their columns."""
        for (columns, bad), run in groupby(rows, _shape):
            values = [
                [
                    each.data if isinstance(each, BadText) else each
                    for each in row.values()
                ]
                for row in run
            ]
            self._connection.executemany(_insert(name, columns, bad), values)

    def insert_where_possible(
        self, name: str, rows: Sequence[Mapping[str, Cell]]
    ) -> list[Mapping[str, Cell]]:
        """Insert rows; return the rows whose key another row has."""
        execute = self._connection.execute
        left: list[Mapping[str, Cell]] = []
        execute("SAVEPOINT rows")
        try:
            self.insert(name, rows)
        except library().module.IntegrityError:
            execute("ROLLBACK TO rows")
            for row in rows:
                try:
                    self.insert(name, [row])
                except library().module.IntegrityError:
                    left.append(row)
        execute("RELEASE rows")
        return left

    def set_sequences(self, sequences: Mapping[str, int]) -> None:
        """Raise the AUTOINCREMENT counters of tables to at least these values."""
        if "sqlite_sequence" not in self._tables():
            return
        now = dict(self._connection.execute("SELECT name, seq FROM sqlite_sequence"))
        highest = {
            name: max(sequences.get(name, 0), now.get(name, 0))
            for name in [*sequences, *now]
        }
        self._connection.execute("DELETE FROM sqlite_sequence")
        self.insert(
            "sqlite_sequence",
            [{"name": name, "seq": seq} for name, seq in highest.items()],
        )

    def has_statistics(self, name: str) -> bool:
        """Whether a table is one of the planner's own; makes it if it is."""
        if not name.startswith("sqlite_stat"):
            return False
        if name not in self._columns:
            self._connection.execute("ANALYZE sqlite_master")
            if name in self._tables():
                self._learn(name)
        return name in self._columns

    def commit(self) -> None:
        """Commit, and begin the next transaction."""
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def finish(self, pragmas: Mapping[str, int | str]) -> None:
        """Make indexes, triggers and virtual tables, and give the file its name.

        :raises InvalidArgument: there is a file of this name by now.
        """
        execute = self._connection.execute
        for each in self._later:
            if not _is_virtual(each):
                execute(each.sql)
        virtual = [each for each in self._later if _is_virtual(each)]
        if virtual:
            # As the shell's .dump does: the tables behind them are filled already.
            execute("PRAGMA writable_schema = ON")
            self.insert(
                "sqlite_master",
                [
                    {
                        "type": "table",
                        "name": each.name,
                        "tbl_name": each.name,
                        "rootpage": 0,
                        "sql": each.sql,
                    }
                    for each in virtual
                ],
            )
            execute("PRAGMA writable_schema = OFF")
        execute("COMMIT")
        execute("PRAGMA synchronous = FULL")
        for name in _INTEGER_PRAGMAS:
            execute(f"PRAGMA {name} = {int(pragmas.get(name, 0))}")
        mode = pragmas.get("journal_mode")
        if mode == "wal":
            execute("PRAGMA journal_mode = WAL")
        self._connection.close()
        self._connection = None
        publish(self._partial, self._path)

    def abandon(self) -> None:
        """Remove a file that is not finished."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for ending in ("", "-journal", "-wal", "-shm"):
            Path(f"{self._partial}{ending}").unlink(missing_ok=True)

    def _tables(self) -> set[str]:
        found = self._connection.execute("SELECT name FROM sqlite_master")
        return {name for (name,) in found}

    def _learn(self, name: str) -> None:
        facts = self._connection.execute(
            "SELECT name, type, pk FROM pragma_table_info(?)", (name,)
        ).fetchall()
        self._columns[name] = tuple(each[0] for each in facts)
        keys = [each for each in facts if each[2]]
        is_alias = len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER"
        self._keys[name] = keys[0][0] if is_alias else None
        columns = {each.lower() for each in self._columns[name]}
        without = self._connection.execute(
            "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (name,)
        ).fetchone()
        if not is_alias and not without[0] and "rowid" not in columns:
            self._with_rowid.add(name)


def partial_name(path: Path) -> Path:
    """Return the name that a file has while it is written."""
    return path.with_name(f".{path.name[:100]}.{uuid4().hex}.partial")


def reserve(path: Path, partial: Path) -> int:
    """Make the file ``partial`` and return its descriptor.

    :raises InvalidArgument: there is a file at ``path``.
    :raises OSError: the file can't be made.
    """
    if os.path.lexists(path):
        raise InvalidArgument(f"{path} is there already: choose another path")
    return os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)


def publish(partial: Path, path: Path) -> None:
    """Give a complete file its name.

    :raises InvalidArgument: there is a file of this name by now.
    """
    try:
        # Unlike a rename, a link never replaces a file.
        os.link(partial, path)
    except FileExistsError:
        raise InvalidArgument(
            f"{path} has been made meanwhile: choose another path"
        ) from None
    except OSError:  # a file system without links
        partial.rename(path)
    else:
        partial.unlink()


def entries_of(statements: Sequence[str]) -> list[SchemaEntry]:
    """Return the schema that statements make, by running them in memory."""
    connection = library().module.connect(":memory:", isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
        found = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master "
            "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        ).fetchall()
    finally:
        connection.close()
    return [
        SchemaEntry(type=kind, name=name, table=owner, sql=sql)
        for kind, name, owner, sql in found
    ]


def _shape(row: Mapping[str, Cell]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the columns of a row, and those with text that is not UTF-8."""
    bad = [each for each, cell in row.items() if isinstance(cell, BadText)]
    return tuple(row), frozenset(bad)


@cache
def _insert(name: str, columns: tuple[str, ...], bad: frozenset[str]) -> str:
    """Return the statement that inserts a row.

    :param bad: columns whose text is not UTF-8, and is given as bytes.
    """
    into = table(_quoted(name), *(column(_quoted(each)) for each in columns))
    values: dict[Any, Any] = {}
    for at, each in enumerate(columns):
        given: Any = bindparam(f"c{at}")
        values[into.c[each]] = cast(given, TEXT) if each in bad else given
    return str(insert(into).values(values).compile(dialect=_DIALECT))


@cache
def _taken(name: str, key: str) -> str:
    wanted: ColumnClause[Any] = column(_quoted(key))
    statement = select(wanted).select_from(table(_quoted(name)))
    return str(
        statement.where(is_in(wanted, bindparam("ids"))).compile(dialect=_DIALECT)
    )


def _quoted(name: str) -> quoted_name:
    return quoted_name(name, quote=name != "rowid")


def _is_virtual(entry: SchemaEntry) -> bool:
    return entry.sql.lstrip().upper().startswith("CREATE VIRTUAL")


def _encoding(given: int | str) -> str:
    return "UTF-16be" if str(given).lower() == "utf-16be" else "UTF-16le"
