"""Raw asyncpg: batches over one connection, without a store."""

from __future__ import annotations

import time
from typing import Any, Final, Self

from bench.data.rows import EVENT_JSON, EVENT_KIND


class RawAppends:
    """Writes a batch of rows and the upkeep of the heads, each as one statement over
    arrays, in one transaction."""

    def __init__(self, url: str, sessions: int) -> None:
        self._url = url
        self._batch = sessions
        self._connection: Any = None
        self._heads: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        import asyncpg

        self._connection = await asyncpg.connect(self._url)
        rows = await self._connection.fetch("SELECT session_key FROM session_heads")
        self._heads = {row["session_key"]: 0 for row in rows}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def append(self, batches: int) -> float:
        """Return events per second, one of each session in a transaction."""
        began_s = time.perf_counter()
        for _ in range(batches):
            now = time.time_ns() // 1_000
            heads = self._heads = {key: seq + 1 for key, seq in self._heads.items()}
            keys, seqs = list(heads), list(heads.values())
            count = len(keys)
            async with self._connection.transaction():
                await self._connection.execute(_LOCK_HEADS, keys)
                await self._connection.execute(
                    _INSERT_EVENTS,
                    keys,
                    seqs,
                    [EVENT_KIND] * count,
                    [EVENT_JSON] * count,
                    [now] * count,
                )
                await self._connection.execute(_UPDATE_HEADS, keys, seqs, now)
        return self._batch * batches / (time.perf_counter() - began_s)


_LOCK_HEADS: Final = (
    "SELECT event_head FROM session_heads WHERE session_key = ANY($1::bigint[]) "
    "ORDER BY session_key FOR UPDATE"
)
_INSERT_EVENTS: Final = (
    "INSERT INTO events (session_key, seq, type, data, created_at) "
    "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], "
    "$5::bigint[])"
)
_UPDATE_HEADS: Final = (
    "UPDATE session_heads SET updated_at = $3, event_head = new.seq "
    "FROM unnest($1::bigint[], $2::bigint[]) AS new(session_key, seq) "
    "WHERE session_heads.session_key = new.session_key"
)
