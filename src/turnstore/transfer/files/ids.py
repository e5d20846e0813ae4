"""Ids for the rows of a session whose own may be no valid ones here, or given twice."""

from __future__ import annotations

from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Cell


class Ids:
    """Gives the rows of one table of a session their ids, in order."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, cell: Cell) -> str:
        """Return a row's own id where it can be had, else one that no row has yet."""
        own = str(cell) if isinstance(cell, int) else cells.identifier(cell)
        count = len(self._given)
        while own is None or own in self._given:
            count += 1
            own = f"row-{count}"
        self._given.add(own)
        return own
