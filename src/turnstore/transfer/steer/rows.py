"""Conversions that both kinds of steer's tables need: numbers, times, event data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from turnstore.records import Json, Usage
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Cell, OutCell, Row
from turnstore.transfer.files.system import SessionWriter, SourceSession
from turnstore.transfer.rows import StoredEvent, StoredMetadata

NUMBER: Final = "sequence_num"
TOKENS_MAX: Final = 10**12


def sort_by_number(source: SourceSession, table: str) -> None:
    """Sort a table's rows by number, and remember the next number if they don't count
    up from 0."""
    rows = source[table]
    rows.sort(key=_number)
    numbers = [number for row in rows if isinstance(number := row.get(NUMBER), int)]
    following = max(numbers, default=-1) + 1
    if following != len(rows):
        source.next_numbers[table] = following


def _number(row: Row) -> tuple[int, int | float]:
    cell = row.get(NUMBER)
    return (0, cell) if isinstance(cell, int | float) else (1, 0)


def number(table: str, seq: int, imported: int, writer: SessionWriter) -> int:
    """Return the number of a row in steer, where numbers start at 0.

    :param imported: how many rows of the series came from an import.
    """
    if seq <= imported:
        return seq - 1
    following = writer.imported.next_numbers.get(table, imported)
    return following + seq - imported - 1


def time(row: Row, column: str, otherwise: int) -> int:
    found = cells.micros_of_text(row.get(column))
    return otherwise if found is None else found


def first_time(rows: Sequence[Row]) -> int:
    """Return the time of the first row that has one, or 0."""
    for row in rows:
        found = cells.micros_of_text(row.get("created_at"))
        if found is not None:
            return found
    return 0


def read_event(row: Row, created_at: int, bytes_max: int) -> tuple[StoredEvent, Json]:
    """Return an event and its decoded data; its type is empty if it is no name."""
    given = row.get("event_data")
    data = cells.json_text(given, bytes_max)
    event = StoredEvent(
        type=cells.identifier(row.get("event_type")) or "",
        data=data if data is not None else cells.quoted(given, bytes_max),
        created_at=created_at,
    )
    return event, codec.decode(data)


def write_event(event: StoredEvent) -> dict[str, OutCell]:
    return {
        "event_type": event.type,
        "event_data": "null" if event.data is None else event.data,
    }


def text_in(given: Json, *keys: str) -> str | None:
    """Return the first text without NUL under one of the keys of an object."""
    if not isinstance(given, dict):
        return None
    for key in keys:
        found = cells.name(given.get(key)) if isinstance(given.get(key), str) else None
        if found:
            return found
    return None


def model_of(given: Json) -> str | None:
    """Return the name of a model that is given as text, or as provider and id."""
    if isinstance(given, str):
        return cells.name(given) or None
    provider, own = text_in(given, "provider"), text_in(given, "id")
    return f"{provider}/{own}" if provider and own else own


def usage_in(given: Json) -> Usage | None:
    if not isinstance(given, dict):
        return None
    found = [given.get("input_tokens"), given.get("output_tokens")]
    counts = [
        count if type(count) is int and 0 <= count <= TOKENS_MAX else 0
        for count in found
    ]
    if not any(counts):
        return None
    return Usage(prompt_tokens=counts[0], completion_tokens=counts[1])


def pairs_of(given: Json, updated_at: int) -> list[StoredMetadata]:
    """Return the pairs of an object whose values are text, as metadata."""
    if not isinstance(given, dict):
        return []
    return [
        StoredMetadata(key=key, value=cells.encoded(value), updated_at=updated_at)
        for key, value in given.items()
        if cells.identifier(key) is not None and isinstance(value, str)
    ]


def project_root(workspace: Json) -> str | None:
    """Return the folder of a local workspace."""
    if isinstance(workspace, dict) and workspace.get("type") == "local":
        return text_in(workspace, "path")
    return None


def object_in(cell: Cell, bytes_max: int) -> dict[str, Any] | None:
    """Return the object that a text of JSON stands for, None for another value."""
    found = codec.decode(cells.json_text(cell, bytes_max))
    return found if isinstance(found, dict) else None
