"""Random histories: several followers of two stores on one file, against the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.support.patience import patient
from tests.support.watching import SOON_S
from turnstore import Event, NewEvent, SessionStore
from turnstore.store.events.following.follower import Follower
from turnstore.store.events.writes import AppendEvents
from turnstore.store.turns.command import Turn

pytestmark = pytest.mark.anyio

SESSIONS = ["a", "b", "c"]
STEPS = 250
DONE = "done"


class Reader:
    """Reads a follower, in part, and is cancelled at any turn of the loop."""

    def __init__(self, follower: Follower, after: dict[str, int]) -> None:
        self.follower = follower
        self.after = after
        self.found: list[Event] = []
        self.reading: asyncio.Task[None] | None = None

    async def step(self, rng: Random) -> None:
        if self.reading is None:
            self.reading = asyncio.create_task(self.read(rng.randint(1, 30)))
            return
        if rng.random() < 0.5:
            self.reading.cancel()
        if self.reading.cancelling() or self.reading.done():
            await asyncio.wait([self.reading])
            self.reading = None

    async def read(self, count: int) -> None:
        while count:
            self.found.append(await anext(self.follower))
            count -= 1

    async def finish(self) -> None:
        """Read until each session has said that it is done."""
        if self.reading is not None:
            await asyncio.wait([self.reading])
        left = set(self.after) - {
            event.session_id for event in self.found if event.type == DONE
        }
        while left:
            self.found.append(await anext(self.follower))
            if self.found[-1].type == DONE:
                left.discard(self.found[-1].session_id)


async def write(rng: Random, store: SessionStore) -> None:
    name = rng.choice(SESSIONS)
    data = rng.random()
    new = [NewEvent(type="t", data=[data, at]) for at in range(rng.randint(1, 4))]
    rows = [("t", f"{data}", None, None, None)]
    match rng.randrange(12):
        case 0:
            await store.events.append(name, "t", idempotency_key=f"{int(data * 5)}")
        case 1:
            await store.events.delete_before(name, int(data * 40))
        case 2:
            others = [AppendEvents(each, 0, rows) for each in SESSIONS]
            await store._backend.write(Turn(name, 0, [*others, others[0]]))
        case 3:
            await store.events.append_many(name, new * 400)
        case 4:
            await store.messages.append(name, "user", "hello")
        case _:
            await store.events.append_many(name, new)


def checked(reader: Reader, log: dict[str, list[Event]]) -> None:
    """Each event once, in order, as it was written, none left out that is there."""
    for name, after in reader.after.items():
        found = [event for event in reader.found if event.session_id == name]
        seqs = [event.seq for event in found]
        assert seqs == sorted(set(seqs))
        assert not seqs or seqs[0] > after
        there = [event for event in log[name] if event.seq > after]
        first = there[0].seq
        assert [event for event in found if event.seq >= first] == there


@pytest.mark.parametrize("round", range(3))
async def test_each_event_once_and_in_order(
    store_path: Path, rng: Random, round: int
) -> None:
    options = patient(poll_interval_s=SOON_S)
    async with (
        SessionStore(store_path, options) as first,
        SessionStore(store_path, options) as second,
    ):
        for name in SESSIONS:
            await first.sessions.create(id=name)
        readers: list[Reader] = []
        writes: list[asyncio.Task[None]] = []
        for _ in range(STEPS):
            store = rng.choice([first, second])
            kind = rng.random()
            if kind < 0.05 and len(readers) < 8:
                heads = {each: await store.events.head(each) for each in SESSIONS}
                after = {each: rng.choice([0, 0, heads[each]]) for each in SESSIONS}
                names = rng.choice([None, SESSIONS, SESSIONS[:1]])
                follower = store.events.follow_all(names, after=after)
                followed = SESSIONS if names is None else names
                readers.append(
                    Reader(follower, {each: after[each] for each in followed})
                )
            elif kind < 0.5:
                writes.append(asyncio.create_task(write(rng, store)))
            elif readers:
                await rng.choice(readers).step(rng)
            for _ in range(rng.choice([0, 0, 1, 5, 20])):
                await asyncio.sleep(0)
        await asyncio.gather(*writes)
        for name in SESSIONS:
            await first.events.append_many(name, [NewEvent(type="t")] * 10)
            await second.events.append(name, DONE)
        await asyncio.gather(*(each.finish() for each in readers))
        log = {name: await first.events.list(name) for name in SESSIONS}
        assert readers
        for reader in readers:
            checked(reader, log)
