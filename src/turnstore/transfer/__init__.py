"""Moves sessions between stores, and between a store and files of other systems.

``import_file`` reads a file into a store, ``export_file`` writes sessions to a new
file, and ``copy_store`` copies a whole store into another one. If a file says something
that the store has no place for, it is kept with the session or with the import, and an
export to the same system puts it back.

``rows`` has the row model and ``pages`` reads it; ``copy/`` copies stores, ``files/``
has what all systems share, and each system has a folder of its own. The command line
imports from here. Code here uses public methods, ``store.engine`` and commands of
``turnstore.store``, and opens no connection to a store's database itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final

from anyio import CancelScope, to_thread

from turnstore.errors import InvalidArgument
from turnstore.sql import codec
from turnstore.store import SessionStore
from turnstore.transfer import koda, microagents, nocodo, steer
from turnstore.transfer.chat.exporting import ChatExport
from turnstore.transfer.chat.importing import ChatImport
from turnstore.transfer.chat.reading import ChatReader, files_of
from turnstore.transfer.copy import CopyReport, copy_store
from turnstore.transfer.files.exporting import SqliteExport
from turnstore.transfer.files.importing import SqliteImport
from turnstore.transfer.files.source import Source
from turnstore.transfer.files.system import System
from turnstore.transfer.report import ExportReport, ImportReport, Problem

__all__ = [
    "FORMATS",
    "CopyReport",
    "ExportReport",
    "ImportReport",
    "Problem",
    "copy_store",
    "export_file",
    "import_file",
]

SYSTEMS: Final[dict[str, System]] = {
    each.name: each
    for each in (nocodo.SYSTEM, microagents.SYSTEM, koda.SYSTEM, steer.SYSTEM)
}
FORMATS: Final = (*SYSTEMS, "chat")

OnProgress = Callable[[int, int], None]


async def import_file(
    store: SessionStore,
    path: str | os.PathLike[str] | BinaryIO,
    format: str | None = None,
    on_progress: OnProgress | None = None,
) -> ImportReport:
    """Store the sessions of another system's file.

    Each session is one transaction; in a chat file each conversation is a session. A
    session that the store has already is skipped. If its source has changed since, or
    it is another session of the same id, it is left as it is and reported. So an import
    can be run again, also after an interruption, and adds only what is missing. A
    session that can't be stored, because a text is too long for an index of PostgreSQL,
    is left out and reported.

    A database is opened read-only and read in one transaction with its write-ahead
    log, so its program may go on writing. SQLite may leave an empty ``-wal`` and a
    ``-shm`` next to it.

    A chat file has JSON values in one of many wrappings, as ``chat/formats.py`` lists
    them: one per line, or over many lines, one after another, or as a list. It may be
    packed by gzip, and be in UTF-8, UTF-16 or UTF-32. What is no conversation is left
    out and reported; the rest is imported. A value may have 64 MiB, or four times
    ``payload_bytes_max`` if that is more.

    Memory is bounded by the batch: 64 sessions, or 8 MiB and one session; and by the
    largest value of a chat file.

    :param path: of a file; for chat also of a folder, whose files are read in the order
        of their names, or a binary file that is open, which is left open. Where files
        of a folder have the same id for different conversations, that of a later file
        gets the file's name before it.
    :param format: one of ``FORMATS``. None recognises the format: a database by the
        columns of its tables, chat by the first 10 values.
    :param on_progress: called after each batch with the count done and the total: rows
        of a database, bytes of a chat file.
    :raises InvalidArgument: the format is unknown, is not recognised, or is not that of
        the file.
    :raises OSError: the file can't be read.
    :raises StoreError: the store failed, or the file is locked or damaged. Sessions
        before that are written, each of them whole.
    """
    _check_format(format, may_be_none=True)
    is_path = isinstance(path, str | os.PathLike)
    is_file = is_path and not await to_thread.run_sync(_is_folder, path)
    if format == "chat" or (format is None and not is_file):
        files = await to_thread.run_sync(files_of, path)
        reader = ChatReader(files, store.options)
        return await ChatImport(store, reader).run(on_progress)
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"a {format} file must be given by its path")
    source = Source(path)
    try:
        if await to_thread.run_sync(source.open):
            system = SYSTEMS[format] if format else _recognise(source)
            return await SqliteImport(store, source, system, str(path)).run(on_progress)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(source.close)
    if format is not None:
        raise InvalidArgument(f"{path} is no {format} file: it is no SQLite database")
    reader = ChatReader(files_of(path), store.options, known=", ".join(FORMATS))
    return await ChatImport(store, reader).run(on_progress)


async def export_file(
    store: SessionStore,
    path: str | os.PathLike[str],
    format: str,
    session_ids: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> ExportReport:
    """Write sessions to a new file of another system.

    Sessions that were imported from the system come back as they were, with the file's
    own tables. From other sessions the file gets what the system has a place for; the
    report counts the rest. In the chat format the sessions come in the order of their
    ``created_at``, which for imported ones without a time of their own is the order of
    their file. The file gets its name when it is complete: an export that is stopped or
    fails leaves nothing.

    Each chunk of sessions is read from one snapshot. Memory is bounded by the chunk:
    4,096 rows, or one session.

    :param session_ids: the sessions to write. None writes all of them, and the rows of
        imported files that belong to no session.
    :param on_progress: called after each chunk with the count of sessions written and
        the total.
    :raises InvalidArgument: the format is unknown, or there is a file of this name.
    :raises SessionNotFound: one of the sessions does not exist.
    :raises OSError: the file can't be written.
    :raises StoreError: the store failed.
    """
    _check_format(format)
    ids = None if session_ids is None else codec.check_texts(session_ids, "session_ids")
    if format == "chat":
        return await ChatExport(store, path, ids).run(on_progress)
    return await SqliteExport(store, path, SYSTEMS[format], ids).run(on_progress)


def _is_folder(path: Any) -> bool:
    return os.path.isdir(path)


def _check_format(format: str | None, *, may_be_none: bool = False) -> None:
    if format not in FORMATS and not (format is None and may_be_none):
        raise InvalidArgument(
            f"unknown format {format!r}: known are {', '.join(FORMATS)}"
        )


def _recognise(source: Source) -> System:
    """:raises InvalidArgument: no system has files with these tables and columns."""
    columns = source.columns()
    for system in SYSTEMS.values():
        if system.recognises(columns):
            return system
    raise InvalidArgument(
        f"{source.path}: no known format: known are {', '.join(FORMATS)}"
    )
