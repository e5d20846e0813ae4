"""The write-ahead log: who empties it, when, and how its size is bounded.

Only writing connections checkpoint: in the commit that brings the log past
``CHECKPOINT_PAGES`` (SQLite's auto-checkpoint), when the writer has been idle, and on
close. With a SQLite that has the WAL-reset bug only one connection of all processes
may: the holder of a lock on ``<file>-checkpointer``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from turnstore.engine.sqlite.library import library
from turnstore.engine.sqlite.thread import SqliteThread
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
LOOK_BATCHES: Final = 16
"""The log's size is looked at once in this many batches."""
RETRY_S: Final = 0.005


class Wal:
    """The write-ahead log of one file; ``path`` None for a store in memory."""

    def __init__(self, path: Path | None, options: StoreOptions) -> None:
        self._path = path
        self._options = options
        self._batches = 0
        self._lock_file: int | None = None
        self._inode: int | None = None

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

    def remember_identity(self) -> None:
        """Note which file the log is, once it is there."""
        self._inode = self._read_inode()

    def check_identity(self) -> None:
        """Check that the log is still the file that commits are written to.

        Another SQLite library in the same process does not see this one's locks (POSIX
        drops a process's locks on a file with the first handle that is closed). It
        takes itself for the last user and removes the log; what is committed from then
        on would be gone with this process.

        :raises DatabaseCorrupt: the log was removed or replaced.
        """
        if self._inode is not None and self._read_inode() != self._inode:
            raise DatabaseCorrupt(
                f"the write-ahead log of {self._path} was removed under the store: the "
                f"file was opened by another SQLite library in this process, such as "
                f"the sqlite3 module beside {library().name}; close the store at once"
            )

    def _read_inode(self) -> int | None:
        try:
            return os.stat(f"{self._path}-wal").st_ino if self._path else None
        except OSError:
            return None

    def truncate(self, thread: SqliteThread) -> None:
        """Move the log into the file and cut it, as far as readers allow.

        On the writing thread, outside a transaction.
        """
        try:
            self.checkpoint(thread)
        except Exception as error:
            LOG.warning("checkpoint of %s failed", self._path, exc_info=error)

    def checkpoint(self, thread: SqliteThread) -> bool:
        """As ``truncate``, with errors raised; tell whether all of it was moved."""
        if self._path is None:
            return True
        if not self._may_checkpoint():
            return False
        pragma = "PRAGMA wal_checkpoint(TRUNCATE)"
        is_busy, _, _ = thread.driver.execute(pragma).fetchone()
        return not is_busy

    def hold_back(self, thread: SqliteThread, stop: Event) -> None:
        """Before a batch: while readers keep the log past its bound, wait for them.

        :param stop: ends the wait early.

        :raises DatabaseBusy: they did not let go within ``busy_timeout_s``.
        """
        self._batches += 1
        if self._batches < LOOK_BATCHES:
            return
        self._batches = 0
        bytes_max = self._options.wal_bytes_max
        if self.size_bytes <= bytes_max:
            return
        LOG.warning(
            "the WAL of %s has %d bytes: a reader keeps it, writes are held back",
            self._path,
            self.size_bytes,
        )
        deadline_s = monotonic() + self._options.busy_timeout_s
        while True:
            self.truncate(thread)
            if self.size_bytes <= bytes_max:
                return
            if monotonic() > deadline_s or stop.is_set():
                self._batches = LOOK_BATCHES  # look again before the next batch
                raise DatabaseBusy(
                    f"a reader keeps the WAL at {self.size_bytes} bytes, beyond "
                    f"wal_bytes_max: end it, then call again"
                )
            stop.wait(RETRY_S)

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
