"""Waiting for SQLite's locks, against other processes.

SQLite's own busy handler sleeps up to 100 ms at a time; short waits with jitter let
several processes share a lock evenly.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Final

from turnstore.backends._sqlite_errors import is_busy
from turnstore.backends._sqlite_thread import set_pragma
from turnstore.errors import DatabaseBusy

WAIT_S_MIN: Final = 0.000_05
WAIT_S_MAX: Final = 0.005


def begin(driver: Any, timeout_s: float) -> None:
    """Begin a transaction that holds the write lock from its first statement.

    :raises DatabaseBusy: another process kept the write lock for ``timeout_s``.
    """
    _retry(lambda: driver.execute("BEGIN IMMEDIATE"), timeout_s)


def enter_wal(driver: Any, timeout_s: float) -> None:
    """Switch the file to WAL, once in its life.

    The switch ignores SQLite's busy_timeout, and others may open at the same time.
    Incremental vacuum must be chosen before the first page is written.
    """

    def enter() -> None:
        if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            driver.execute("PRAGMA auto_vacuum = INCREMENTAL")
            set_pragma(driver, "journal_mode", "wal")

    _retry(enter, timeout_s)


def _retry(take: Callable[[], object], timeout_s: float) -> None:
    deadline_s = monotonic() + timeout_s
    wait_s = WAIT_S_MIN
    while True:
        try:
            take()
            return
        except Exception as error:
            if not is_busy(error):
                raise
            if monotonic() > deadline_s:
                raise DatabaseBusy(
                    f"another process kept the write lock for {timeout_s:g} s: call "
                    f"again, or raise busy_timeout_s"
                ) from error
        sleep(wait_s * random.uniform(0.5, 1.5))
        wait_s = min(wait_s * 2, WAIT_S_MAX)
