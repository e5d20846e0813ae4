"""SQLite result code to error of this package: by code, never by message text."""

from __future__ import annotations

from typing import Final

from turnstore.engine.commands import DISAGREES
from turnstore.engine.sqlite.library import library
from turnstore.errors import (
    BackendError,
    BackendUnavailable,
    DatabaseBusy,
    DatabaseCorrupt,
    DiskFull,
    ReadOnlyStore,
    StoreError,
)

# Primary result codes, https://sqlite.org/rescode.html
_INTERNAL, _PERM, _ABORT, _BUSY, _LOCKED, _NOMEM = 2, 3, 4, 5, 6, 7
_READONLY, _INTERRUPT, _IOERR, _CORRUPT, _FULL = 8, 9, 10, 11, 13
_CANTOPEN, _PROTOCOL, _TOOBIG, _CONSTRAINT, _AUTH, _NOTADB = 14, 15, 18, 19, 23, 26

_CANT_OPEN: Final = (
    "the file can't be opened. Who can't write to its folder can't read it there: read "
    "a copy that `turnstore backup` makes elsewhere"
)
NOT_UTF8_SCHEMA: Final = "a name of the schema is not UTF-8: restore a backup"

_BY_CODE: dict[int, tuple[type[BackendError], str]] = {
    _PERM: (BackendUnavailable, "the file's permissions forbid it"),
    _BUSY: (DatabaseBusy, "another connection holds the lock"),
    _LOCKED: (DatabaseBusy, "another connection holds the lock"),
    _NOMEM: (BackendUnavailable, "out of memory"),
    _READONLY: (ReadOnlyStore, "the file or its folder can't be written"),
    _INTERRUPT: (BackendUnavailable, "the statement was interrupted"),
    _IOERR: (BackendUnavailable, "the disk failed"),
    _CORRUPT: (DatabaseCorrupt, "the file is damaged: restore a backup"),
    _FULL: (DiskFull, "no space left: free some and call again"),
    _CANTOPEN: (
        BackendUnavailable,
        _CANT_OPEN,
    ),
    _PROTOCOL: (DatabaseBusy, "the locking protocol was contended"),
    _AUTH: (BackendUnavailable, "not authorized"),
    _NOTADB: (DatabaseCorrupt, "the file is no database"),
}


NOT_UTF8: Final = "a text is not UTF-8: `turnstore check` names the row"
"""Of the one error of a read that the driver gives no code."""


def translate(error: Exception) -> Exception:
    """Return this package's error for a driver's, with the driver's as its cause.

    Errors of this package, and what is no database error, come back as they are.
    """
    if isinstance(error, StoreError):
        return error
    driver = getattr(error, "orig", None) or error
    code = result_code(driver)
    if code is None:
        if isinstance(driver, UnicodeDecodeError):
            # The driver reads SQLite's message, which has a name of the schema in it.
            damaged = DatabaseCorrupt(NOT_UTF8_SCHEMA)
            damaged.__cause__ = driver
            return damaged
        if type(driver) is library().module.OperationalError:
            return _caused(NOT_UTF8, driver)
        return error
    name = getattr(driver, "sqlite_errorname", code)
    if code & 0xFF == _CONSTRAINT:
        return _caused(f"{DISAGREES} ({name})", driver)
    kind, reason = _BY_CODE.get(code & 0xFF, (BackendError, str(driver)))
    translated = kind(f"{reason} ({name})")
    translated.__cause__ = driver
    return translated


def _caused(message: str, cause: BaseException) -> DatabaseCorrupt:
    """Return the error of a damaged row that is not known."""
    error = DatabaseCorrupt(message, table="")
    error.__cause__ = cause
    return error


def result_code(error: BaseException) -> int | None:
    """Return SQLite's extended result code, None where it is not SQLite's error."""
    code = getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None


def is_busy(error: BaseException) -> bool:
    code = result_code(error)
    return code is not None and code & 0xFF in (_BUSY, _LOCKED, _PROTOCOL)


def is_io_error(error: BaseException | None) -> bool:
    code = None if error is None else result_code(error)
    return code is not None and code & 0xFF == _IOERR


def is_suspicious(error: BaseException | None) -> bool:
    """Tell whether a connection may have got wrong pages: the disk failed, or what it
    gave is damaged. SQLite keeps the pages that it read, and takes the end of a read
    that came short for zeros."""
    if isinstance(error, DatabaseCorrupt):
        return error.table is not None
    code = None if error is None else result_code(error)
    return code is not None and code & 0xFF in (_IOERR, _CORRUPT, _NOTADB)
