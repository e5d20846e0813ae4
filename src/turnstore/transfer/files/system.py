"""What a system's module says of it, and what it reads and writes with.

A module has one ``System``. Its ``read`` makes rows of the store out of one session's
rows; its ``write`` makes the session's rows out of those of the store. What ``write``
gives back differently is found by comparing, when a file is imported, and is kept with
the session: no module needs to know what is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from turnstore.errors import InvalidArgument
from turnstore.transfer.files.cells import Cell, OutCell, Row
from turnstore.transfer.rows import SessionRows

ROWID: Final = "rowid"
"""The place of a row in a table that has no integer key of its own."""
SourceRowId = int | str


class SchemaEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``sqlite_schema``."""

    type: str
    name: str
    table: str
    sql: str


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows belong to sessions.

    :param session: the column that names the session.
    :param columns: those by which the table is known.
    :param key: its key, where ``write`` may give a ``Local``, or text that another
        session of this store may use too.
    :param references: columns that name rows of the session in other tables, and
        which.
    """

    name: str
    session: str
    columns: frozenset[str]
    key: str | None = None
    references: Mapping[str, str] = {}


class SourceSession:
    """One session's rows in another system's file, each table in order of rowid.

    ``read`` takes rows out that can't be stored by ``set_aside``; of the others,
    ``write`` has to give exactly one each, in the same order. ``next_numbers``: what
    ``write`` finds in its ``heads`` under that name.
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
        """Keep a row whole, with the session."""
        self.rows[table].remove(row)
        self.aside.setdefault(table, []).append(row)
        self.note(f"{table}: {reason}")

    def note(self, reason: str) -> None:
        """Count something that the report tells."""
        self.notes[reason] += 1


class Heads(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many rows of a session came from an import; all 0 for one made here.

    ``next_numbers``: of a table that numbers its rows, the number after theirs, where
    ``read`` has found that their count does not tell.
    """

    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    next_numbers: dict[str, int] = {}


class SessionWriter:
    """Collects the rows of one session for another system's file."""

    def __init__(self, heads: Heads) -> None:
        self.heads = heads
        self.rows: dict[str, list[tuple[SourceRowId, dict[str, OutCell]]]] = {}
        self.notes: Counter[str] = Counter()

    def add(self, table: str, place: SourceRowId, cells: dict[str, OutCell]) -> None:
        """Add a row. The column that names the session is filled in.

        :param place: what the row is known by as long as the session lives, unique in
            its table: the ``seq`` of the row that it comes from, a metadata key, 1
            for the session itself.
        """
        self.rows.setdefault(table, []).append((place, cells))

    def note(self, reason: str, count: int = 1) -> None:
        """Count something that the other system can't hold."""
        if count:
            self.notes[reason] += count


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Another system whose files can be imported and written.

    :param tables: in the order in which their rows are written; the first is the one
        that says which sessions there are.
    :param required: those without which a file is not the system's.
    :param or_required: others that make it the system's too.
    :param immutable: columns of the first table that never change: by those of its
        first row a file is known again.
    :param schema: the statements that make an empty file, tables before indexes.
    :param history: tables of the system's own migrations.
    :param pragmas: ``user_version``, ``application_id``, ``auto_vacuum``,
        ``journal_mode`` of an empty file.
    :param holds: which of messages, tool calls and events a file of the system holds.
    :param has_integer_ids: its sessions have integers for ids.
    :param session_id: the id of a session here, None where its rows are orphans: kept
        with the file, not as a session.
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
        """Tell by its tables' columns whether a file is the system's."""
        return any(
            not self._missing(names, columns)
            for names in (self.required, self.or_required)
            if names
        )

    def check(self, columns: Mapping[str, Sequence[str]], path: str) -> None:
        """:raises InvalidArgument: the file is not the system's; the text says why."""
        if not self.recognises(columns):
            name, missing = self._missing(self.required, columns)[0]
            raise InvalidArgument(
                f"{path} is no {self.name} file: it has no table {name} with "
                f"the columns {', '.join(sorted(missing))}"
            )

    def _missing(
        self, names: frozenset[str], columns: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, frozenset[str]]]:
        """Return the columns that tables of these names should have."""
        found = [
            (table.name, table.columns - set(columns.get(table.name, ())))
            for table in self.tables
            if table.name in names
        ]
        return [each for each in found if each[1]]

    def table(self, name: str) -> Table:
        return next(each for each in self.tables if each.name == name)


def linked(rows: SessionRows) -> SessionRows:
    """Make each message the parent of the next, and the last one active."""
    parent: str | None = None
    for message in rows.messages:
        message.parent_id = parent
        parent = message.id
    rows.head.active_message_id = parent
    return rows
