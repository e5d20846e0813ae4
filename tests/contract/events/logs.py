"""Events with a number as data, and what is read of them."""

from __future__ import annotations

from typing import Any

from turnstore import NewEvent, SessionStore


async def fill(store: SessionStore, count: int) -> None:
    """Append events with the numbers from 1 as data, of types t0, t1 and t2 in turn."""
    new = [NewEvent(type=f"t{n % 3}", data=n) for n in range(1, count + 1)]
    assert len(await store.events.append_many("s", new)) == count


async def data(store: SessionStore, **where: Any) -> list[Any]:
    return [each.data for each in await store.events.list("s", **where)]
