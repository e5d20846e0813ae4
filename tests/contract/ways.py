"""A way to a store: the URL of an empty database, and options for the stores on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from turnstore import SessionStore, StoreOptions

OpenStore: TypeAlias = Callable[..., Awaitable[SessionStore]]
"""``await open_store(**options)`` opens a store, another one with each call."""


class Way(NamedTuple):
    url: str | Path
    options: dict[str, Any]

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[OpenStore]:
        """Give a function that opens stores, and close them at the end."""
        async with AsyncExitStack() as stack:

            async def open_store(**options: Any) -> SessionStore:
                chosen = StoreOptions(**(self.options | options))
                store = SessionStore(self.url, chosen)
                return await stack.enter_async_context(store)

            yield open_store
