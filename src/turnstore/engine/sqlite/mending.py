"""What a failing disk leaves behind, and mending it before anything else is done.

A connection that got wrong pages keeps them in its cache: it is replaced. A commit that
failed may be whole in the log, where no reader sees it and a recovery would find it: it
is overwritten. Where the files themselves were tampered with, the error says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

from turnstore.engine.commands import is_fatal
from turnstore.engine.sqlite.errors import is_io_error, is_suspicious, translate
from turnstore.engine.sqlite.thread import SqliteThread
from turnstore.engine.sqlite.wal import Wal
from turnstore.errors import BackendUnavailable, DatabaseCorrupt, OutcomeUnknown
from turnstore.options import StoreOptions

T = TypeVar("T")

LOG: Final = logging.getLogger("turnstore")


class Mending:
    """Runs work on the connections of one store; each method on their threads."""

    def __init__(self, wal: Wal, options: StoreOptions, stop: Event) -> None:
        self._wal = wal
        self._busy_timeout_s = options.busy_timeout_s
        self._stop = stop
        self.is_unsettled = False
        """Whether a failed commit may come back in a crash."""

    def read(self, work: Callable[[SqliteThread], T], thread: SqliteThread) -> T:
        """Run ``work`` on a reading connection."""
        try:
            self._renew(thread)
            return work(thread)
        except Exception as error:
            translated = translate(error)
            self.suspect(thread, translated)
            raise translated from translated.__cause__

    def write(self, work: Callable[[SqliteThread], T], thread: SqliteThread) -> T:
        """Run ``work`` on the writing connection."""
        try:
            self._mend(thread)
            return work(thread)
        except Exception as error:
            translated = self._explained(translate(error), thread)
            self.suspect(thread, translated)
            is_of_disk = is_io_error(translated.__cause__)
            if isinstance(translated, OutcomeUnknown) and is_of_disk:
                self.is_unsettled = True  # before anybody can read
                translated = self._settled(translated, thread)
            raise translated from translated.__cause__

    def suspect(self, thread: SqliteThread, error: Exception) -> None:
        """Have a connection replaced, if the error says that it may have got wrong
        pages."""
        if self._wal.is_file and (
            is_suspicious(error) or is_suspicious(error.__cause__)
        ):
            thread.is_suspect = True

    def _renew(self, thread: SqliteThread) -> None:
        if thread.is_suspect:
            # Not on another file, nor on one that was emptied: SQLite removes the log
            # of such a one.
            self._wal.check_names()
            thread.reopen()

    def _mend(self, thread: SqliteThread) -> None:
        self._renew(thread)
        if self.is_unsettled:
            self._wal.settle(thread, self._busy_timeout_s, self._stop)
            self.is_unsettled = False

    def _explained(self, error: Exception, thread: SqliteThread) -> Exception:
        """Return what was done to the files, where that made the database fail."""
        if is_fatal(error) and not thread.driver.in_transaction:
            try:
                self._wal.examine(thread)
            except DatabaseCorrupt as corrupt:
                return corrupt
            except Exception:
                LOG.debug("the files could not be examined", exc_info=True)
        return error

    def _settled(self, unknown: OutcomeUnknown, thread: SqliteThread) -> Exception:
        """Return the error of a commit that failed: with its outcome, if the disk
        lets it be settled now."""
        try:
            self._mend(thread)
        except Exception as error:
            LOG.warning("a failed commit is not settled yet", exc_info=error)
            return unknown
        failed = BackendUnavailable(
            "the disk failed during the commit, nothing of it was written: call again"
        )
        failed.__cause__ = unknown.__cause__
        return failed
