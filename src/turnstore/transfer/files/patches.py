"""What of a session's source rows differs from what would be written for it.

A patch is column-wise: for each column of a table the places of the rows that differ
and their cells. Where all rows of an import differ, the places are left out. ``was``
is what would have been written: a cell is put back only while that is still so, and
what has been changed here since wins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from turnstore.records import Json
from turnstore.transfer.files.cells import (
    Cell,
    OutCell,
    PendingId,
    Row,
    pack,
    same,
    unpack,
)
from turnstore.transfer.files.system import ROWID, Heads, SourceRowId, Table

OutRow = tuple[SourceRowId, dict[str, OutCell]]


class ColumnPatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    cells: list[Json]
    places: list[SourceRowId] | None = None
    was: list[Json] | None = None


class TablePatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``count``: rows that came from the import and have a place; ``aside``: whole
    rows that have none. ``is_whole``: they replace those that have one."""

    count: int = 0
    is_whole: bool = False
    columns: dict[str, ColumnPatch] = {}
    aside: list[dict[str, Json]] = []


class SessionPatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an import keeps with a session.

    ``id``: the session's in its source, packed. ``digest``: of its rows there.
    """

    id: Json
    digest: str
    heads: Heads
    tables: dict[str, TablePatch] = {}


def pack_row(row: Mapping[str, Cell]) -> dict[str, Json]:
    return {column: pack(cell) for column, cell in row.items()}


def unpack_row(row: Mapping[str, Json]) -> Row:
    return {column: unpack(value) for column, value in row.items()}


def compare(
    table: Table,
    id: Cell,
    source: Sequence[Row],
    written: Sequence[OutRow],
    aside: Sequence[Row],
) -> tuple[TablePatch, dict[str, set[SourceRowId]]]:
    """Return the patch of a session's table, and which rows differ by column.

    Where the system's module does not give a row for each, all are kept whole.
    """
    if len(source) != len(written):
        kept = [pack_row(row) for row in [*source, *aside]]
        places = {place for place, _ in written}
        patch = TablePatch(count=len(written), is_whole=True, aside=kept)
        return patch, {"": places or {1}} if source else {}
    patch = TablePatch(count=len(source), aside=[pack_row(row) for row in aside])
    differing: dict[str, set[SourceRowId]] = {}
    columns = source[0] if source else ()
    for column in columns:
        found = _compare_column(table, id, column, source, written)
        if found is not None:
            patch.columns[column] = found
            if column not in (ROWID, table.key):
                everywhere = [place for place, _ in written]
                differing[column] = set(found.places or everywhere)
    return patch, differing


def restore(
    table: Table,
    id: OutCell,
    patch: TablePatch,
    written: Sequence[OutRow],
    known: Collection[str],
) -> list[dict[str, OutCell]]:
    """Put a patch's cells back into what was written for a table.

    :param known: the columns of the table in the file, all of which a row that came
        from an import has.
    """
    rows: dict[SourceRowId, dict[str, OutCell]] = {}
    for place, cells in written:
        if not _is_imported(place, patch):
            rows[place] = {table.session: id} | cells
        elif not patch.is_whole:
            # What its file has no column for, it never had.
            given = {each: cell for each, cell in cells.items() if each in known}
            rows[place] = dict.fromkeys(known) | {table.session: id} | given
    for column, each in patch.columns.items():
        places = range(1, patch.count + 1) if each.places is None else each.places
        for n, place in enumerate(places):
            row = rows.get(place)
            if row is None:
                continue
            was = None if each.was is None else unpack(each.was[n])
            now = row.get(column)
            if same(None if isinstance(now, PendingId) else now, was):
                row[column] = unpack(each.cells[n])
    aside: list[dict[str, OutCell]] = [{**unpack_row(row)} for row in patch.aside]
    return [*rows.values(), *aside]


def _is_imported(place: SourceRowId, patch: TablePatch) -> bool:
    return not isinstance(place, int) or place <= patch.count


def _compare_column(
    table: Table,
    id: Cell,
    column: str,
    source: Sequence[Row],
    written: Sequence[OutRow],
) -> ColumnPatch | None:
    places: list[SourceRowId] = []
    cells: list[Json] = []
    was: list[Json] = []
    is_session = column == table.session
    for row, (place, out) in zip(source, written, strict=True):
        cell = row[column]
        given = id if is_session and column not in out else out.get(column)
        if isinstance(given, PendingId) or not same(cell, given):
            places.append(place)
            cells.append(pack(cell))
            was.append(None if isinstance(given, PendingId) else pack(given))
    if not cells:
        return None
    is_everywhere = places == list(range(1, len(source) + 1))
    return ColumnPatch(
        cells=cells,
        places=None if is_everywhere else places,
        was=was if any(each is not None for each in was) else None,
    )
