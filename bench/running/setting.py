"""What every workload is given: where, how durable, how often; and what drives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, TypeVar

from bench.references.plain import PlainStore, sqlite_engine
from bench.references.raw_sqlite import Durability
from turnstore import SessionStore, StoreOptions

T = TypeVar("T")

BUSY_TASKS: Final = 200
BUSY_S: Final = 30e-6


class Setting:
    """Holds the event loop that every asynchronous side runs on.

    :param folder: for database files, which are removed again; its disk is measured.
        By default the system's folder for temporary files.
    :param rounds: samples of each side.
    :param quick: small counts, to see that everything runs.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        folder: Path | None = None,
        *,
        durability: Durability = "normal",
        rounds: int = 3,
        quick: bool = False,
    ) -> None:
        self._loop = runner.get_loop()
        self._folder = folder
        self._running: asyncio.Task[Any] | None = None
        self._is_interrupted = False
        self.durability = durability
        self.rounds = rounds
        self.quick = quick

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self._running = task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except (Exception, asyncio.CancelledError):
            # An interrupt also reaches the servers that this process has started.
            if self._is_interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            self._running = None

    def interrupt(self, *_: object) -> None:
        """Handle SIGINT: cancel what runs on the loop, so that it ends in order."""
        self._is_interrupted = True
        if self._running is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self._running.cancel)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder, and remove it with what was put there."""
        with TemporaryDirectory(prefix="turnstore-bench-", dir=self._folder) as name:
            yield Path(name)

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter and leave an asynchronous context on the event loop."""

        async def enter() -> T:
            return await manager.__aenter__()

        async def leave() -> None:
            await manager.__aexit__(None, None, None)

        entered = self.run(enter())
        try:
            yield entered
        finally:
            self.run(leave())

    def store(
        self, place: Path | str, durability: Durability | None = None
    ) -> AbstractContextManager[SessionStore]:
        """:param place: the file, or a URL."""
        options = StoreOptions(durability=durability or self.durability)
        return self.entered(SessionStore(place, options))

    def plain(
        self, path: Path, session_ids: list[str], durability: Durability | None = None
    ) -> AbstractContextManager[PlainStore]:
        engine = sqlite_engine(path, durability or self.durability)
        return self.entered(PlainStore(engine, session_ids))


async def drive(
    tasks: int, calls: int, call: Callable[[int], Awaitable[object]]
) -> float:
    """Have ``tasks`` tasks share ``calls`` calls, each awaiting one at a time.

    ``call`` gets the task's number. Returns calls per second.
    """
    left = iter(range(calls))

    async def caller(task: int) -> None:
        for _ in left:
            await call(task)

    began_s = perf_counter()
    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(caller(task))
    return calls / (perf_counter() - began_s)


async def latency_ms(calls: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return the mean milliseconds of calls made one after another."""
    began_s = perf_counter()
    for at in range(calls):
        await call(at)
    return (perf_counter() - began_s) * 1_000 / calls


@asynccontextmanager
async def busy_loop() -> AsyncIterator[None]:
    """Keep the event loop busy: 200 tasks, 30 µs of Python each per turn of it."""

    async def burn() -> None:
        while True:
            end_s = perf_counter() + BUSY_S
            while perf_counter() < end_s:
                pass
            await asyncio.sleep(0)

    burning = [asyncio.create_task(burn()) for _ in range(BUSY_TASKS)]
    try:
        await asyncio.sleep(0)  # a turn in which all of them start
        yield
    finally:
        for task in burning:
            task.cancel()
        await asyncio.gather(*burning, return_exceptions=True)


async def on_a_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run what blocks on a thread, and wait for its end even when interrupted: it uses
    a connection that its caller closes next."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    finally:
        await asyncio.wait([running])
