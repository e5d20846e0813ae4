"""Beginning and ending transactions, against other processes and failing disks.

SQLite's own busy handler sleeps up to 100 ms at a time; short waits with jitter let
several processes share a lock evenly.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Any, Final

from turnstore.engine.sqlite.errors import is_busy, is_io_error
from turnstore.engine.sqlite.thread import set_pragma
from turnstore.errors import DatabaseBusy, OutcomeUnknown

WAIT_S_MIN: Final = 0.000_05
WAIT_S_MAX: Final = 0.005


def begin(driver: Any, timeout_s: float, stop: Event) -> None:
    """Begin a transaction that holds the write lock from its first statement.

    :param stop: ends the wait early.
    :raises DatabaseBusy: another process kept the write lock for ``timeout_s``.
    """
    retry(lambda: driver.execute("BEGIN IMMEDIATE"), timeout_s, stop)


def commit(driver: Any) -> None:
    """Commit. A disk that fails in the middle of it can leave the outcome open: the
    commit is whole in the log perhaps, where no reader sees it and a recovery finds it.

    :raises OutcomeUnknown: that happened; ``overwrite`` settles it.
    """
    try:
        driver.execute("COMMIT")
    except Exception as error:
        if is_io_error(error):
            raise OutcomeUnknown(
                "the disk fails since the commit: read the head, once it works, to "
                "learn whether it was written"
            ) from error
        raise


def overwrite(driver: Any, timeout_s: float, stop: Event) -> None:
    """Overwrite what a failed commit has left in the log.

    The log's index does not count it, so that the next commit takes its place. This
    one writes a page as it is, and waits for the disk.
    """
    [[synchronous]] = driver.execute("PRAGMA synchronous")
    [[mark]] = driver.execute("PRAGMA application_id")
    set_pragma(driver, "synchronous", 2)
    try:
        begin(driver, timeout_s, stop)
        try:
            set_pragma(driver, "application_id", mark)
            driver.execute("COMMIT")
        except BaseException:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            raise
    finally:
        set_pragma(driver, "synchronous", synchronous)


def enter_wal(driver: Any, timeout_s: float, stop: Event) -> None:
    """Switch the file to WAL, once in its life.

    The switch ignores SQLite's busy_timeout, and others may open at the same time.
    Incremental vacuum must be chosen before the first page is written.
    """

    def enter() -> None:
        if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            driver.execute("PRAGMA auto_vacuum = INCREMENTAL")
            set_pragma(driver, "journal_mode", "wal")

    retry(enter, timeout_s, stop)


def retry(take: Callable[[], object], timeout_s: float, stop: Event) -> None:
    """Call ``take`` again until it gets the lock.

    :raises DatabaseBusy: another process kept it for ``timeout_s``.
    """
    deadline_s = monotonic() + timeout_s
    wait_s = WAIT_S_MIN
    while True:
        try:
            take()
            return
        except Exception as error:
            if not is_busy(error):
                raise
            if monotonic() > deadline_s or stop.is_set():
                raise DatabaseBusy(
                    f"another process kept the write lock for {timeout_s:g} s: call "
                    f"again, or raise busy_timeout_s"
                ) from error
        stop.wait(wait_s * random.uniform(0.5, 1.5))
        wait_s = min(wait_s * 2, WAIT_S_MAX)
