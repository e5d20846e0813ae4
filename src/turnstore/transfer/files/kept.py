"""What imports keep besides sessions: facts about the file, and rows of no session."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    select,
    type_coerce,
)

from turnstore.records import Json
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.query import Guard, Query
from turnstore.sql.schema import imports, sessions, source_rows
from turnstore.transfer.files.system import SchemaEntry


class About(msgspec.Struct, kw_only=True):
    """What is known of an imported file.

    ``columns``: of each table in order, beginning with the rowid if that is no column.
    ``highest``: the highest rowid of each table.
    """

    version: int
    file: str
    pragmas: dict[str, int | str]
    schema: list[SchemaEntry]
    columns: dict[str, list[str]]
    highest: dict[str, int]


class KeptRows(msgspec.Struct, kw_only=True):
    """Rows of a table that belong to no session."""

    rows: list[dict[str, Json]]


class KnownFile(msgspec.Struct, kw_only=True):
    """A file that was imported; ``about`` is an encoded ``About``."""

    batch: str
    about: str


class KeptChunk(msgspec.Struct, kw_only=True):
    """Rows of a file that belong to no session; ``row`` is an encoded ``KeptRows``."""

    row_key: int
    table_name: str
    row: str


class _Row(msgspec.Struct):
    row: str


def known_files(connection: Connection, system: str) -> list[KnownFile]:
    """Return the files of a system that were imported, newest first."""
    return _FILES(connection, system=system)


def next_chunk(connection: Connection, batch: str, after: int) -> KeptChunk | None:
    """Return the next rows of a file that belong to no session, in order of row key."""
    return _CHUNKS.one(connection, batch=batch, after=after)


def kept_in(
    connection: Connection, batch: str, table_name: str, position: int
) -> list[str]:
    """Return the rows that an import of a file kept at one position of a table."""
    found = _AT(connection, batch=batch, table_name=table_name, position=position)
    return [each.row for each in found]


def patch_of(connection: Connection, session_id: str, system: str) -> str | None:
    """Return the encoded ``SessionPatch`` that an import from a system kept."""
    found = _PATCH.one(connection, id=session_id, system=system)
    return None if found is None else found.row


IS_AT: Final = (
    source_rows.c.session_key.is_(None),
    source_rows.c.batch == bindparam("batch"),
    source_rows.c.table_name == bindparam("table_name"),
    source_rows.c.position == bindparam("position"),
)
"""The condition for the rows of ``kept_in``."""


def _row(guard: Guard) -> ColumnElement[str]:
    return type_coerce(guard(source_rows.c.row), Text).label("row")


def _chunks(guard: Guard) -> Select[Any]:
    return (
        select(source_rows.c.row_key, source_rows.c.table_name, _row(guard))
        .where(
            source_rows.c.session_key.is_(None),
            source_rows.c.batch == bindparam("batch"),
            source_rows.c.row_key > bindparam("after"),
        )
        .order_by(source_rows.c.row_key)
        .limit(1)
    )


def _patches(guard: Guard) -> Select[Any]:
    return (
        select(_row(guard))
        .join(sessions, sessions.c.session_key == source_rows.c.session_key)
        .where(
            sessions.c.id == bindparam("id"),
            source_rows.c.system == bindparam("system"),
        )
    )


_FILES: Final = Query(
    select(imports.c.batch, type_coerce(imports.c.about, Text).label("about"))
    .where(imports.c.system == bindparam("system"))
    .order_by(imports.c.created_at.desc(), imports.c.batch),
    KnownFile,
)
_CHUNKS: Final = BoundedQuery(_chunks, KeptChunk)
_AT: Final = BoundedQuery(
    lambda guard: select(_row(guard)).where(*IS_AT).order_by(source_rows.c.row_key),
    _Row,
)
_PATCH: Final = BoundedQuery(_patches, _Row)
