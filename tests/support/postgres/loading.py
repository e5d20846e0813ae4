"""Load on a store whose connections and server go away, and the ledger of it."""

from __future__ import annotations

import asyncio

from tests.support.patience import until
from turnstore import OutcomeUnknown, SessionStore

SESSIONS = 6


class Load:
    """Appends to sessions of three kinds, one event after the other in each, and
    reads each session's head after each.

    Plain appends may have an unknown outcome; those with a key or an expected head
    never do.
    """

    def __init__(self, store: SessionStore) -> None:
        kinds = ("plain", "keyed", "headed")
        self.names = [f"{kind}{n}" for kind in kinds for n in range(SESSIONS)]
        self._events = store.events
        self._sessions = store.sessions
        self._acknowledged: dict[str, list[int]] = {each: [] for each in self.names}
        self._unknown: dict[str, set[int]] = {each: set() for each in self.names}
        self._is_over = False

    async def start(self, group: asyncio.TaskGroup) -> None:
        await asyncio.gather(*(self._sessions.create(id=each) for each in self.names))
        for each in self.names:
            group.create_task(self._write(each))

    async def goes_on(self) -> None:
        """Wait until each session has had two more events acknowledged.

        Of two, the second was begun after this was called.
        """
        goals = {name: len(had) + 2 for name, had in self._acknowledged.items()}
        await until(
            lambda: all(len(self._acknowledged[name]) >= n for name, n in goals.items())
        )

    def stop(self) -> None:
        self._is_over = True

    async def check(self) -> None:
        """Check that each acknowledged event is there once, and no other but what may
        be."""
        for name in self.names:
            acknowledged, unknown = self._acknowledged[name], self._unknown[name]
            found = [each async for each in self._events.stream(name)]
            data = [each.data for each in found]
            assert [each.seq for each in found] == list(range(1, len(found) + 1))
            assert len(data) == len(set(data))
            assert set(acknowledged) <= set(data)
            assert set(data) - set(acknowledged) <= unknown
            if not name.startswith("plain"):
                assert data == acknowledged == list(range(1, len(data) + 1))

    async def _write(self, name: str) -> None:
        n = 0
        while not self._is_over:
            n += 1
            try:
                seq = await self._append(name, n)
            except OutcomeUnknown:
                assert name.startswith("plain")
                self._unknown[name].add(n)
            else:
                assert name.startswith("plain") or seq == n
                self._acknowledged[name].append(n)
                assert await self._events.head(name) == seq

    async def _append(self, name: str, n: int) -> int:
        if name.startswith("keyed"):
            return await self._events.append(name, "t", n, idempotency_key=f"{n}")
        if name.startswith("headed"):
            return await self._events.append(name, "t", n, expected_head=n - 1)
        return await self._events.append(name, "t", n)
