"""Leases between transactions that overlap."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.patience import until
from tests.support.postgres.standby import connected
from turnstore import LeaseHeld, SessionStore

pytestmark = pytest.mark.anyio

LAPSE = "UPDATE session_leases SET expires_at = 1"
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.mark.parametrize("call", ["recover", "lease"])
async def test_a_renewal_under_way_is_waited_for(
    store: SessionStore, database: str, call: str
) -> None:
    """A lease that looks expired is held, if a renewal of before commits now."""
    await store.sessions.create(id="s", status="running")

    async def take() -> None:
        async with store.sessions.lease("s"):
            pytest.fail("two holders")

    async with (
        store.sessions.lease("s", ttl_s=86_400) as lease,
        connected(database) as other,
        connected(database) as watching,
    ):
        [end] = await other.fetchrow("SELECT expires_at FROM session_leases")
        await other.execute(LAPSE)
        async with other.transaction():
            await other.execute("UPDATE session_leases SET expires_at = $1", end)
            task: asyncio.Task[object] = asyncio.create_task(
                store.admin.recover() if call == "recover" else take()
            )
            await until(lambda: watching.fetchval(WAITS))
        if call == "recover":
            report = await store.admin.recover()
            assert await task == report
            assert report.sessions == []
        else:
            with pytest.raises(LeaseHeld):
                await task
        async with store.turn("s", lease=lease) as turn:
            turn.event("e")
    assert await store.events.head("s") == 1
