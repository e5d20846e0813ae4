"""A TCP proxy between store and server, which cuts, delays and swallows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

COMMIT = b"COMMIT\x00"

Pair = tuple[asyncio.StreamWriter, asyncio.StreamWriter]
"""To the store and to the server."""


class Proxy:
    """Passes bytes on between its own port and the server's.

    ``cut_at``: the connection that sends this to the server is cut. ``has_sent``: only
    after the server has got it and answered, or ``may_cut`` is set, else before.
    ``cuts``: how many times. ``is_silent``: nothing is passed on in either direction,
    and nothing is closed; ``silent_at``: so from when this is sent. ``refuses``:
    connections are closed as they come.

    ``met``: how many connections have come. ``swallowed``: how many times a silent
    proxy was sent something by a store.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.port = 0
        self.cut_at = COMMIT
        self.has_sent = False
        self.cuts = 0
        self.is_silent = False
        self.silent_at: bytes | None = None
        self.refuses = False
        self.may_cut = asyncio.Event()
        self.met = 0
        self.swallowed = 0
        self._listener: asyncio.Server | None = None
        self._pairs: set[Pair] = set()
        self._unheard: Pair | None = None  # whose answer is waited for
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        for pair in list(self._pairs):
            self._cut(pair)

    def _cut(self, pair: Pair) -> None:
        for writer in pair:
            writer.transport.abort()
        self._pairs.discard(pair)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.met += 1
        try:
            if self.refuses:
                writer.transport.abort()
                return
            theirs, to_server = await asyncio.open_connection(
                "127.0.0.1", self._server_port
            )
            pair = (writer, to_server)
            self._pairs.add(pair)
            try:
                await asyncio.gather(
                    self._pass_up(reader, pair), self._pass_down(theirs, pair)
                )
            finally:
                self._cut(pair)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)

    async def _pass_up(self, reader: asyncio.StreamReader, pair: Pair) -> None:
        while data := await reader.read(65_536):
            if self.cuts and self.cut_at in data:
                self.cuts -= 1
                if self.has_sent:
                    pair[0].transport.abort()  # the answer will reach nobody
                    self._unheard = pair
                    self.may_cut.clear()
                    pair[1].write(data)
                    await pair[1].drain()
                    await self.may_cut.wait()
                self._cut(pair)
                return
            if self.silent_at is not None and self.silent_at in data:
                self.is_silent = True
            if self.is_silent:
                self.swallowed += 1
            else:
                pair[1].write(data)
                await pair[1].drain()
        self._cut(pair)

    async def _pass_down(self, reader: asyncio.StreamReader, pair: Pair) -> None:
        while data := await reader.read(65_536):
            if pair is self._unheard:
                break
            if not self.is_silent and not pair[0].transport.is_closing():
                pair[0].write(data)
                await pair[0].drain()
        if pair is self._unheard:
            self.may_cut.set()
        self._cut(pair)


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
