"""Reads: sent at once where a connection is there, and none is lost to an error."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection

from tests.support.postgres.posting import opened, texts, works
from turnstore import InvalidArgument

pytestmark = pytest.mark.anyio


async def test_a_read_is_sent_before_what_is_ready_has_its_turn(database: str) -> None:
    seen: list[str] = []

    def work(connection: Connection) -> list[str]:
        seen.append("read")
        return texts(connection)

    async with opened(database) as backend:
        asyncio.get_running_loop().call_soon(seen.append, "ready before")
        assert await backend.read(work) == []
        assert seen == ["read", "ready before"]


async def test_the_first_of_a_new_connection_has_a_task_of_its_own(
    database: str,
) -> None:
    """As connecting takes a timeout, which would else be the caller's."""
    async with opened(database, readers=2) as backend:
        caller = asyncio.current_task()

        def work(connection: Connection) -> list[asyncio.Task[object] | None]:
            found = [asyncio.current_task()]
            texts(connection)
            return [*found, asyncio.current_task()]

        # One connection is there since opening.
        first, second = await asyncio.gather(backend.read(work), backend.read(work))
        assert first[0] is not first[1]
        assert second[0] is second[1]
        assert caller not in second


async def test_work_that_fails_before_it_reads_gives_its_place_back(
    database: str,
) -> None:
    def work(_: Connection) -> None:
        raise InvalidArgument("none of this")

    async with opened(database, readers=2) as backend:
        for _ in range(4):
            with pytest.raises(InvalidArgument, match="none of this"):
                await backend.read(work)
        await works(backend)
