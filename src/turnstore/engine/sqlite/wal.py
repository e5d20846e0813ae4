"""The write-ahead log: who empties it, when, and how its size is bounded.

Only writing connections checkpoint: in the commit that brings the log past
``CHECKPOINT_PAGES`` (SQLite's auto-checkpoint), when the writer has been idle, and on
close. With a SQLite that has the WAL-reset bug only one connection of all processes
may: the holder of a lock on ``<file>-checkpointer``.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from turnstore.engine.sqlite.identity import Identity
from turnstore.engine.sqlite.library import library
from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.engine.sqlite.transactions import overwrite
from turnstore.errors import DatabaseBusy, DatabaseCorrupt
from turnstore.options import MIB, StoreOptions

try:
    import fcntl
except ImportError:  # Windows, where pysqlite3 always brings a fixed SQLite
    fcntl = None  # type: ignore[assignment]

LOG: Final = logging.getLogger("turnstore")

CHECKPOINT_PAGES: Final = 4_000
"""Pages of 4 KiB in the log at which a commit also checkpoints. Twice as many gained
nothing beyond the noise and made the slowest commits slower (bench: append at 512)."""
BYTES_KEPT_MAX: Final = 64 * MIB
"""A log that grew beyond this is cut back to it when it is reused."""
RETRY_S: Final = 0.005


class Wal:
    """The write-ahead log of one file; ``path`` None for a store in memory."""

    def __init__(self, path: Path | None, options: StoreOptions) -> None:
        self._path = path
        self._options = options
        self._lock_file: int | None = None
        self._identity: Identity | None = None
        self._is_refused = False
        self._held_since_s = math.inf  # by monotonic(): when readers began to

    @property
    def is_file(self) -> bool:
        return self._path is not None

    @property
    def size_bytes(self) -> int:
        if self._path is None:
            return 0
        try:
            # stat opens nothing: closing a handle of the log would drop SQLite's locks.
            return os.stat(f"{self._path}-wal").st_size
        except OSError:
            return 0

    def pragmas(self) -> dict[str, int | str]:
        """Settings of a writing connection."""
        if self._path is None:
            return {}
        return {
            "journal_size_limit": BYTES_KEPT_MAX,
            "wal_autocheckpoint": CHECKPOINT_PAGES if self._may_checkpoint() else 0,
        }

    # The files

    def remember(self, thread: SqliteThread) -> None:
        """Take the files, which are all there now, for the ones of this store."""
        if self._path is not None:
            self._identity = Identity(self._path)
            self._identity.remember(thread.driver)

    def is_unchanged(self) -> bool:
        """Whether nobody has touched the files but to append to the log."""
        return self._identity is None or self._identity.is_unchanged()

    def examine(self, thread: SqliteThread) -> None:
        """Find out what has happened to the files, outside a transaction.

        :raises DatabaseCorrupt: something that SQLite does not do.
        """
        if self._identity is not None and not self._identity.is_unchanged():
            self._identity.examine(thread)

    def check_names(self) -> None:
        """:raises DatabaseCorrupt: the names of the files lead elsewhere."""
        if self._identity is not None:
            self._identity.check_names()

    def have_committed(self, thread: SqliteThread) -> None:
        """Follow what the commit has changed.

        :raises OutcomeUnknown: a file was removed or replaced during the commit.
        """
        if self._identity is not None:
            self._identity.have_committed(thread.driver)

    def settle(self, thread: SqliteThread, timeout_s: float, stop: Event) -> None:
        """Make sure that a commit that failed is written nowhere."""
        identity = self._identity
        if identity is not None and identity.has_uncounted_frames(thread.driver):
            overwrite(thread.driver, timeout_s, stop)
            identity.have_committed(thread.driver)

    # Its size

    def truncate(self, thread: SqliteThread) -> None:
        """Move the log into the file and cut it, as far as readers allow.

        On the writing thread, outside a transaction.
        """
        try:
            self.checkpoint(thread)
        except DatabaseCorrupt as error:
            if not self._is_refused:
                LOG.warning("no checkpoint: %s", error)
            self._is_refused = True
        except Exception as error:
            LOG.warning("checkpoint of %s failed", self._path, exc_info=error)

    def checkpoint(self, thread: SqliteThread) -> bool:
        """As ``truncate``, with errors raised; tell whether all of it was moved."""
        if self._path is None:
            return True
        if not self._may_checkpoint():
            return False
        # What was acknowledged follows a file that was moved, and is not left beside
        # another that has its name now. It overwrites nothing that somebody has put
        # into the file.
        is_moved = self._identity is not None and self._identity.is_moved()
        if not is_moved:
            self.examine(thread)
        pragma = "PRAGMA wal_checkpoint(TRUNCATE)"
        is_busy, _, _ = thread.driver.execute(pragma).fetchone()
        if self._identity is not None and not is_moved:
            self._identity.remember(thread.driver)
        return not is_busy

    def hold_back(self, thread: SqliteThread, stop: Event, size_bytes: int) -> None:
        """Before a batch: where it would bring the log past its bound, empty the log,
        and wait for the readers that keep it.

        :param size_bytes: what the batch adds to the log, about.
        :param stop: ends the wait early.

        :raises DatabaseBusy: they did not let go within ``busy_timeout_s``.
        """
        if self._identity is None:
            return
        # A batch that is larger than the bound itself needs an empty log.
        room_bytes = max(0, self._options.wal_bytes_max - size_bytes)
        if self._identity.log_bytes <= room_bytes:
            return
        self.examine(thread)
        self.truncate(thread)
        if self.size_bytes <= room_bytes:
            self._held_since_s = math.inf
            return
        if self._held_since_s == math.inf:
            self._held_since_s = monotonic()
            LOG.warning(
                "the WAL of %s has %d bytes: a reader keeps it, writes are held back",
                self._path,
                self.size_bytes,
            )
        # Who comes after the time is up waits no longer, until readers have let go.
        deadline_s = self._held_since_s + self._options.busy_timeout_s
        while self.size_bytes > room_bytes:
            if monotonic() > deadline_s or stop.is_set():
                raise DatabaseBusy(
                    f"a reader keeps the WAL at {self.size_bytes} bytes, and this "
                    f"batch would bring it past wal_bytes_max: end the reader, then "
                    f"call again"
                )
            stop.wait(RETRY_S)
            self.truncate(thread)
        self._held_since_s = math.inf

    def _may_checkpoint(self) -> bool:
        if library().is_fixed or self._lock_file is not None:
            return True
        if fcntl is None:
            return False
        try:
            lock = os.open(f"{self._path}-checkpointer", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            return False  # another user's, or in a folder that takes no file
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock_file = lock
        return True

    def close(self) -> None:
        """Give up the right to checkpoint."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
