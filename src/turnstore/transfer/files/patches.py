"""The difference between a session's source rows and what ``write`` gives for them.

A patch lists, for each column, the rows that differ and their source cells. An export
puts a cell back only if ``write`` still gives what it gave at the import: a change that
was made in the store since then wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

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
from turnstore.transfer.files.system import ROWID, Imported, RowId, Table

OutRow = tuple[RowId, dict[str, OutCell]]


class ColumnPatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The source cells of the rows that differ in a column.

    ``row_ids`` is None if all rows differ. ``was``: what ``write`` gave for each of
    them, None if it gave no value at all.
    """

    cells: list[Json]
    row_ids: list[RowId] | None = msgspec.field(default=None, name="places")
    was: list[Json] | None = None

    def rows_of(self, count: int) -> Sequence[RowId]:
        """Return the ids of the rows, given how many rows the import had."""
        return range(1, count + 1) if self.row_ids is None else self.row_ids


class TablePatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``count``: how many source rows ``write`` gives a row for. ``aside``: whole rows
    that it gives none for; if ``is_whole``, they replace all rows that it gives."""

    count: int = 0
    is_whole: bool = False
    columns: dict[str, ColumnPatch] = {}
    aside: list[dict[str, Json]] = []


class SessionPatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an import keeps with a session.

    ``id``: its id in the source, packed. ``digest``: of its source rows.
    """

    id: Json
    digest: str
    imported: Imported = msgspec.field(name="heads")
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
) -> tuple[TablePatch, dict[str, set[RowId]]]:
    """Return the patch of a session's table, and the rows that differ by column.

    If the system's module does not give one row for each source row, the patch keeps
    all of them whole; they are then counted under the column "".
    """
    row_ids = [row_id for row_id, _ in written]
    if len(source) != len(written):
        kept = [pack_row(row) for row in [*source, *aside]]
        patch = TablePatch(count=len(written), is_whole=True, aside=kept)
        return patch, {"": set(row_ids) or {1}} if source else {}
    patch = TablePatch(count=len(source), aside=[pack_row(row) for row in aside])
    differing: dict[str, set[RowId]] = {}
    for column in source[0] if source else ():
        cells = [row[column] for row in source]
        # The session's id is filled in later, if ``write`` does not give it.
        default = id if column == table.session else None
        given = [out.get(column, default) for _, out in written]
        found = _compare_column(cells, given, row_ids)
        if found is not None:
            patch.columns[column] = found
            if column not in (ROWID, table.key):
                differing[column] = set(found.row_ids or row_ids)
    return patch, differing


def _compare_column(
    cells: Sequence[Cell], given: Sequence[OutCell], row_ids: Sequence[RowId]
) -> ColumnPatch | None:
    found = ColumnPatch(cells=[], row_ids=[], was=[])
    assert found.row_ids is not None and found.was is not None
    for cell, out, row_id in zip(cells, given, row_ids, strict=True):
        if not same(cell, out):
            found.row_ids.append(row_id)
            found.cells.append(pack(cell))
            found.was.append(None if isinstance(out, PendingId) else pack(out))
    if not found.cells:
        return None
    if found.row_ids == list(range(1, len(cells) + 1)):
        found.row_ids = None
    if all(each is None for each in found.was):
        found.was = None
    return found


def restore(
    table: Table,
    id: OutCell,
    patch: TablePatch,
    written: Sequence[OutRow],
    known: Collection[str],
) -> list[dict[str, OutCell]]:
    """Return the rows of a table: those written, with the cells of a patch put back.

    :param known: the columns of the table in the file. An imported row gets all of
        them and no other, as it had in its source.
    """
    rows: dict[RowId, dict[str, OutCell]] = {}
    for row_id, cells in written:
        if isinstance(row_id, int) and row_id > patch.count:
            rows[row_id] = {table.session: id} | cells
        elif not patch.is_whole:
            given = {each: cell for each, cell in cells.items() if each in known}
            rows[row_id] = dict.fromkeys(known) | {table.session: id} | given
    for column, each in patch.columns.items():
        _put_back(rows, column, each, each.rows_of(patch.count))
    aside: list[dict[str, OutCell]] = [{**unpack_row(row)} for row in patch.aside]
    return [*rows.values(), *aside]


def _put_back(
    rows: Mapping[RowId, dict[str, OutCell]],
    column: str,
    patch: ColumnPatch,
    row_ids: Iterable[RowId],
) -> None:
    """Put the cells of a column back into the rows that have not changed since."""
    was = patch.was or [None] * len(patch.cells)
    for row_id, cell, before in zip(row_ids, patch.cells, was, strict=True):
        row = rows.get(row_id)
        if row is None:
            continue
        now = row.get(column)
        if same(None if isinstance(now, PendingId) else now, unpack(before)):
            row[column] = unpack(cell)
