"""Moving sessions between stores and other systems' files.

``import_file`` reads a file into a store, ``export_file`` writes sessions to a new
one. What a system's file says and the store has no place for is kept beside the
session, or with the file, and an export to the same system puts it back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from anyio import CancelScope, to_thread

from turnstore.errors import InvalidArgument
from turnstore.sql import codec
from turnstore.store import SessionStore
from turnstore.transfer import koda, microagents, nocodo, steer
from turnstore.transfer.chat.exporting import ChatExport
from turnstore.transfer.chat.importing import ChatFile, ChatImport
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
    path: str | os.PathLike[str],
    format: str | None = None,
    on_progress: OnProgress | None = None,
) -> ImportReport:
    """Store the sessions of another system's file.

    Each session is one transaction. One that is there already is skipped; where its
    source has changed since, or it came from elsewhere, it is left as it is and
    reported. So running it again, after an interruption too, adds only what is
    missing. Of the chat format each line is one session. A session that can't be
    stored, as a text is too long for an index of PostgreSQL, is left out and reported.

    A database is opened read-only and read in one transaction with its write-ahead
    log, so its program may go on writing. SQLite may leave an empty ``-wal`` and a
    ``-shm`` beside it.

    Memory is bounded by the batch: 64 sessions, or 8 MiB and one session.

    :param format: one of ``FORMATS``. None recognises it: a database by the columns of
        its tables, chat by the first 10 lines.
    :param on_progress: called after each batch with what is done and what there is:
        rows of a database, bytes of a chat file.
    :raises InvalidArgument: an unknown format, none recognised, or not of this format.
    :raises OSError: the file can't be read.
    :raises StoreError: the store failed, or the file is locked or damaged; sessions
        before are written, each whole.
    """
    _check_format(format, may_be_none=True)
    if format == "chat":
        return await ChatImport(store, ChatFile(path, store.options)).run(on_progress)
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
    lines = ChatFile(path, store.options, known=", ".join(FORMATS))
    return await ChatImport(store, lines).run(on_progress)


async def export_file(
    store: SessionStore,
    path: str | os.PathLike[str],
    format: str,
    session_ids: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> ExportReport:
    """Write sessions to a new file of another system.

    What was imported from the system comes back as it was, with the file's own tables.
    Of other sessions the file holds what the system has a place for; the report counts
    the rest. Conversations come in the order of their sessions' ``created_at``, which
    for imported ones is that of their file. The file gets its name when it is whole:
    an export that is stopped or fails leaves nothing.

    Each chunk of sessions is read from one snapshot. Memory is bounded by the chunk:
    4,096 rows, or one session.

    :param session_ids: the sessions to write; None for all, with the rows of imported
        files that belong to no session.
    :param on_progress: called after each chunk with the sessions written and in all.
    :raises InvalidArgument: an unknown format, or there is a file already.
    :raises SessionNotFound: one of the sessions is not there.
    :raises OSError: the file can't be written.
    :raises StoreError: the store failed.
    """
    _check_format(format)
    ids = None if session_ids is None else codec.check_texts(session_ids, "session_ids")
    if format == "chat":
        return await ChatExport(store, path, ids).run(on_progress)
    return await SqliteExport(store, path, SYSTEMS[format], ids).run(on_progress)


def _check_format(format: str | None, *, may_be_none: bool = False) -> None:
    if format not in FORMATS and not (format is None and may_be_none):
        raise InvalidArgument(
            f"unknown format {format!r}: known are {', '.join(FORMATS)}"
        )


def _recognise(source: Source) -> System:
    """:raises InvalidArgument: none of the systems has a file with these columns."""
    columns = source.columns()
    for system in SYSTEMS.values():
        if system.recognises(columns):
            return system
    raise InvalidArgument(
        f"{source.path}: no known format: known are {', '.join(FORMATS)}"
    )
