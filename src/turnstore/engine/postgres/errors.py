"""SQLSTATE to error of this package: by code, never by message text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from turnstore.engine.commands import DISAGREES
from turnstore.errors import (
    BackendError,
    BackendUnavailable,
    DatabaseBusy,
    DatabaseCorrupt,
    DiskFull,
    InvalidArgument,
    ReadOnlyStore,
    StoreError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE: Final[dict[str, tuple[type[StoreError], str]]] = {
    "0A000": (BackendUnavailable, "the server can't do this, a standby perhaps"),
    "25006": (ReadOnlyStore, "the server takes no writes"),
    "3D000": (BackendUnavailable, "there is no such database"),
    "40001": (DatabaseBusy, "another transaction was in the way"),
    "40P01": (DatabaseBusy, "another transaction was in the way"),
    "42501": (ReadOnlyStore, "the user may not do this"),
    "53100": (DiskFull, "the server's disk is full"),
    "54000": (InvalidArgument, "a text is too long for an index (2,600 bytes)"),
    "55P03": (DatabaseBusy, "another transaction holds the lock"),
    "57014": (BackendUnavailable, "the statement was cancelled by the server"),
    "58030": (BackendUnavailable, "the server's disk fails"),
    "XX001": (DatabaseCorrupt, "the server reports damaged data"),
    "XX002": (DatabaseCorrupt, "the server reports a damaged index"),
}
_BY_CLASS: Final[dict[str, tuple[type[StoreError], str]]] = {
    "08": (BackendUnavailable, "the connection to the server was lost"),
    "25": (BackendUnavailable, "the server ended the transaction"),
    "28": (BackendUnavailable, "the server refused the user"),
    "53": (BackendUnavailable, "the server lacks resources"),
    "57": (BackendUnavailable, "the server is shutting down or starting"),
    "58": (BackendUnavailable, "the server's system fails"),
}
_BROKEN: Final = ("23502", "23503", "23505")
"""Constraints of the schema: not null, a foreign key, unique."""
_TOO_LONG: Final = "54000"
_MAKES_TEXT: Final = "stringinfo.c"
"""The server's source that says, by the code of a text that is too long for an index,
that a text would be too long for the server itself: a row that it was to give."""
_LOST_STATES: Final = frozenset(
    (
        # Behind a pooler, a standby that is asked for a writing transaction. Also a
        # plan that was made before the tables changed.
        "0A000",
        "25006",  # no primary any more: another connection may find the new one
        "25P03",  # idle in a transaction for too long
        "25P04",  # in a transaction for too long
        "53300",  # too many connections
        "57P01",
        "57P02",
        "57P03",  # starting up
        "57P05",  # idle for too long
    )
)
_CONFLICTS: Final = ("40001", "40P01")
_LASTING: Final = ("28", "3D")
"""Classes of what somebody has to mend first."""
_OF_THE_DRIVER: Final = ("InterfaceError", "InternalClientError")


class NoSuchServer(ConnectionError):
    """No server that was reached is what is wanted. The text is for the caller."""


class NoHostWillDo(Exception):
    """None of several hosts would do; its cause is what one of them said, and another
    may come back."""


def translate(error: Exception) -> Exception:
    """Return this package's error for a driver's, with the driver's as its cause.

    Errors of this package, and what is no database error, come back as they are.
    """
    if isinstance(error, StoreError):
        return error
    state = sqlstate(error)
    if state is None:
        *_, first = _chain(error)
        if isinstance(first, NoSuchServer):
            return _caused(BackendUnavailable(str(first)), error)
        if is_lost(error):
            return _caused(
                BackendUnavailable(
                    f"the connection to the server was lost: {type(error).__name__}"
                ),
                error,
            )
        return error
    if state in _BROKEN:
        return _caused(DatabaseCorrupt(f"{DISAGREES} ({state})", table=""), error)
    found = _BY_STATE.get(state) or _BY_CLASS.get(state[:2])
    kind, reason = found or (BackendError, "the server refused a statement")
    if state == _TOO_LONG and _source_of(error) == _MAKES_TEXT:
        kind, reason = BackendError, "a row is longer than the server gives, 1 GB"
    told = kind(f"{reason} ({state})")
    is_of_several = any(isinstance(each, NoHostWillDo) for each in _chain(error))
    if state[:2] in _LASTING and not is_of_several:
        told.retryable = False
    return _caused(told, error)


def sqlstate(error: BaseException) -> str | None:
    """Return the server's code, None where the error did not come from it."""
    return next(_states(error), None)


def is_conflict(error: BaseException) -> bool:
    """Tell whether another transaction was in the way: the same batch may succeed
    when it is run again."""
    return sqlstate(error) in _CONFLICTS


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection can't be used any more, or there is none."""
    if isinstance(error, StoreError):
        return False
    state = sqlstate(error)
    if state is not None:
        return state[:2] == "08" or state in _LOST_STATES
    # Before there is a server to give a code, when its end is gone, and when it gave
    # no answer in time. Some of the driver's own come when its state is unclear.
    return any(
        isinstance(each, OSError | TimeoutError | EOFError)
        or any(kind.__name__ in _OF_THE_DRIVER for kind in type(each).__mro__)
        # Plans that were made before the tables changed.
        or type(each).__name__ == "InvalidCachedStatementError"
        for each in _chain(error)
    )


def is_unanswered(error: BaseException) -> bool:
    """Tell whether a statement's end is not known, as no answer of the server came.
    What it answers with an error it has rolled back."""
    # A panic may come while it commits, which the log has then.
    if any(getattr(each, "severity_en", None) == "PANIC" for each in _chain(error)):
        return True
    # Of class 08 are errors of the driver and of poolers, which lost the server. What
    # the server said last is the driver's cause.
    return is_lost(error) and all(state[:2] == "08" for state in _states(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what lies behind it, as SQLAlchemy wraps the driver's."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = getattr(each, "orig", None) or each.__cause__


def _states(error: BaseException) -> Iterator[str]:
    for each in _chain(error):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            yield state


def _source_of(error: BaseException) -> str | None:
    """Return the name of the server's source file that an error comes from."""
    names = (getattr(each, "server_source_filename", None) for each in _chain(error))
    return next((name for name in names if name is not None), None)


def _caused(error: StoreError, cause: BaseException) -> StoreError:
    *_, error.__cause__ = _chain(cause)
    return error
