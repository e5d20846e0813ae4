"""``sessions.lease``: one holder at a time, and turns that only the holder writes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.sessions.leasing import DAY_S, end_of, pass_time, token_of, write
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Lease,
    LeaseHeld,
    LeaseLost,
    ReadOnlyStore,
    Session,
    SessionNotFound,
    SessionStore,
    StoreError,
)

# One holder


async def test_a_second_holder_is_refused(
    store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s", ttl_s=DAY_S, owner="first"):
        began = datetime.now(UTC)
        with pytest.raises(LeaseHeld) as raised:
            async with store.sessions.lease("s", owner="second"):
                pytest.fail("two holders")
    assert (raised.value.session_id, raised.value.owner) == ("s", "first")
    left = raised.value.expires_at - began
    assert timedelta(hours=23) < left <= timedelta(hours=24, minutes=1)
    assert await store.sessions.get("s") == session


async def test_of_many_at_once_one_gets_it(
    store: SessionStore, session: Session
) -> None:
    leases = [store.sessions.lease("s", ttl_s=DAY_S) for _ in range(20)]
    outcomes = await asyncio.gather(
        *(each.__aenter__() for each in leases), return_exceptions=True
    )
    [held] = [each for each in outcomes if isinstance(each, Lease)]
    refused = [each for each in outcomes if isinstance(each, LeaseHeld)]
    assert len(refused) == 19
    assert {each.owner for each in refused} == {held.owner}
    await held.__aexit__(None, None, None)


async def test_each_holder_has_a_greater_token(
    store: SessionStore, session: Session
) -> None:
    tokens = [await token_of(store) for _ in range(5)]
    assert tokens == sorted(set(tokens))


async def test_tokens_are_not_used_again_after_the_session_is_deleted(
    store: SessionStore, session: Session
) -> None:
    before = await token_of(store)
    await store.sessions.delete("s")
    await store.sessions.create(id="s")
    assert await token_of(store) > before


async def test_sessions_are_held_apart(store: SessionStore) -> None:
    for name in ("a", "b"):
        await store.sessions.create(id=name)
    async with store.sessions.lease("a") as one, store.sessions.lease("b") as other:
        assert one.token != other.token
        await asyncio.gather(write(store, one), write(store, other))


async def test_an_unknown_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await token_of(store, "gone")


async def test_the_owner_names_host_process_and_store(
    store: SessionStore, session: Session
) -> None:
    lease = store.sessions.lease("s")
    assert len(lease.owner.split()) == 3
    assert lease.owner == store.sessions.lease("s").owner
    assert lease.owner != SessionStore("sqlite://").sessions.lease("s").owner


@pytest.mark.parametrize("text", ["", "żółw 🐢", "x" * 5_000])
async def test_an_owner_is_any_text(
    store: SessionStore, session: Session, text: str
) -> None:
    async with store.sessions.lease("s", owner=text) as lease:
        assert lease.owner == text
        with pytest.raises(LeaseHeld) as raised:
            await token_of(store)
    assert raised.value.owner == text


@pytest.mark.parametrize(
    "given",
    [
        {"ttl_s": 0.999},
        {"ttl_s": 86_400.001},
        {"ttl_s": float("nan")},
        {"ttl_s": True},
        {"ttl_s": "30"},
        {"ttl_s": None},
        {"owner": 1},
        {"owner": "a\x00b"},
        {"owner": "\ud800"},
        {"id": ""},
        {"id": None},
    ],
)
async def test_what_is_no_lease(store: SessionStore, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        store.sessions.lease(**({"id": "s"} | given))


async def test_a_lease_is_one_block(store: SessionStore, session: Session) -> None:
    lease = store.sessions.lease("s")
    for each in ("token", "lost"):
        with pytest.raises(StoreError):
            getattr(lease, each)
    async with lease:
        with pytest.raises(StoreError):
            await lease.__aenter__()
        assert lease.lost is False
    with pytest.raises(StoreError):
        await lease.__aenter__()
    assert lease.lost is True


# Released


async def test_an_error_releases(store: SessionStore, session: Session) -> None:
    with pytest.raises(KeyError):
        async with store.sessions.lease("s", ttl_s=DAY_S):
            raise KeyError
    await token_of(store)


async def test_a_cancellation_releases(store: SessionStore, session: Session) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        async with store.sessions.lease("s", ttl_s=DAY_S):
            held.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await held.wait()
    task.cancel()
    # Once more while it is being released.
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    await token_of(store)


async def test_a_cancelled_entry_holds_nothing(
    store: SessionStore, session: Session
) -> None:
    """Whenever it comes: a lease that nobody has entered is not there."""
    for turns in range(12):
        task = asyncio.create_task(token_of(store))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await token_of(store)


async def test_a_closed_store_leaves_its_leases_to_expire(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    await first.sessions.create(id="s")
    async with first.sessions.lease("s", ttl_s=DAY_S) as lease:
        await first.close()
        assert lease.lost is True
    await end_of(second)
    await pass_time(second, days=2)
    assert await token_of(second) > lease.token


async def test_a_read_only_store_has_no_leases(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    reading = await open_shared(read_only=True)
    with pytest.raises(ReadOnlyStore):
        await token_of(reading)


# Lost


async def test_an_expired_lease_is_lost_though_nobody_took_it(
    store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s", ttl_s=DAY_S) as lease:
        await write(store, lease)
        await pass_time(store, days=2)
        before = await store.sessions.get("s")
        with pytest.raises(LeaseLost) as raised:
            await write(store, lease)
        assert (raised.value.session_id, raised.value.token) == ("s", lease.token)
        assert (raised.value.owner, raised.value.expires_at) == (None, None)
        assert await store.sessions.get("s") == before


async def test_a_lease_that_another_took_over_is_lost(
    store: SessionStore, second_store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s", ttl_s=DAY_S) as old:
        await pass_time(store, days=2)
        async with second_store.sessions.lease("s", ttl_s=DAY_S, owner="new") as new:
            assert new.token > old.token
            with pytest.raises(LeaseLost) as raised:
                await write(store, old)
            assert (raised.value.owner, raised.value.token) == ("new", old.token)
            assert raised.value.expires_at == await end_of(store)
            # Leaving its block releases nothing of the other's.
            await old.__aexit__(None, None, None)
            assert new.lost is False
            await write(second_store, new)
    assert [each.data for each in await store.events.list("s")] == [new.token]


async def test_a_released_lease_is_lost(store: SessionStore, session: Session) -> None:
    async with store.sessions.lease("s") as lease:
        pass
    with pytest.raises(LeaseLost):
        await write(store, lease)
    assert await store.events.head("s") == 0


async def test_a_lease_of_a_deleted_session(
    store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s") as lease:
        await store.sessions.delete("s")
        with pytest.raises(SessionNotFound):
            await write(store, lease)
        await store.sessions.create(id="s")
        with pytest.raises(LeaseLost):
            await write(store, lease)
    assert await store.events.head("s") == 0


async def test_a_lost_lease_fails_its_turns_alone(store: SessionStore) -> None:
    for name in ("a", "b", "c"):
        await store.sessions.create(id=name)
    async with store.sessions.lease("a") as lost, store.sessions.lease("b") as held:
        await store.sessions.delete("a")
        await store.sessions.create(id="a")

        async def unfenced() -> None:
            async with store.turn("c") as turn:
                turn.event("e", 0)

        outcomes = await asyncio.gather(
            write(store, lost),
            write(store, held),
            unfenced(),
            write(store, lost),
            write(store, held),
            return_exceptions=True,
        )
    kinds = [type(each) for each in outcomes]
    none = type(None)
    assert kinds == [LeaseLost, none, none, LeaseLost, none]
    assert outcomes[0] is not outcomes[3]
    heads = [await store.events.head(name) for name in ("a", "b", "c")]
    assert heads == [0, 2, 1]


async def test_a_lost_lease_is_said_before_what_else_is_wrong(
    store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s") as lease:
        pass
    with pytest.raises(LeaseLost):
        async with store.turn("s", lease=lease) as turn:
            turn.event("e", expected_head=7)
    with pytest.raises(LeaseLost):
        async with store.turn("s", lease=lease):
            pass


async def test_a_fenced_turn_without_calls_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s") as lease, store.turn("s", lease=lease) as turn:
        pass
    assert turn.results == []
    assert await store.sessions.get("s") == session


async def test_a_lease_covers_the_whole_turn(store: SessionStore) -> None:
    for name in ("s", "other"):
        await store.sessions.create(id=name)
    async with store.sessions.lease("s") as lease:
        pass
    with pytest.raises(LeaseLost):
        async with store.turn("s", lease=lease) as turn:
            turn.event("e", session_id="other")
    assert await store.events.head("other") == 0


async def test_a_turn_takes_the_lease_of_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    async with store.sessions.lease("other") as lease:
        with pytest.raises(InvalidArgument):
            store.turn("s", lease=lease)
    wrong: Any = lease.token
    with pytest.raises(InvalidArgument):
        store.turn("s", lease=wrong)
    with pytest.raises(StoreError):
        store.turn("s", lease=store.sessions.lease("s"))


async def test_a_lease_is_good_for_turns_of_other_stores(
    store: SessionStore, second_store: SessionStore, session: Session
) -> None:
    async with store.sessions.lease("s") as lease:
        await write(second_store, lease)
    with pytest.raises(LeaseLost):
        await write(second_store, lease)


async def test_a_fork_is_not_held(store: SessionStore, session: Session) -> None:
    async with store.sessions.lease("s", ttl_s=DAY_S):
        await store.sessions.fork("s", new_id="fork")
        await token_of(store, "fork")
