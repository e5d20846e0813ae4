"""Ids of rows: unique ones for an import, free ones in the file for an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Cell, OutCell, PendingId
from turnstore.transfer.files.system import ROWID, System, Table
from turnstore.transfer.files.target import Target

OutRows: TypeAlias = dict[str, list[dict[str, OutCell]]]
"""Rows of one session, by table."""


class UniqueIds:
    """Gives the rows of one table of a session their ids in the store, in order."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, cell: Cell) -> str:
        """Return the row's own id, or a new one if that is not valid or was given."""
        own = str(cell) if isinstance(cell, int) else cells.identifier(cell)
        count = len(self._given)
        while own is None or own in self._given:
            count += 1
            own = f"row-{count}"
        self._given.add(own)
        return own


class FreeIds:
    """Gives the rows of one session ids that are free in the file.

    :param next_key: the next integer key of each table, which is counted on.
    """

    def __init__(
        self, target: Target, system: System, next_key: dict[str, int]
    ) -> None:
        self._target = target
        self._system = system
        self._next_key = next_key
        self._given: dict[tuple[str, OutCell], Cell] = {}

    def resolve(self, rows: OutRows) -> dict[str, list[dict[str, Cell]]]:
        """Return the rows with ids, and with references to the ids that changed."""
        for table in self._system.tables:
            if table.key is not None:
                self._give_keys(table, table.key, rows.get(table.name, []))
            if self._target.has_rowid(table.name):
                self._give_rowids(table, rows.get(table.name, []))
        sessions = self._system.tables[0]
        found: dict[str, list[dict[str, Cell]]] = {}
        for table in self._system.tables:
            references = dict(table.references)
            if table is not sessions:
                references[table.session] = sessions.name
            found[table.name] = [
                self._resolved(references, row) for row in rows.get(table.name, [])
            ]
        return found

    def _give_keys(
        self, table: Table, key: str, rows: list[dict[str, OutCell]]
    ) -> None:
        own = [row.get(key) for row in rows]
        given = [each for each in own if not isinstance(each, PendingId)]
        taken = self._target.taken(table.name, key, given)
        is_integer = self._target.has_integer_key(table.name, key)
        for row, cell in zip(rows, own, strict=True):
            if is_integer:
                new = self._integer(table, cell, taken)
            else:
                new = self._text(table, key, row, cell, taken)
            if new is not cell:
                row[key] = new
                if cell is not None:
                    self._given[table.name, cell] = new

    def _integer(self, table: Table, cell: OutCell, taken: set[Cell]) -> Cell:
        if cell is None or isinstance(cell, PendingId) or cell in taken:
            return self._next(table)
        return cell

    def _text(
        self,
        table: Table,
        key: str,
        row: Mapping[str, OutCell],
        cell: OutCell,
        taken: set[Cell],
    ) -> Cell:
        if isinstance(cell, PendingId):
            return cell.id
        if not isinstance(cell, str) or cell not in taken:
            return cell
        free = f"{row.get(table.session)!s}/{cell}"
        while self._target.taken(table.name, key, [free]):
            free += "/"
        return free

    def _give_rowids(self, table: Table, rows: list[dict[str, OutCell]]) -> None:
        """Give each row the rowid that it had, or the next one if that is taken."""
        own = [row.get(ROWID) for row in rows]
        taken = self._target.taken(
            table.name, ROWID, [each for each in own if isinstance(each, int)]
        )
        for row, cell in zip(rows, own, strict=True):
            if cell is None or cell in taken:
                row[ROWID] = self._next(table)

    def _next(self, table: Table) -> int:
        key = self._next_key[table.name]
        self._next_key[table.name] += 1
        return key

    def _resolved(
        self, references: Mapping[str, str], row: Mapping[str, OutCell]
    ) -> dict[str, Cell]:
        resolved: dict[str, Cell] = {}
        for column, cell in row.items():
            table = references.get(column)
            if table is not None and isinstance(cell, PendingId | int | str):
                default = None if isinstance(cell, PendingId) else cell
                resolved[column] = self._given.get((table, cell), default)
            else:
                assert not isinstance(cell, PendingId)
                resolved[column] = cell
        return resolved
