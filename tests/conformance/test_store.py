"""The public conformance suite, run on a file and on a store in memory.

Making a schema takes longer than a test, so it is made once for each of the two. How a
new file gets its schema is for ``tests/migrations`` and ``tests/backends``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Connection, event

from turnstore import SessionStore, migrations
from turnstore.testing import (
    OpenStore,
    SharedStoreConformance,
    StoreConformance,
    opening,
)

Upgrade: TypeAlias = Callable[[Connection], None]


class TestSqliteFile(SharedStoreConformance):
    @pytest.fixture
    async def open_store(
        self, tmp_path: Path, empty_file: bytes
    ) -> AsyncIterator[OpenStore]:
        path = tmp_path / "store.db"
        with path.open("xb") as file:
            file.write(empty_file)
        async with opening(path) as open_store:
            yield open_store


class TestSqliteInMemory(StoreConformance):
    @pytest.fixture
    async def open_store(self, upgrade_once: None) -> AsyncIterator[OpenStore]:
        async with opening("sqlite://") as open_store:
            yield open_store


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store without anything in it."""
    path = tmp_path_factory.mktemp("empty") / "empty.sqlite"

    async def make() -> None:
        async with SessionStore(path):
            pass

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture(scope="module")
def upgrade_once() -> Iterator[None]:
    """Only the first store is upgraded; the others get the statements of that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "_upgrade", remembering(migrations._upgrade))
        yield


def remembering(upgrade: Upgrade) -> Upgrade:
    statements: list[tuple[str, Any]] = []

    def note(
        connection: Connection, cursor: object, statement: str, values: Any, *_: object
    ) -> None:
        statements.append((statement, values))

    def upgrade_once(connection: Connection) -> None:
        if statements:
            for statement, values in statements:
                connection.exec_driver_sql(statement, values)
            return
        event.listen(connection, "before_cursor_execute", note)
        try:
            upgrade(connection)
        finally:
            event.remove(connection, "before_cursor_execute", note)

    return upgrade_once
