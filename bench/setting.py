"""What every workload is given: where, how durable, how often; and what drives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, TypeVar

from bench.floor import Durability
from bench.port import PlainPort, sqlite_engine
from turnstore import SessionStore, StoreOptions

T = TypeVar("T")

BUSY_TASKS: Final = 200
BUSY_S: Final = 30e-6


class Setting:
    """Holds the event loop that every asynchronous side runs on.

    :param folder: where database files are made and removed again, its disk counts;
        None: the system's folder for temporary files.
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
        self.durability = durability
        self.rounds = rounds
        self.quick = quick

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder, and remove it with what was put there."""
        with TemporaryDirectory(prefix="turnstore-bench-", dir=self._folder) as name:
            yield Path(name)

    @contextmanager
    def store(
        self, place: Path | str, durability: Durability | None = None
    ) -> Iterator[SessionStore]:
        """:param place: the file, or a URL."""
        options = StoreOptions(durability=durability or self.durability)
        store = SessionStore(place, options)
        self.run(store.open())
        try:
            yield store
        finally:
            self.run(store.close())

    @contextmanager
    def port(
        self, path: Path, session_ids: list[str], durability: Durability | None = None
    ) -> Iterator[PlainPort]:
        engine = sqlite_engine(path, durability or self.durability)
        port = PlainPort(engine, session_ids)
        self.run(port.__aenter__())
        try:
            yield port
        finally:
            self.run(port.__aexit__())


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
