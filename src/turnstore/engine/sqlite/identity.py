"""The three files of a store, and what something else than SQLite did to them.

A file that is removed, moved, replaced, cut or overwritten while a store has it open
still takes commits: they go into a file that nobody will open again, or that another
process no longer shares. So the files are compared with what was seen of them last,
before each commit. Their names are looked at with ``stat`` alone, since closing a
handle of such a file would drop SQLite's locks on it.

What other connections do through SQLite changes the files too: they append to the log,
move it into the database, cut it when all of it was moved. Where a file differs, the
counters of the log tell the two apart (``examine``).
"""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

from turnstore.engine.sqlite.library import library
from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.errors import BackendUnavailable, DatabaseCorrupt, OutcomeUnknown

FRAME_BYTES: Final = 24
"""What the log keeps beside each page."""
HEADER_BYTES: Final = 32
MOVING_S: Final = 1.0
"""How long another process is given to say that it has moved the log."""
LOOK_S: Final = 0.005
LOOKS_MAX: Final = 100
"""Looks at files and counters until no other process has committed in between."""
WAY_OUT: Final = (
    "nothing was written; close the store, put its file back (or restore a backup) and "
    "open it again"
)


class Counters(NamedTuple):
    """What SQLite tells of the log.

    ``version``: changes with each commit by another connection. ``frames``: pages in
    the log. ``moved``: how many of them are in the database as well.
    """

    version: int
    frames: int
    moved: int


class Identity:
    """The files of one store. Every method runs on the writing thread."""

    def __init__(self, path: Path) -> None:
        self._paths = (f"{path}", f"{path}-wal", f"{path}-shm")
        self._seen: tuple[os.stat_result, ...] = ()
        self._counters: Counters | None = None
        self._has_committed = False  # since the counters were read
        self._is_overwritten = False

    @property
    def log_bytes(self) -> int:
        """Size of the log when it was last looked at."""
        return self._seen[1].st_size

    def remember(self, driver: Any) -> None:
        """Take the files as they are for the right ones."""
        self._seen = tuple(map(os.stat, self._paths))
        self._counters = _counters(driver)
        self._has_committed = False

    def is_unchanged(self) -> bool:
        """Whether nothing but commits to the log has happened to the files."""
        # Before every commit: three calls of stat, 2 us in all.
        stat = os.stat
        database_path, log_path, index_path = self._paths
        seen_database, seen_log, seen_index = self._seen
        try:
            index, log, database = stat(index_path), stat(log_path), stat(database_path)
        except OSError:
            return False
        return (
            database.st_mtime_ns == seen_database.st_mtime_ns
            and database.st_size == seen_database.st_size
            and log.st_size >= seen_log.st_size
            and database.st_ino == seen_database.st_ino
            and log.st_ino == seen_log.st_ino
            and index.st_ino == seen_index.st_ino
            and database.st_dev == seen_database.st_dev
        )

    def have_committed(self, driver: Any) -> None:
        """Follow what a commit of this connection has changed: the log, and where it
        was moved the database.

        :raises OutcomeUnknown: a file was removed or replaced during the commit.
        """
        try:
            database, log = os.stat(self._paths[0]), os.stat(self._paths[1])
        except OSError:
            self._raise_unknown()
        seen = self._seen
        if log.st_ino != seen[1].st_ino or database.st_ino != seen[0].st_ino:
            self._raise_unknown()
        self._has_committed = True
        self._seen = (seen[0], log, seen[2])
        if (
            database.st_mtime_ns != seen[0].st_mtime_ns
            or database.st_size != seen[0].st_size
        ):
            self._seen = (database, log, seen[2])
            self._counters = _counters(driver)
            self._has_committed = False

    def examine(self, thread: SqliteThread) -> None:
        """Accept what SQLite did to the files; outside a transaction.

        :raises DatabaseCorrupt: something else did it.
        """
        deadline_s = monotonic() + MOVING_S
        while not self._is_explained(thread.driver):
            if monotonic() > deadline_s:
                # A process may have died while it moved the log: then the database
                # is whole, with what is in the log.
                thread.reopen()
                if not _is_whole(thread.driver):
                    raise self._overwritten()
                self.remember(thread.driver)
                return
            sleep(LOOK_S)

    def _is_explained(self, driver: Any) -> bool:
        """Whether it is known that SQLite did what was done to the files."""
        if self._is_overwritten:
            raise self._overwritten()
        for _ in range(LOOKS_MAX):
            self.check_names()
            counters = _counters(driver)
            try:
                found = tuple(map(os.stat, self._paths))
            except OSError:
                continue  # which one, and how, is for ``check_names``
            if counters is None:
                break
            if counters == _counters(driver):
                self._check_log(found[1], counters, driver)
                if not self._is_database_explained(found[0], counters, driver):
                    return False
                break
        else:
            return True  # another process is committing, and looks as well
        self._seen = found
        self._counters = counters
        self._has_committed = False
        return True

    def check_names(self) -> None:
        """
        :raises DatabaseCorrupt: a name leads to no file, or to another one, or to a
            database that is empty.
        :raises BackendUnavailable: the disk fails.
        """
        for path, seen in zip(self._paths, self._seen, strict=True):
            try:
                found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                raise DatabaseCorrupt(
                    f"{path} was removed or moved while the store had it open: "
                    f"{WAY_OUT}{self._of_another_library(path)}"
                ) from None
            except OSError as error:  # a disk that fails says nothing of the file
                raise BackendUnavailable(
                    f"{path} can't be looked at ({error.strerror}): nothing was "
                    f"written; call again"
                ) from error
            if (found.st_dev, found.st_ino) != (seen.st_dev, seen.st_ino):
                raise DatabaseCorrupt(
                    f"{path} was replaced by another file while the store had it open: "
                    f"{WAY_OUT}{self._of_another_library(path)}"
                )
            if path == self._paths[0] and not found.st_size:
                raise DatabaseCorrupt(
                    f"{path} was cut short while the store had it open (0 bytes): "
                    f"{WAY_OUT}"
                )

    def is_moved(self) -> bool:
        """Whether the database has left its name, with the log still its own."""
        inodes = []
        for path in self._paths:
            try:
                inodes.append(os.stat(path).st_ino)
            except OSError:
                inodes.append(0)
        seen = [each.st_ino for each in self._seen]
        return inodes[0] != seen[0] and inodes[1:] == seen[1:]

    def has_uncounted_frames(self, driver: Any) -> bool:
        """Whether the log may hold pages that its index does not count, as a commit
        leaves that failed."""
        counters = _counters(driver)
        if counters is None:
            return True
        size_bytes = os.stat(self._paths[1]).st_size
        return size_bytes >= _log_bytes(driver, counters.frames + 1)

    def _of_another_library(self, path: str) -> str:
        # POSIX drops all locks of a process on a file with the first handle that is
        # closed. So another library, which does not know of this one's connections,
        # takes itself for the last user and removes log and index.
        if path == self._paths[0]:
            return ""
        return (
            f". Another SQLite library in this process does this when it closes the "
            f"file, such as the sqlite3 module where {library().name} is in use"
        )

    def _check_log(self, log: os.stat_result, counters: Counters, driver: Any) -> None:
        size_bytes = _log_bytes(driver, counters.frames)
        if counters.frames and log.st_size < size_bytes:
            raise DatabaseCorrupt(
                f"{self._paths[1]} was cut short while the store had it open "
                f"({log.st_size} bytes, {size_bytes} are in use): {WAY_OUT}"
            )

    def _is_database_explained(
        self, database: os.stat_result, counters: Counters, driver: Any
    ) -> bool:
        seen, before = self._seen[0], self._counters
        if (database.st_mtime_ns, database.st_size) == (seen.st_mtime_ns, seen.st_size):
            return True
        # A page that is not in the log is in the database, and the first one always.
        pages = max(1, _pragma(driver, "page_count") - counters.frames)
        size_bytes = pages * _pragma(driver, "page_size")
        if database.st_size < size_bytes:
            raise DatabaseCorrupt(
                f"{self._paths[0]} was cut short while the store had it open "
                f"({database.st_size} bytes, at least {size_bytes} are in use): "
                f"{WAY_OUT}"
            )
        if before is None or counters.version != before.version:
            return True  # others have committed: their log may have come and gone
        if not self._has_committed and counters.frames == before.frames == 0:
            raise self._overwritten()  # there was nothing to move
        # Another connection has moved the log, unless the counters are those that
        # commits of this one leave. They are these, too, while another is moving it.
        if counters.frames == 0 or counters.moved not in (0, before.moved):
            return True
        is_longer = counters.frames > before.frames
        return counters.moved > 0 and is_longer != self._has_committed

    def _overwritten(self) -> DatabaseCorrupt:
        self._is_overwritten = True
        return DatabaseCorrupt(
            f"{self._paths[0]} was overwritten by something else than SQLite while the "
            f"store had it open: {WAY_OUT}"
        )

    def _raise_unknown(self) -> None:
        raise OutcomeUnknown(
            f"{self._paths[0]} or its -wal was removed or replaced during the commit: "
            f"close the store, put the files back, open it again and read the head to "
            f"learn whether it was written"
        )


def _counters(driver: Any) -> Counters | None:
    """Return the counters of the log; None: this SQLite does not tell them."""
    if not library().has_noop:
        return None
    _, frames, moved = driver.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    return Counters(_pragma(driver, "data_version"), frames, moved)


def _is_whole(driver: Any) -> bool:
    return [*driver.execute("PRAGMA integrity_check(1)")] == [("ok",)]


def _log_bytes(driver: Any, frames: int) -> int:
    """Return the size of a log of so many pages."""
    return HEADER_BYTES + frames * (FRAME_BYTES + _pragma(driver, "page_size"))


def _pragma(driver: Any, name: str) -> int:
    return int(driver.execute(f"PRAGMA {name}").fetchone()[0])
