"""Which SQLite library to use: one choice per process.

SQLite 3.7.0 to 3.51.2 can corrupt a file in WAL mode when two connections checkpoint
it (the "WAL-reset bug", fixed in 3.51.3 and ported back to 3.44.6 and 3.50.7). So:
the standard library's sqlite3 where it links a fixed version, else ``pysqlite3``,
which brings its own, else the standard library with one checkpointing connection per
file and a warning. Two libraries must never open one file in a process, because each
would drop the other's locks.
"""

from __future__ import annotations

import sqlite3
import warnings
from functools import cache
from types import ModuleType

import msgspec


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """A DB-API module and its SQLite.

    ``is_fixed``: several connections may checkpoint.
    """

    module: ModuleType
    name: str
    is_fixed: bool

    @property
    def has_noop(self) -> bool:
        """Whether it tells the counters of the log without a checkpoint."""
        return bool(self.module.sqlite_version_info >= (3, 51, 0))


@cache
def library() -> Library:
    """Return the library that every connection of this process uses."""
    if is_fixed(sqlite3.sqlite_version_info):
        return _describe(sqlite3, "sqlite3")
    try:
        import pysqlite3.dbapi2 as bundled
    except ImportError:
        return _describe(sqlite3, "sqlite3")
    return _describe(bundled, "pysqlite3")


def is_fixed(version: tuple[int, ...]) -> bool:
    """Tell whether this SQLite is without the WAL-reset bug."""
    if version < (3, 7, 0) or version >= (3, 51, 3):
        return True
    return (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51)


def warn_of(used: Library) -> None:
    """Warn where a library can corrupt a file."""
    if not used.is_fixed:
        warnings.warn(
            f"{used.name} can corrupt a file when several processes checkpoint "
            f"it: install pysqlite3, or a Python with SQLite 3.51.3 or later",
            RuntimeWarning,
            stacklevel=2,
        )


def _describe(module: ModuleType, name: str) -> Library:
    return Library(
        module=module,
        name=f"{name} (SQLite {module.sqlite_version})",
        is_fixed=is_fixed(module.sqlite_version_info),
    )
