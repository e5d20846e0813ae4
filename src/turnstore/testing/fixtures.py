"""What the tests are given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from turnstore import Session, SessionStore, StoreOptions

OpenStore: TypeAlias = Callable[..., Awaitable[SessionStore]]
"""``await open_store(**options)`` opens a store, another one with each call."""


@asynccontextmanager
async def opening(url: str | Path, **defaults: object) -> AsyncIterator[OpenStore]:
    """Give a function that opens stores on one database, and close them at the end.

    :param defaults: options of each store, unless a test asks for others.
    """
    async with AsyncExitStack() as stack:

        async def open_store(**options: object) -> SessionStore:
            chosen = StoreOptions(**{**defaults, **options})  # type: ignore[arg-type]
            return await stack.enter_async_context(SessionStore(url, chosen))

        yield open_store


class Fixtures:
    """Base of all chapters: a backend's class gives ``open_store``."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def open_store(self) -> AsyncIterator[OpenStore]:
        """Open stores on a database that is new for each test."""
        raise NotImplementedError("a subclass says how to open a store")
        yield

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> SessionStore:
        """A store on a new database."""
        return await open_store()

    @pytest.fixture
    async def session(self, store: SessionStore) -> Session:
        """A session without anything in it."""
        return await store.sessions.create(id="s")
