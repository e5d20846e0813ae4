"""A SQLite connection with the thread that owns it.

The one place that touches the inside of aiosqlite: its connection runs a thread that
takes functions from a queue and answers through futures. Here whole units of work go
into that queue, so that an operation costs one round trip however many statements it
has, and a synchronous SQLAlchemy connection is bound to the same sqlite3 connection.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from threading import Thread
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiosqlite
from sqlalchemy import Connection, Engine, StaticPool, create_engine

from turnstore.engine.sqlite.library import library
from turnstore.errors import BackendError, StoreError

T = TypeVar("T")

Done = Callable[[Any, BaseException | None], None]
"""Called with a result or an error."""

STATEMENTS_CACHED: Final = 256
AIOSQLITE_KNOWN: Final = "aiosqlite>=0.19,<0.23"
"""The releases whose inside is known, as the package's dependency says."""


class SqliteThread:
    """One connection. Its functions run one after another, in the order given.

    :param address: a SQLite URI.
    :param pragmas: set in this order on connecting, then read back.
    :raises StoreError: the inside of this aiosqlite is not the known one.
    """

    def __init__(self, address: str, pragmas: Mapping[str, int | str]) -> None:
        # aiosqlite only ever closes what it holds as its connection. The real one is
        # opened as the first work, so that every release ends a failed one alike.
        held: Any = SimpleNamespace(close=self._close)
        self._aiosqlite = aiosqlite.Connection(lambda: held, iter_chunk_size=64)
        self._queue, thread = _inside(self._aiosqlite)
        # A store that is never closed must not keep the process alive.
        thread.daemon = True
        self._address = address
        self._pragmas = dict(pragmas)
        self._driver: Any = None
        self._engine: Engine | None = None
        self._bound: Connection | None = None
        self.is_suspect = False
        """Whether it may have got wrong pages: it is replaced before it is used next.
        For use on this thread only."""

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection. For use on this thread only."""
        assert self._bound is not None, "not connected"
        return self._bound

    @property
    def driver(self) -> Any:
        """The driver's connection. For use on this thread only."""
        assert self._driver is not None, "not connected"
        return self._driver

    @property
    def is_connected(self) -> bool:
        return self._driver is not None

    async def connect(self) -> None:
        """Start the thread and connect on it. A failure ends the thread first."""
        await self._aiosqlite
        try:
            await self.submit(self._open)
        except BaseException:
            await self._aiosqlite.close()
            raise

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``work`` on the thread. Cancelling the future does not stop it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((future, _Once(work)))
        return future

    def call(self, work: Callable[[], T], done: Done) -> None:
        """Run ``work`` on the thread and then ``done`` on the loop.

        A future's callbacks run one turn of the loop later than this, and in a busy
        process a turn takes milliseconds.
        """
        answer = _Answer(asyncio.get_running_loop(), done)
        self._queue.put_nowait((answer, _Once(work)))

    def interrupt(self) -> None:
        """Stop the statement that is running, from any thread."""
        driver = self._driver
        if driver is not None:
            driver.interrupt()

    def keep_for_ever(self) -> None:
        """Keep the driver's connection from ever being finalized in this process."""
        if self._driver is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._driver))

    async def close(self, timeout_s: float = 30.0) -> None:
        """Disconnect once the functions given so far have run.

        Those that run longer than ``timeout_s`` are interrupted.
        """
        if self._driver is None:
            return
        have_run = self.submit(lambda: None)
        done, _ = await asyncio.wait([have_run], timeout=timeout_s)
        if not done:
            self.interrupt()
        await self._aiosqlite.close()

    def end(self) -> None:
        """Disconnect and end the thread, without waiting; from any thread."""
        # Or its finalizer would warn of what the store has warned of.
        self._aiosqlite._connection = None
        self._queue.put_nowait((_NOBODY, self._close))
        self._queue.put_nowait(_End())

    def _open(self) -> None:
        module = library().module
        driver = module.connect(
            self._address,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
            timeout=0,
        )
        try:
            for name, value in self._pragmas.items():
                set_pragma(driver, name, value)
            engine = create_engine(
                "sqlite://",
                module=module,
                creator=lambda: driver,
                poolclass=StaticPool,
                hide_parameters=True,
            )
            bound = engine.connect()
        except BaseException:
            driver.close()
            raise
        self._driver, self._engine, self._bound = driver, engine, bound

    def reopen(self) -> None:
        """Replace the connection, on its thread: after an I/O error SQLite's view of
        the file can't be trusted. Where it fails, the old one is as it was."""
        old = (self._bound, self._engine, self._driver)
        self._open()
        self.is_suspect = False
        _dispose(*old)

    def set_pragma(self, name: str, value: int | str) -> None:
        """Set a pragma for this connection and for those that replace it."""
        set_pragma(self.driver, name, value)
        self._pragmas[name] = value

    def _close(self) -> None:
        try:
            _dispose(self._bound, self._engine, self._driver)
        finally:
            self._driver = self._engine = self._bound = None


def _inside(connection: aiosqlite.Connection) -> tuple[Any, Thread]:
    """Return the queue and the thread of a connection, which aiosqlite keeps private.

    :raises StoreError: there is no such queue or thread in this release.
    """
    queue: Any = getattr(connection, "_tx", None)
    # Before 0.22 the connection is itself the thread.
    thread: Any = getattr(connection, "_thread", connection)
    for name, is_there in (
        ("queue, Connection._tx", hasattr(queue, "put_nowait")),
        ("thread, Connection._thread", isinstance(thread, Thread)),
    ):
        if not is_there:
            raise StoreError(
                f"aiosqlite {version('aiosqlite')} lacks the {name}, that a SQLite "
                f"store runs on: pip install '{AIOSQLITE_KNOWN}'"
            )
    return queue, thread


class _Once:
    """A function to be called once. While aiosqlite's thread waits it still holds what
    it ran last, and that must not keep alive a store that nobody else holds."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work: Callable[[], Any] | None = work

    def __call__(self) -> Any:
        work, self._work = self._work, None
        assert work is not None
        return work()


class _Answer:
    """What aiosqlite's thread uses of a future, to call a function directly. It is let
    go of as in ``_Once``."""

    __slots__ = ("_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._loop = loop
        self._done: Done | None = done

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return False

    def set_result(self, result: Any) -> None:
        self._tell(result, None)

    def set_exception(self, error: BaseException) -> None:
        self._tell(None, error)

    def _tell(self, result: Any, error: BaseException | None) -> None:
        done, self._done = self._done, None
        assert done is not None
        done(result, error)


class _Nobody:
    """What aiosqlite's thread answers when nobody waits."""

    def get_loop(self) -> _Nobody:
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        pass


_NOBODY: Final = _Nobody()


class _End:
    """Ends aiosqlite's thread, of any release, as it unpacks what it has taken: a
    thread that raises SystemExit ends silently."""

    def __iter__(self) -> Iterator[Any]:
        raise SystemExit


def _dispose(bound: Connection | None, engine: Engine | None, driver: Any) -> None:
    if bound is not None and engine is not None:
        bound.close()
        engine.dispose()
        driver.close()


def set_pragma(driver: Any, name: str, value: int | str) -> None:
    """Set a pragma and read back that it took effect: SQLite ignores what it does
    not know or can't do."""
    driver.execute(f"PRAGMA {name} = {value}")
    row = driver.execute(f"PRAGMA {name}").fetchone()
    actual = None if row is None else row[0]
    if str(actual).lower() != str(value).lower():
        raise BackendError(f"PRAGMA {name} is {actual!r}, could not be set to {value}")


def data_version(thread: SqliteThread) -> tuple[int, int]:
    """Return what differs once another connection has committed, or since this one
    was replaced."""
    version = thread.driver.execute("PRAGMA data_version").fetchone()[0]
    return id(thread.driver), version
