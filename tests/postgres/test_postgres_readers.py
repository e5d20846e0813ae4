"""Reads: none is lost to an error of its own."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from tests.support.postgres.posting import opened, works
from turnstore import InvalidArgument

pytestmark = pytest.mark.anyio


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
