"""``SessionStore``: opens a backend and hands out the rooms."""

from __future__ import annotations

import asyncio
import warnings
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from turnstore.engine.backend import Backend
from turnstore.engine.cancellation import run_to_completion
from turnstore.engine.loops import running_loop
from turnstore.engine.urls import backend_of
from turnstore.errors import InvalidArgument, StoreClosed, StoreError
from turnstore.options import StoreOptions
from turnstore.records import StoreStatistics
from turnstore.sql import migrations
from turnstore.sql.objects import check_objects
from turnstore.store.admin import Admin
from turnstore.store.archive import Archive
from turnstore.store.events import Events
from turnstore.store.events.following.followers import Followers
from turnstore.store.heads import lock_heads
from turnstore.store.messages import Messages
from turnstore.store.metadata import Metadata
from turnstore.store.sessions import Sessions
from turnstore.store.sessions.leases.lease import Lease
from turnstore.store.sessions.leases.renewals import Renewals
from turnstore.store.todos import Todos
from turnstore.store.tool_calls import ToolCalls
from turnstore.store.turns import OpenTurn
from turnstore.store.usage import UsageLedger
from turnstore.store.user_input.questions import Questions
from turnstore.store.user_input.settings import Settings
from turnstore.values import is_a, type_name


class SessionStore:
    """Keeps sessions, messages, tool calls and events in one database.

    :param url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite://``
        (private, in memory), a ``Path``, or ``postgresql://user@host/database``.
        None: ``~/.turnstore/sessions.db``.
    :param options: bounds, timeouts, durability.
    :raises InvalidArgument: no such URL, the extra that it needs is missing, or
        ``read_url`` is given with SQLite.

    Making the object does no I/O. Use it as ``async with``, or ``await store.open()``
    and ``await store.close()``. It belongs to the asyncio loop that opened it, and does
    not survive ``os.fork``.

    What holds for every call of its rooms, beside what the call's docstring says:

    - **A write** is one transaction. It returns once that is committed; what it then
      survives, ``StoreOptions.durability`` says. Concurrent writes share a commit, and
      one that fails fails alone. Those of one session are committed in the order in
      which they were called, also when gathered.
    - **A read** sees all of a write or nothing of it, and every write of this store
      that returned before it was called. It holds nothing once it has returned.
    - **Cancellation.** A write that raises it wrote nothing. Once its commit is under
      way it returns its result instead, and the cancellation comes at the caller's
      next await. A read is abandoned. No connection is lost to either.
    - **Errors.** Where a call raises, nothing was written, except as
      ``OutcomeUnknown`` says. Beside its own errors any may raise ``StoreClosed``,
      ``StoreError`` on another event loop, and ``BackendError``; a write
      ``QueueFull``, a read ``AcquireTimeout``.
    - **Values.** Ids and keys are text of 1 to 255 characters without NUL. Names (of
      agents, providers, models, tools and the like), ``call_id``, ``turn_id`` and a
      message's ``tool_call_id`` may have any length, also 0, without NUL. JSON comes
      back equal to what was given. A lone surrogate (half of an emoji that was cut) is
      kept in JSON and in a tool call's ``output`` and ``error``; in any other text it
      is ``InvalidArgument``. Two surrogates that make a pair come back as the
      character. Times are given timezone-aware, and come back in
      UTC to the microsecond. On PostgreSQL a text that an index holds (agent name,
      project root, provider, model, metadata, ``call_id``) may have about 2,600 bytes,
      more where it compresses; a longer one is ``InvalidArgument``, and so is there a
      read whose answer would have 1 GB: read less at a time.
    """

    def __init__(
        self,
        url: str | Path | None = None,
        options: StoreOptions = StoreOptions(),  # noqa: B008 - immutable
    ) -> None:
        if not is_a(options, StoreOptions):
            raise InvalidArgument(
                f"options must be StoreOptions, got {type_name(options)}"
            )
        self.options = options
        self._backend = backend_of(url, options, lock_heads)
        self._state = "new"
        self._has_opened = asyncio.Event()
        self._has_opened.set()  # nothing to wait for yet
        self._renewals = Renewals(self._backend)
        self.sessions = Sessions(self._backend, options, self._renewals)
        self.messages = Messages(self._backend, options)
        self.tool_calls = ToolCalls(self._backend, options)
        self._followers = Followers(self._backend, options)
        self.events = Events(self._backend, options, self._followers)
        self.usage = UsageLedger(self._backend, options)
        self.metadata = Metadata(self._backend, options)
        self.todos = Todos(self._backend, options)
        self.questions = Questions(self._backend, options)
        self.settings = Settings(self._backend, options)
        self.archive = Archive(self._backend, options)
        self.admin = Admin(self._backend, options)

    @property
    def engine(self) -> Backend:
        """What runs reads and commands on the store's connections.

        Internal API, for turnstore's own packages: it changes without notice.
        """
        return self._backend

    async def open(self) -> None:
        """Connect, and bring the schema up to date or check it, as ``migrate`` says.

        On SQLite a missing file is made. Of several processes that open one database
        at once, one upgrades it. A failed or cancelled open leaves no connection,
        thread or half an upgrade, but perhaps the new file; the store can't be opened
        again then.

        :raises BackendUnavailable, DatabaseBusy, DatabaseCorrupt, DiskFull,
            ReadOnlyStore: the database can't be used.
        :raises InvalidArgument: the file is another program's.
        :raises SchemaTooOld, SchemaTooNew: the text says what to run.
        :raises StoreError: no asyncio loop is running, it was opened before, or, on
            SQLite, this process was forked while a store was open.
        :raises StoreClosed: it was closed, perhaps meanwhile.
        """
        self._backend.check_process()
        running_loop()
        if self._state == "closed":
            raise StoreClosed("a closed store can't be opened again: make another one")
        if self._state != "new":
            raise StoreError("a store can be opened once: make another one")
        self._state = "opening"
        self._has_opened.clear()
        try:
            prepare = partial(self._prepare, options=self.options)
            await self._backend.open(prepare, self._is_ready)
            if self._state == "closed":
                await self._backend.close()
                raise StoreClosed("the store was closed while it was opened")
        finally:
            self._has_opened.set()
        self._state = "open"

    async def close(self) -> None:
        """Commit what is queued, within ``close_timeout_s``, and disconnect.

        Writes that still wait then get ``StoreClosed``, and so do reads that wait and
        every later call; a batch under way is interrupted and fails, unless it was
        committed. Running reads have as long. Followers give what they have in memory
        and end; a backup is broken off; leases that are still held expire.

        A cancellation does not stop it, and is raised when it is done. A second call
        only waits for the first, and one while the store is opened for the end of that.
        """
        running_loop()
        self._state = "closed"
        try:
            await run_to_completion(self._disconnect())
        finally:
            self._followers.close()

    async def _disconnect(self) -> None:
        await self._has_opened.wait()
        await self._backend.close()
        await self._renewals.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def statistics(self) -> StoreStatistics:
        """Return counters since ``open``; costs no I/O on the database.

        :raises StoreClosed: the store is not open.
        """
        return self._backend.statistics()

    def turn(self, session_id: str, *, lease: Lease | None = None) -> OpenTurn:
        """Return a block that makes several writes one transaction.

        ``async with store.turn(session_id) as turn:`` collects ``turn.message``,
        ``turn.tool_call``, ``turn.update_tool_call``, ``turn.event``,
        ``turn.create_session`` and ``turn.update_session``, plain methods with the
        arguments of the rooms' methods, and commits them when the block ends: all or
        none. Then ``turn.results`` lists what each gave. See ``OpenTurn``.

        :param lease: of the session, held by its block: the end of the turn's block
            raises ``LeaseLost``, and writes nothing, if it is not held any more in the
            transaction that writes. A lease of another store on the same database is
            one too. Cost: one read by key.
        :raises InvalidArgument: the id can't be one, or the lease is of another
            session.
        :raises StoreError: the lease's block was not entered.
        """
        return OpenTurn(self._backend, self.options, session_id, lease)

    def __del__(self) -> None:
        if getattr(self, "_state", "new") == "open":
            warnings.warn(f"unclosed {self!r}", ResourceWarning, 2, source=self)

    @staticmethod
    def _prepare(connection: Connection, options: StoreOptions) -> None:
        mode = options.migrate
        if mode is None:
            mode = "auto" if connection.dialect.name == "sqlite" else "check"
        migrations.prepare(connection, "check" if options.read_only else mode)
        check_objects(connection)

    @staticmethod
    def _is_ready(connection: Connection) -> bool:
        if not migrations.is_current(connection):
            return False
        check_objects(connection)
        return True
