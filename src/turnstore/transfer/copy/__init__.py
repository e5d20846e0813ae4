"""Copies a whole store into another one, of any kind.

A reader walks through one snapshot of the source and hands over groups of rows that
belong together: first sessions by key, so that a fork comes after its sources; then the
usage of deleted sessions; then imported files. If the target has a session already, the
digests of its rows are compared. Otherwise it is written, read again and compared.

``turnstore.transfer`` and the command line import from here. Code here reads and writes
through ``store.engine``, all tables of ``transfer.rows``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
from anyio import BrokenResourceError, CancelScope, create_memory_object_stream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from turnstore.engine.cancellation import mark_seen
from turnstore.engine.commands import Command, is_fatal
from turnstore.errors import InvalidArgument, StoreClosed, StoreError
from turnstore.store import SessionStore
from turnstore.store.heads import find_keys
from turnstore.transfer.copy.spool import (
    SpooledRows,
    read_import,
    read_rows,
    read_usage,
)
from turnstore.transfer.copy.walk import Group, Walk, deleted_sessions
from turnstore.transfer.copy.writes import CopyImport, CopySession, CopyUsage
from turnstore.transfer.report import Problem

OnProgress = Callable[[int, int], None]


class CopyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy added. ``skipped`` counts what the target had already, and is equal.

    ``rows``: how many were added to each table. ``deleted_sessions``: how many of them
    had usage that was added. ``problems``: what was not copied, or differs in the
    target.
    """

    sessions: int = 0
    deleted_sessions: int = 0
    imports: int = 0
    skipped: int = 0
    rows: dict[str, int] = {}
    problems: tuple[Problem, ...] = ()


async def copy_store(
    source: SessionStore, target: SessionStore, on_progress: OnProgress | None = None
) -> CopyReport:
    """Copy all that ``source`` holds, as of one snapshot, into ``target``.

    Each session with all its rows is one transaction. A session that the target has
    already is skipped if it is equal. If it differs it is left as it is and reported,
    and so are its forks that the target does not have. So a copy that was stopped can
    be run again, and adds only what is missing. Other sessions of the target stay.

    Each session is read back from the target after it was written, and the digests of
    all its rows are compared. At the end the rows of each table are counted in the
    source.

    Memory is bounded by the group: 64 sessions or about 2,048 rows. At most 8 MiB of
    its rows are in memory; the rest waits in temporary files.

    :param on_progress: called after each group with the count of sessions done and the
        total.
    :raises InvalidArgument: source and target are the same store object.
    :raises StoreError: one of the stores failed. Sessions before that are written, each
        of them whole.
    :raises OSError: there is no room for the temporary files.
    """
    if source is target:
        raise InvalidArgument("a store can't be copied to itself")
    return await _Copy(source, target, on_progress).run()


class _Copy:
    def __init__(
        self, source: SessionStore, target: SessionStore, on_progress: OnProgress | None
    ) -> None:
        self._source = source.engine
        self._target = target.engine
        self._on_progress = on_progress
        self._added: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._left_out: set[str] = set()
        self._usage_there: Counter[str] | None = None

    async def run(self) -> CopyReport:
        send, receive = create_memory_object_stream[Group](0)
        reading = asyncio.ensure_future(self._read_all(send))
        try:
            await self._write_all(receive)
            await reading
        finally:
            receive.close()
            reading.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([reading])
            mark_seen(reading)  # where the target's error is raised
        return CopyReport(
            sessions=self._added["sessions"],
            deleted_sessions=self._added["usage"],
            imports=self._added["imports"],
            skipped=self._added["skipped"],
            rows=dict(sorted(self._rows.items())),
            problems=tuple(self._problems),
        )

    # Reading the source

    async def _read_all(self, send: MemoryObjectSendStream[Group]) -> None:
        loop = asyncio.get_running_loop()

        def work(connection: Connection) -> list[Problem]:
            walk = Walk(connection)
            for group in walk:
                try:
                    _wait(loop, send.send(group))
                except BrokenResourceError:
                    group.close()
                    return []
                except BaseException:
                    group.close()
                    raise
            return walk.problems()

        with send:
            self._problems += await self._source.read(work, snapshot=True)

    # Writing to the target

    async def _write_all(self, receive: MemoryObjectReceiveStream[Group]) -> None:
        async for group in receive:
            try:
                if group.kind == "sessions":
                    await self._take_sessions(group.rows)
                elif group.kind == "usage":
                    await self._take_usage(group.rows)
                else:
                    await self._take_imports(group.rows)
            finally:
                group.close()
            if self._on_progress is not None:
                self._on_progress(group.done, group.total)

    async def _take_sessions(self, given: Sequence[SpooledRows]) -> None:
        names = [each.name for each in given]
        there = await self._target.read(partial(_digests, ids=names), snapshot=True)
        missing: list[SpooledRows] = []
        for each in given:
            sources = each.sources.values()
            bad = next((one for one in sources if one in self._left_out), None)
            if each.name in there:
                self._compare(each, there[each.name], "is there and differs")
            elif bad is not None:
                self._fail(each, f"its source {bad!r} was not copied")
            else:
                missing.append(each)
        written = await self._write(
            [
                CopySession(session_id=each.name, size_bytes=each.size_bytes, rows=each)
                for each in missing
            ]
        )
        names = [each.name for each, _ in written]
        there = await self._target.read(partial(_digests, ids=names), snapshot=True)
        for each, _ in written:
            self._confirm(each, there.get(each.name), "sessions")

    async def _take_usage(self, given: Sequence[SpooledRows]) -> None:
        if self._usage_there is None:
            found = await self._target.read(_usage_digests, snapshot=True)
            self._usage_there = found
        missing = []
        for each in given:
            if self._usage_there[each.digest]:
                self._usage_there[each.digest] -= 1
                self._added["skipped"] += 1
            else:
                missing.append(each)
        written = await self._write(
            [
                CopyUsage(session_id=each.name, size_bytes=each.size_bytes, rows=each)
                for each in missing
            ]
        )
        for each, key in written:
            read = partial(read_usage, key=key, is_kept=False)
            found_rows = await self._target.read(read, snapshot=True)
            self._confirm(each, found_rows.digest, "usage")

    async def _take_imports(self, given: Sequence[SpooledRows]) -> None:
        for each in given:
            read = partial(read_import, batch=each.name, is_kept=False)
            there = await self._target.read(read, snapshot=True)
            if there.counts:
                self._compare(each, there.digest, "the import is there and differs")
                continue
            command = CopyImport(
                session_id=each.name, size_bytes=each.size_bytes, rows=each
            )
            if await self._write([command]):
                there = await self._target.read(read, snapshot=True)
                self._confirm(each, there.digest, "imports")

    async def _write(
        self, commands: Sequence[Command[Any]]
    ) -> list[tuple[SpooledRows, Any]]:
        """Write rows; return those written with the commands' results.

        Rows that the target refuses are reported as problems.
        """
        outcomes = await asyncio.gather(
            *(self._target.write(each) for each in commands), return_exceptions=True
        )
        written = []
        for command, outcome in zip(commands, outcomes, strict=True):
            rows: SpooledRows = command.rows  # type: ignore[attr-defined]
            if isinstance(outcome, StoreError) and not _stops(outcome):
                self._fail(rows, str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                written.append((rows, outcome))
        return written

    def _compare(self, given: SpooledRows, digest: str, reason: str) -> None:
        if given.digest == digest:
            self._added["skipped"] += 1
        else:
            self._fail(given, reason)

    def _confirm(self, given: SpooledRows, digest: str | None, kind: str) -> None:
        if given.digest != digest:
            self._fail(given, "was written and differs, or was changed since")
            return
        self._added[kind] += 1
        self._rows.update(given.counts)

    def _fail(self, given: SpooledRows, reason: str) -> None:
        self._left_out.add(given.name)
        self._problems.append(Problem(file=given.name, reason=reason))


def _stops(error: StoreError) -> bool:
    """Whether an error would meet every other session too."""
    return is_fatal(error) or error.retryable or isinstance(error, StoreClosed)


def _wait(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
) -> None:
    """Wait for a coroutine inside a read: on SQLite from the reader's own thread, on
    PostgreSQL from the greenlet that the read runs in on the event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    else:
        await_only(coroutine)


def _digests(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    keys = find_keys(connection, ids)
    names = {key: name for name, key in keys.items()}
    found = read_rows(connection, names, is_kept=False)
    return {each.name: each.digest for each in found}


def _usage_digests(connection: Connection) -> Counter[str]:
    return Counter(
        read_usage(connection, key, is_kept=False).digest
        for keys in deleted_sessions(connection)
        for key in keys
    )
