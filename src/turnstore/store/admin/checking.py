"""A check of the whole store: what is looked at in which order, and what is mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final

from turnstore.engine.backend import Backend
from turnstore.errors import DatabaseCorrupt
from turnstore.store.admin.head_checks import Mismatch, check_heads
from turnstore.store.admin.repairs import CountHeads, IndexTitles, SetAside
from turnstore.store.admin.row_checks import Found, Place, check_rows, tables

LINES_MAX: Final = 1_000
"""Problems of a kind that are told one by one; of others their number is."""
ROW_BYTES: Final = 1_000


class Checking:
    """One check. What it finds is bounded in memory: of each kind the first lines."""

    def __init__(self, backend: Backend, *, is_repair: bool) -> None:
        self._backend = backend
        self._is_repair = is_repair
        self._lines: list[str] = []
        self._counts: Counter[str] = Counter()

    async def run(self) -> list[str]:
        await self._check_database()
        for table in tables():
            await self._check_rows(str(table.name))
        if self._is_repair and self._counts["sessions"]:
            await self._backend.write(IndexTitles("", ROW_BYTES))
        await self._check_heads()
        more = [
            f"{kind}: {count - LINES_MAX} more problems"
            for kind, count in self._counts.items()
            if count > LINES_MAX
        ]
        return self._lines + more

    def _add(self, kind: str, lines: Iterable[str]) -> None:
        for line in lines:
            self._counts[kind] += 1
            if self._counts[kind] <= LINES_MAX:
                self._lines.append(line)

    async def _check_database(self) -> None:
        found = await self._backend.check()
        if found and self._is_repair:
            left = await self._backend.repair()
            done = [f"{line}: mended" for line in found if line not in left]
            found = [*done, *left]
        self._add("database", found)

    async def _check_rows(self, name: str) -> None:
        after: Place | None = None
        while True:
            look = partial(check_rows, name=name, after=after)
            try:
                after, found = await self._backend.read(look, snapshot=True)
            except DatabaseCorrupt as error:
                # Its pages can't be walked.
                self._add(name, [f"{name}: {error}"])
                return
            if self._is_repair and found:
                await self._set_aside(name, found)
            else:
                self._add(name, (str(one) for each in found for one in each.damages))
            if after is None:
                return

    async def _set_aside(self, name: str, found: list[Found]) -> None:
        places = [each.place for each in found]
        command = SetAside("", ROW_BYTES, table=name, places=places)
        lines = await self._backend.write(command)
        self._add(name, lines)

    async def _check_heads(self) -> None:
        after: int | None = 0
        while after is not None:
            look = partial(check_heads, after=after)
            try:
                after, found = await self._backend.read(look, snapshot=True)
            except DatabaseCorrupt as error:
                self._add("heads", [str(error)])
                return
            if self._is_repair and found:
                await self._count_heads(found)
            else:
                self._add("heads", (line for each in found for line in each.lines()))

    async def _count_heads(self, found: list[Mismatch]) -> None:
        keys = [each.session_key for each in found]
        command = CountHeads("", ROW_BYTES, keys=keys)
        lines = await self._backend.write(command)
        self._add("heads", lines)
