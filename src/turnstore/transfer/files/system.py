"""How a system describes itself, and what its ``read`` and ``write`` work with.

The folder of a system has one ``System``. Its ``read`` turns the rows that a session
has in the system's file into rows of the store; its ``write`` turns rows of the store
into rows of such a file. An import runs both and compares: it keeps with the session
each cell that ``write`` would change, so no system has to know what it loses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from turnstore.errors import InvalidArgument
from turnstore.records import Role
from turnstore.sql import codec
from turnstore.transfer.files.cells import Cell, OutCell, Row
from turnstore.transfer.rows import SessionRows, StoredMessage

ROWID: Final = "rowid"
"""The key of a row in a table without an integer key of its own."""
RowId = int | str
"""Identifies a row that ``write`` gives, within its table and session."""


class SchemaEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``sqlite_schema``."""

    type: str
    name: str
    table: str
    sql: str


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows belong to sessions.

    :param session: the column that names the session.
    :param columns: the columns by which the table is recognised.
    :param key: the key column, if ``write`` may give it a ``PendingId`` or a text that
        another session of the store may use too.
    :param references: columns that name rows of the session in other tables, with the
        names of those tables.
    """

    name: str
    session: str
    columns: frozenset[str]
    key: str | None = None
    references: Mapping[str, str] = {}


class SourceSession:
    """The rows of one session in another system's file, each table by rowid.

    ``read`` calls ``set_aside`` for rows that the store has no place for. For each
    other row ``write`` has to give exactly one, in the same order. ``next_numbers`` is
    handed to ``write`` in ``SessionWriter.imported``.
    """

    def __init__(
        self, id: Cell, rows: Mapping[str, list[Row]], payload_bytes_max: int
    ) -> None:
        self.id = id
        self.rows = rows
        self.payload_bytes_max = payload_bytes_max
        self.aside: dict[str, list[Row]] = {}
        self.next_numbers: dict[str, int] = {}
        self.notes: Counter[str] = Counter()

    def __getitem__(self, table: str) -> list[Row]:
        return self.rows.get(table, [])

    def set_aside(self, table: str, row: Row, reason: str) -> None:
        """Take a row out and keep it whole with the session."""
        self.rows[table].remove(row)
        self.aside.setdefault(table, []).append(row)
        self.note(f"{table}: {reason}")

    def note(self, reason: str) -> None:
        """Count something for the report."""
        self.notes[reason] += 1


class Imported(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many rows of a session came from an import: the first of each series.

    ``next_numbers``: for a table that numbers its rows, the number after the imported
    ones, if it is not their count.
    """

    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    next_numbers: dict[str, int] = {}


class SessionWriter:
    """Collects the rows of one session for another system's file."""

    def __init__(self, imported: Imported) -> None:
        self.imported = imported
        self.rows: dict[str, list[tuple[RowId, dict[str, OutCell]]]] = {}
        self.notes: Counter[str] = Counter()

    def add(self, table: str, row_id: RowId, cells: dict[str, OutCell]) -> None:
        """Add a row. The column that names the session is filled in later.

        :param row_id: stays the same as long as the session exists: the ``seq`` of the
            row that this one comes from, a metadata key, or 1 for the session itself.
        """
        for column, cell in cells.items():
            if isinstance(cell, str) and not cell.isascii():
                cells[column] = self._encodable(cell)
        self.rows.setdefault(table, []).append((row_id, cells))

    def role_of(self, message: StoredMessage) -> str:
        """Return the role of a message for a system without the role developer."""
        if message.role == Role.DEVELOPER:
            self.note("messages.role: developer written as system")
            return str(Role.SYSTEM)
        return message.role if message.role_raw is None else message.role_raw

    def _encodable(self, text: str) -> str:
        """Return a text that SQLite can hold."""
        try:
            text.encode()
        except UnicodeEncodeError:
            self.note("a lone surrogate: written as U+FFFD")
            return codec.without_surrogates(text)
        return text

    def note(self, reason: str, count: int = 1) -> None:
        """Count something that the other system can't hold."""
        if count:
            self.notes[reason] += count


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Another system whose files can be imported and written.

    :param tables: in the order in which their rows are written. The first one lists
        the sessions.
    :param required: the tables that a file of the system has.
    :param or_required: other tables that identify a file of the system as well.
    :param immutable: columns of the first table that never change. Their values in its
        first row identify a file at the next import.
    :param schema: the statements that make an empty file, tables before indexes.
    :param history: the tables of the system's own migrations.
    :param pragmas: ``user_version``, ``application_id``, ``auto_vacuum`` and
        ``journal_mode`` of an empty file.
    :param holds: which of messages, tool calls and events a file of the system has.
    :param has_integer_ids: whether ids of sessions are integers.
    :param session_id: returns the id that a session gets in the store. None if it has
        only rows that make no session; these are kept with the file.
    """

    name: str
    tables: tuple[Table, ...]
    required: frozenset[str]
    or_required: frozenset[str] = frozenset()
    immutable: tuple[str, ...]
    schema: tuple[str, ...]
    history: frozenset[str] = frozenset()
    pragmas: Mapping[str, int | str] = {}
    holds: frozenset[str]
    has_integer_ids: bool = False
    session_id: Callable[[SourceSession], str | None]
    read: Callable[[SourceSession, str], SessionRows]
    write: Callable[[SessionRows, SessionWriter], None]

    def recognises(self, columns: Mapping[str, Sequence[str]]) -> bool:
        """Whether a file with these tables and columns belongs to the system."""
        return any(
            not self._missing(names, columns)
            for names in (self.required, self.or_required)
            if names
        )

    def check(self, columns: Mapping[str, Sequence[str]], path: str) -> None:
        """:raises InvalidArgument: the file does not belong to the system; says why."""
        if not self.recognises(columns):
            name, missing = self._missing(self.required, columns)[0]
            raise InvalidArgument(
                f"{path} is no {self.name} file: it has no table {name} with "
                f"the columns {', '.join(sorted(missing))}"
            )

    def _missing(
        self, names: frozenset[str], columns: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, frozenset[str]]]:
        """Return the columns that these tables should have and lack."""
        found = [
            (table.name, table.columns - set(columns.get(table.name, ())))
            for table in self.tables
            if table.name in names
        ]
        return [each for each in found if each[1]]

    def table(self, name: str) -> Table:
        return next(each for each in self.tables if each.name == name)


def linked(rows: SessionRows) -> SessionRows:
    """Make each message the parent of the next one, and the last one active."""
    parent: str | None = None
    for message in rows.messages:
        message.parent_id = parent
        parent = message.id
    rows.head.active_message_id = parent
    return rows
