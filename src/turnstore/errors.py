"""Every error the store raises.

::

    StoreError
    ├── StoreClosed
    ├── SessionNotFound, MessageNotFound, ToolCallNotFound   (also LookupError)
    ├── SessionExists, MessageExists, ToolCallExists
    ├── SequenceConflict, StatusConflict, PendingToolCalls
    ├── LeaseHeld, LeaseLost
    ├── PayloadInvalid, PayloadTooLarge, InvalidArgument     (also ValueError)
    ├── Overloaded
    │   └── QueueFull, AcquireTimeout                        (also TimeoutError)
    ├── SchemaTooOld, SchemaTooNew
    └── BackendError
        ├── BackendUnavailable, DatabaseBusy, DatabaseCorrupt
        ├── DiskFull, ReadOnlyStore
        └── OutcomeUnknown

Each class says when it is raised and what is true of the data afterwards. What a
program may want to act on is an attribute; the message is built from it. Where a
driver's error lies behind one of these, it is the ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any


class StoreError(Exception):
    """Base of every error of this package.

    Raised itself where a store, a turn or a follower is used out of order (opened
    twice, on another event loop, outside its block, by two tasks), or where a library
    that a store runs on is not one it can use: nothing written.

    ``retryable`` is True where the same call may succeed later and nothing of this
    one was written.
    """

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as it is: what was raised need not be an argument of its class.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[StoreError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> StoreError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class StoreClosed(StoreError):
    """Used before ``open``, after ``close``, or in a forked child; or still waiting
    when ``close`` gave up on it. Nothing written."""


class SessionNotFound(StoreError, LookupError):
    """No session has this id. Nothing written."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"no session {session_id!r}")
        self.session_id = session_id


class MessageNotFound(StoreError, LookupError):
    """The session has no message with this id. Nothing written."""

    def __init__(self, session_id: str, message_id: str) -> None:
        super().__init__(f"session {session_id!r} has no message {message_id!r}")
        self.session_id = session_id
        self.message_id = message_id


class ToolCallNotFound(StoreError, LookupError):
    """The session has no tool call with this id. Nothing written."""

    def __init__(self, session_id: str, tool_call_id: str) -> None:
        super().__init__(f"session {session_id!r} has no tool call {tool_call_id!r}")
        self.session_id = session_id
        self.tool_call_id = tool_call_id


class SessionExists(StoreError):
    """A session with this id is there already. It is unchanged."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} exists already")
        self.session_id = session_id


class MessageExists(StoreError):
    """The session has a message with this id already. It is unchanged."""

    def __init__(self, session_id: str, message_id: str) -> None:
        super().__init__(f"session {session_id!r} has a message {message_id!r} already")
        self.session_id = session_id
        self.message_id = message_id


class ToolCallExists(StoreError):
    """The session has a tool call with this id already. It is unchanged."""

    def __init__(self, session_id: str, tool_call_id: str) -> None:
        super().__init__(
            f"session {session_id!r} has a tool call {tool_call_id!r} already"
        )
        self.session_id = session_id
        self.tool_call_id = tool_call_id


class SequenceConflict(StoreError):
    """The session's event head is not the ``expected_head``. Nothing written."""

    def __init__(self, session_id: str, expected_head: int, actual_head: int) -> None:
        super().__init__(
            f"session {session_id!r} has event head {actual_head}, "
            f"expected {expected_head}"
        )
        self.session_id = session_id
        self.expected_head = expected_head
        self.actual_head = actual_head


class StatusConflict(StoreError):
    """The status is not the expected one, or can't change as asked. Nothing written.

    ``actual_status`` is a member of the enumeration, as in the record.
    """

    def __init__(self, session_id: str, actual_status: str, reason: str) -> None:
        super().__init__(f"session {session_id!r}: {reason}")
        self.session_id = session_id
        self.actual_status = actual_status


class PendingToolCalls(StoreError):
    """The session has open tool calls. Nothing written."""

    def __init__(self, session_id: str, open_calls: Sequence[str]) -> None:
        super().__init__(
            f"session {session_id!r} has {len(open_calls)} open tool calls: "
            f"{', '.join(open_calls[:5])}"
        )
        self.session_id = session_id
        self.open_calls = list(open_calls)


class LeaseHeld(StoreError):
    """Another holder has the lease of the session. Nothing written.

    ``owner``: what that holder calls itself. ``expires_at``: when its lease ends unless
    it is renewed, by the clock of the database.
    """

    def __init__(self, session_id: str, owner: str, expires_at: datetime) -> None:
        super().__init__(
            f"session {session_id!r} is leased to {owner!r} until "
            f"{expires_at.isoformat()}, unless renewed: try again then"
        )
        self.session_id = session_id
        self.owner = owner
        self.expires_at = expires_at


class LeaseLost(StoreError):
    """The lease that a turn was given is no longer held: it expired, was released, or
    the session has another holder. Nothing written.

    ``token``: of the lost lease. ``owner`` and ``expires_at``: of the present holder;
    None where nobody holds the session.
    """

    def __init__(
        self,
        session_id: str,
        token: int,
        owner: str | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        holder = "nobody" if owner is None else f"{owner!r}"
        super().__init__(
            f"the lease {token} of session {session_id!r} is lost, {holder} holds it "
            "now: stop this run, or take a new lease and read the session again"
        )
        self.session_id = session_id
        self.token = token
        self.owner = owner
        self.expires_at = expires_at


class PayloadInvalid(StoreError, ValueError):
    """A payload is not JSON that would come back equal: NaN and Infinity, a key
    that is no text, a type that JSON has not, more than 200 levels, an integer of more
    than 4,300 digits. Nothing written."""


class PayloadTooLarge(StoreError, ValueError):
    """A payload has more bytes than ``payload_bytes_max``. Nothing written."""

    def __init__(self, size_bytes: int, bytes_max: int) -> None:
        super().__init__(
            f"the payload has {size_bytes} bytes encoded, payload_bytes_max is "
            f"{bytes_max}"
        )
        self.size_bytes = size_bytes
        self.bytes_max = bytes_max


class InvalidArgument(StoreError, ValueError):
    """An argument is outside what the call takes. Nothing written."""


class Overloaded(StoreError):
    """The store has more work than it takes now. Nothing written; retryable."""

    retryable = True


class QueueFull(Overloaded, TimeoutError):
    """The write queue stayed full for ``queue_timeout_s``. Nothing written."""


class AcquireTimeout(Overloaded, TimeoutError):
    """No reader came free within ``acquire_timeout_s``. Nothing read or written."""


class SchemaTooOld(StoreError):
    """The database needs a migration first. Nothing written; the text says how."""


class SchemaTooNew(StoreError):
    """A later release wrote this database: upgrade turnstore. Nothing written."""


class BackendError(StoreError):
    """The database failed. Nothing written, except as ``OutcomeUnknown`` and
    ``DatabaseCorrupt`` say."""


class BackendUnavailable(BackendError):
    """The database can't be reached or opened, or its disk fails. Nothing written;
    retryable, unless the one server there is refused the user or has no such
    database."""

    retryable = True


class DatabaseBusy(BackendError):
    """Another process kept the lock, or on PostgreSQL other transactions were in the
    way, for ``busy_timeout_s``; or a reader pins the WAL beyond ``wal_bytes_max``.
    Nothing written; retryable."""

    retryable = True


class DatabaseCorrupt(BackendError):
    """What is stored is damaged, or the file is no database or not the store's any
    more. Nothing written.

    Where a row is damaged, or was changed by another program, ``table`` and ``column``
    say which cell; ``session_id`` and ``seq`` say which row, or ``id`` where it has
    another key. All other rows can be read and written: leave this one out by
    ``after``, ``before`` or a filter. ``admin.check`` lists every damaged row, and
    ``admin.check(repair=True)`` sets them aside.

    Where ``table`` is None, the file as a whole is concerned, and the text says how. It
    is damaged: restore a backup. Or something else than SQLite has removed, moved,
    replaced, cut or overwritten it or its log while the store had it open: close the
    store, which puts what it acknowledged into its database where it still can.
    """

    table: str | None = None
    column: str | None = None
    session_id: str | None = None
    seq: int | None = None
    id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        table: str | None = None,
        column: str | None = None,
        session_id: str | None = None,
        seq: int | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column
        self.session_id = session_id
        self.seq = seq
        self.id = id


class DiskFull(BackendError):
    """No space left on the device. Nothing written; works again once there is."""


class ReadOnlyStore(BackendError):
    """A write to a store opened with ``read_only``, or to a file, file system or
    server that takes none. Nothing written."""


class OutcomeUnknown(BackendError):
    """The connection or the disk failed during the commit, or on PostgreSQL during the
    one statement that writes and commits several appends of events: it may have been
    written or not.

    On SQLite reads are refused until the disk works again and the outcome is settled.
    Read the session's head to learn which, or repeat the call with the same
    idempotency key. A server of PostgreSQL that goes on committing for longer than
    ``busy_timeout_s``, as its standby is away, does not show it in the head so far:
    then the key tells, or an ``expected_head``.
    """
