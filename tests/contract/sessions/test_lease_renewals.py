"""``sessions.lease``: how a lease is kept while its block runs, or is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.contract.sessions.leasing import end_of, pass_time, token_of, write
from tests.support.clock import Clock
from tests.support.patience import until
from turnstore import LeaseLost, Session, SessionStore

# Renewed


async def test_a_lease_is_renewed_in_its_block(
    store: SessionStore, session: Session, clock: Clock
) -> None:
    async with store.sessions.lease("s", ttl_s=3_000) as lease:
        first = await end_of(store)
        await pass_time(store, seconds=2_000)
        clock.advance(1_001)

        async def is_renewed() -> bool:
            return await end_of(store) > first - timedelta(seconds=1_000)

        await until(is_renewed)
        clock.advance(2_500)  # more than was left before
        assert lease.lost is False
        await write(store, lease)


async def test_many_leases_are_renewed_by_one_command(
    store: SessionStore, clock: Clock
) -> None:
    count = 300
    names = [f"s{n}" for n in range(count)]
    await asyncio.gather(*(store.sessions.create(id=name) for name in names))
    leases = [store.sessions.lease(name, ttl_s=3_000) for name in names]
    await asyncio.gather(*(each.__aenter__() for each in leases))
    tasks = len(asyncio.all_tasks())
    before = (await store.statistics()).commands
    clock.advance(1_001)

    async def is_renewed() -> bool:
        return (await store.statistics()).commands > before

    await until(is_renewed)
    assert (await store.statistics()).commands == before + 1
    await until(lambda: len(asyncio.all_tasks()) <= tasks)  # it has its answer
    clock.advance(2_500)
    assert not any(each.lost for each in leases)
    await asyncio.gather(*(each.__aexit__(None, None, None) for each in leases))


async def test_a_renewal_does_not_bring_back_what_has_expired(
    store: SessionStore, session: Session, clock: Clock
) -> None:
    async with store.sessions.lease("s", ttl_s=3_000) as lease:
        await pass_time(store, seconds=3_001)
        assert lease.lost is False
        clock.advance(1_001)
        await until(lambda: lease.lost)
        with pytest.raises(LeaseLost):
            await write(store, lease)
    await token_of(store)


async def test_a_lease_that_was_not_renewed_in_time_is_lost_for_good(
    store: SessionStore, session: Session, clock: Clock
) -> None:
    """As in a process that was stopped, or whose event loop was blocked."""
    async with store.sessions.lease("s", ttl_s=3_000) as lease:
        clock.advance(3_001)
        assert lease.lost is True
        for _ in range(20):
            await store.events.append("s", "e")
        assert lease.lost is True
        await pass_time(store, seconds=3_001)  # no renewal is sent any more
        with pytest.raises(LeaseLost):
            await write(store, lease)


# The clock is moved


async def test_a_clock_put_back_makes_nobody_wait_for_long(
    store: SessionStore, session: Session
) -> None:
    """The holder keeps it until somebody takes it; nobody waits beyond twice the time
    to live."""
    async with store.sessions.lease("s", ttl_s=3_000) as lease:
        await pass_time(store, seconds=-2_900)
        await end_of(store)
        await pass_time(store, days=-2)
        await write(store, lease)
        assert await token_of(store) > lease.token
        with pytest.raises(LeaseLost):
            await write(store, lease)
