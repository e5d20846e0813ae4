"""What a child process said of its writes, and whether a store agrees with it.

Each write has a mark of its own. The child says ``begin``, then ``done`` or ``raised``;
a child that dies says nothing more, so the outcome of what it had begun is unknown. In
the store a mark is found in exactly the places that its kind of write leaves, or in
none: anything else is half a write.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tests.support.patience import patient
from turnstore import NewEvent, NewMessage, SessionStore

WORKERS: Final = 8
"""Tasks of a child that write at the same time, each to one of ``s0``, ``s1``, …"""

Outcome = Literal["unknown", "done", "failed"]
Write = Callable[[SessionStore, str, str], Awaitable[Any]]


async def one_turn(store: SessionStore, session: str, mark: str) -> None:
    async with store.turn(session) as turn:
        turn.message("user", mark)
        turn.tool_call("ls", {}, id=mark, status="completed")
        turn.event("t", mark)


async def made_and_deleted(store: SessionStore, _: str, mark: str) -> None:
    await store.sessions.create(id=mark)
    await store.events.append(mark, "t", mark)
    assert await store.sessions.delete(mark)


async def compacted(store: SessionStore, session: str, mark: str) -> None:
    rows = [NewMessage(role="user", content="said")] * 2
    await store.messages.append_many(session, rows)
    await store.messages.compact(session, mark, preserve=1)


async def a_call_that_ends(store: SessionStore, session: str, mark: str) -> None:
    await store.tool_calls.create(session, "ls", {}, id=mark)
    await store.tool_calls.update(session, mark, status="completed", output=mark)


KINDS: Final[dict[str, tuple[Write, Counter[str]]]] = {
    "event": (
        lambda store, session, mark: store.events.append(session, "t", mark),
        Counter(event=1),
    ),
    "events": (
        lambda store, session, mark: store.events.append_many(
            session, [NewEvent(type="t", data=mark)] * 3
        ),
        Counter(event=3),
    ),
    "message": (
        lambda store, session, mark: store.messages.append(session, "user", mark),
        Counter(message=1),
    ),
    "messages": (
        lambda store, session, mark: store.messages.append_many(
            session, [NewMessage(role="user", content=mark)] * 2
        ),
        Counter(message=2),
    ),
    "large event": (
        lambda store, session, mark: store.events.append(session, mark, "x" * 200_000),
        Counter(type=1),
    ),
    "turn": (one_turn, Counter(message=1, tool_call=1, event=1)),
    "session": (
        lambda store, _, mark: store.sessions.create(id=mark),
        Counter(session=1),
    ),
    "fork": (
        lambda store, session, mark: store.sessions.fork(session, new_id=mark),
        Counter(session=1),
    ),
    "compaction": (compacted, Counter(summary=1)),
    "metadata": (
        lambda store, session, mark: store.metadata.set(session, mark, mark),
        Counter(metadata=1),
    ),
    "tool call": (a_call_that_ends, Counter(tool_call=1, output=1)),
    "deletion": (made_and_deleted, Counter()),
}
"""Each kind of write, with the places where its mark is once it is committed."""
SEVERAL_COMMITS: Final = {"tool call", "deletion"}
"""Kinds that commit more than once, so that a death may leave a part of them."""


@dataclass
class Entry:
    kind: str
    began_at: int
    ended_at: int | None = None
    outcome: Outcome = "unknown"


@dataclass
class Ledger:
    """What was said so far, by mark, by one child after another."""

    entries: dict[str, Entry] = field(default_factory=dict)
    lines: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    is_cut: bool = False
    """The power is being cut: what is said from now on may have raced with it, as the
    kernel lets a synchronization succeed that the cut has overtaken."""

    def hear(self, line: str) -> None:
        said, mark, what = line.rstrip("\n").split("\t")
        self.lines += 1
        if said == "begin":
            assert mark not in self.entries
            self.entries[mark] = Entry(what, self.lines)
            return
        entry = self.entries[mark]
        assert entry.outcome == "unknown"
        if self.is_cut and said == "done":
            return
        if said == "done":
            entry.outcome = "done"
        else:
            assert not what.startswith("untyped"), f"{mark}, {entry.kind}: {what}"
            self.errors[what] += 1
            entry.outcome = "unknown" if what == "OutcomeUnknown" else "failed"
        entry.ended_at = self.lines

    @property
    def acknowledged(self) -> int:
        return sum(each.outcome == "done" for each in self.entries.values())

    def compare(self, found: dict[str, Counter[str]], *, may_lose_last: bool) -> int:
        """Check a store's marks; return how many acknowledged writes it lost.

        :param may_lose_last: the newest may be lost, if all that began after the first
            lost one was acknowledged is lost too.
        """
        strangers = set(found) - set(self.entries)
        assert not strangers, f"written by nobody: {sorted(strangers)[:5]}"
        lost: list[Entry] = []
        present: list[Entry] = []
        for mark, entry in self.entries.items():
            places, whole = found.get(mark, Counter()), KINDS[entry.kind][1]
            note = f"{mark}, {entry.kind}, {entry.outcome}: found in {dict(places)}"
            if entry.kind in SEVERAL_COMMITS:
                cut = entry.outcome != "done" or may_lose_last
                assert cut or places == whole, note
                continue
            assert places in (whole, Counter()), f"half a write: {note}"
            assert entry.outcome != "failed" or not places, note
            if places:
                present.append(entry)
            elif entry.outcome == "done":
                assert may_lose_last, f"lost: {note}"
                lost.append(entry)
        first_lost = min((each.ended_at or 0 for each in lost), default=None)
        if first_lost is not None:
            out_of_order = [each for each in present if each.began_at > first_lost]
            assert out_of_order == [], "lost in the middle"
        return len(lost)

    def settle(self, found: dict[str, Counter[str]]) -> None:
        """Take what a store has for the outcome of all that was heard of so far."""
        for mark in list(self.entries):
            entry = self.entries[mark]
            if entry.kind in SEVERAL_COMMITS and entry.outcome != "done":
                entry.outcome = "unknown"  # a part of it may be there for good
            elif mark in found:
                entry.outcome = "done"
            elif KINDS[entry.kind][1]:
                del self.entries[mark]


def _mark(text: str) -> bool:
    return text.startswith("mark ")


async def marks_of(store: SessionStore) -> dict[str, Counter[str]]:
    """Return each mark of a store with the places that it was found in; check that no
    sequence has a gap."""
    found: dict[str, Counter[str]] = defaultdict(Counter)

    def add(place: str, marks: Iterable[Any]) -> None:
        for mark in marks:
            if isinstance(mark, str) and _mark(mark):
                found[mark][place] += 1

    cursor = None
    while True:
        page = await store.sessions.list(limit=1_000, cursor=cursor)
        add("session", (each.id for each in page.items))
        cursor = page.next_cursor
        if cursor is None:
            break
    for at in range(WORKERS):
        state = await store.sessions.load(f"s{at}")
        if state is None:
            continue
        events = await store.events.list(f"s{at}")
        assert [each.seq for each in events] == [*range(1, len(events) + 1)]
        assert await store.events.head(f"s{at}") == len(events)
        seqs = [each.seq for each in state.messages]
        assert seqs == [*range(1, len(seqs) + 1)]
        assert state.session.message_count == state.session.message_head == len(seqs)
        add("event", (each.data for each in events))
        add("type", (each.type for each in events))
        for each in state.messages:
            add("summary" if each.is_summary else "message", [each.content])
        add("tool_call", (each.id for each in state.tool_calls))
        add("output", (each.output for each in state.tool_calls))
        add("metadata", await store.metadata.all(f"s{at}"))
    return found


async def _verify(path: Path, ledger: Ledger, may_lose_last: bool) -> int:
    async with SessionStore(path, patient()) as store:
        assert await store.admin.check() == []
        found = await marks_of(store)
        lost = ledger.compare(found, may_lose_last=may_lose_last)
        ledger.settle(found)
        # It goes on from there.
        if await store.sessions.get("s0") is not None:
            head = await store.events.head("s0")
            assert await store.events.append("s0", "after") == head + 1
    return lost


def verify(path: Path, ledger: Ledger, *, may_lose_last: bool = False) -> int:
    """Open a file whose writers have died and check it; return what it has lost."""
    return asyncio.run(_verify(path, ledger, may_lose_last))
