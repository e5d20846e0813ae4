"""``store.admin``: copying, checking and tidying up a store while it is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from turnstore.engine.backend import Backend
from turnstore.engine.sqlite.files import absolute, path_given
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.records import RecoveryReport, SessionFilter
from turnstore.sql import codec
from turnstore.store.admin.checking import Checking
from turnstore.store.admin.recovery import Recover
from turnstore.store.sessions.filters import wanted
from turnstore.values import shown

ROW_BYTES: Final = 1_000
IDLE_FOR_S_MAX: Final = 31_536_000


class Admin:
    """Care of the whole store. Reach it as ``store.admin``.

    PostgreSQL takes care of its own files: there only ``check`` and ``recover`` have
    something to do. ``SessionStore`` says what holds for every call: further errors,
    and cancellation where a method does not.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend

    async def backup(
        self,
        path: str | os.PathLike[str],
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Copy the store, as it is at one moment, to a new file that opens as a store.

        Reads and writes go on; what is committed after the start is not in it. The
        file has mode 0600 and is on the disk when the call returns.

        :param path: of the copy, in a folder that is there.
        :param on_progress: called with the pages copied and their total, about ten
            times a second and at the end; what it raises ends the copy.
        :raises InvalidArgument: there is a file already, or a log of one; or the store
            is on PostgreSQL, where ``pg_dump`` makes backups.
        :raises BackendUnavailable, DiskFull: it can't be written there.
        :raises DatabaseBusy: so much was written meanwhile that the write-ahead log,
            which a backup keeps from being emptied, reached half of
            ``wal_bytes_max``.

        Where it raises, a cancellation too, nothing is left of the copy; where the
        process dies, a file ``.turnstore-….partial``. Cost: the file. In memory no
        write is committed meanwhile.
        """
        if on_progress is not None and not callable(on_progress):
            raise InvalidArgument(
                f"on_progress must be callable, got {shown(on_progress)}"
            )
        await self._backend.backup(absolute(path_given(path, "path")), on_progress)

    async def checkpoint(self) -> bool:
        """Empty the write-ahead log into the file, as far as readers allow.

        Returns whether all of it was; where not, the rest follows by itself. The
        store does this when nothing was written for a second, and on close. Cost: the
        log, during which no other write is committed. A cancellation is raised
        at once and does not stop it.

        :raises ReadOnlyStore: the store was opened so; the log stays as it was.
        """
        return await self._backend.checkpoint()

    async def check(self, *, repair: bool = False) -> list[str]:
        """Return the problems of the store, one line for each; [] if it is sound.

        Looks at the pages and indexes of the file and at the foreign keys (SQLite);
        decodes every row of every table; and compares each session's numbers and totals
        with its rows and the usage ledger. Of each kind the first 1,000 problems are
        told, then how many more there are; of pages and foreign keys 100. Rows that are
        missing from the middle of a sequence are no problem by themselves, as they may
        have been deleted. Reads and writes go on; in memory they wait while pages are
        looked at. Damage is told, not raised.

        Cost: reads the whole store, in pieces of at most 8 MiB or one row.

        :param repair: mend what is found, and return what was done. Each piece is a
            transaction of its own, so that a repair that is broken off can be run
            again. A damaged row is *set aside*: it goes with all its raw values to the
            table ``source_rows``, under the system ``damaged``; the other rows keep
            their numbers. Of a session or its head the damaged value alone is set
            aside, and replaced by an empty one, or by what the rows say. Heads that do
            not agree with their rows are counted anew, and on SQLite indexes are made
            anew where they do not agree. Damaged pages can't be mended: restore a
            backup.
        :raises ReadOnlyStore: ``repair``, of a store that was opened ``read_only``.
        """
        return await Checking(
            self._backend, is_repair=codec.check_flag(repair, "repair")
        ).run()

    async def vacuum(self) -> None:
        """Give free pages back to the file system, a few between other writes.

        What is raised, a cancellation too, leaves those given back so far; the rest
        stays for the next time. Cost: the free pages.

        :raises DatabaseBusy: another process kept the lock, or a reader the log.
        :raises ReadOnlyStore: the store was opened so.
        """
        await self._backend.reclaim()

    async def recover(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
        *,
        idle_for_s: float = 0,
    ) -> RecoveryReport:
        """Close what crashed runtimes left open, in one transaction.

        Sessions that run become interrupted, with ``ended_at``; open tool calls become
        failed, with the error "interrupted". A session that waits for user input
        stays as it is, with its tool calls. Returns what was closed, as it is now,
        the oldest sessions first, of each its calls by age.

        A session whose lease is held stays as it is: so where every runtime runs its
        sessions under a lease, call it at any time. Nothing else tells a crashed
        runtime from one that is alive. A lease that has expired is lost to its holder
        once its session is closed.

        :param filter: close only sessions that match.
        :param idle_for_s: 0 to 31,536,000 seconds; close only sessions whose
            ``updated_at`` is at least as long ago, by the clock of the database.
        :raises InvalidArgument: a value is out of bounds.
        :raises ReadOnlyStore: the store was opened so; nothing was closed.

        Cost: the open sessions and tool calls, and as ``sessions.count`` for a filter.
        """
        return await self._backend.write(
            Recover(
                "",
                ROW_BYTES,
                wanted(filter),
                codec.check_seconds(idle_for_s, "idle_for_s", 0, IDLE_FOR_S_MAX),
            )
        )
