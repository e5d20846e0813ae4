"""Events against a model: two stores open on one file, and a dict beside them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from turnstore import Event, NewEvent, SequenceConflict, SessionNotFound, SessionStore

STORES = st.integers(0, 1)
SESSIONS = st.sampled_from(["a", "b", "ü'\"%"])
TYPES = st.sampled_from(["message", "tool", "t"])
DATA = st.none() | st.integers() | st.text(max_size=5) | st.just({"k": [1, None]})
KEYS = st.sampled_from(["k1", "k2", "k3"])


class Log:
    """What a session's events must be."""

    def __init__(self) -> None:
        self.head = 0
        self.rows: dict[int, tuple[str, Any]] = {}
        self.keys: dict[str, int] = {}

    def append(self, kind: str, data: Any) -> int:
        self.head += 1
        self.rows[self.head] = (kind, data)
        return self.head


class EventLog(RuleBasedStateMachine):
    seqs = Bundle("seqs")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.logs: dict[str, Log] = {}
        self.stores = [self._opened(), self._opened()]

    def _opened(self) -> SessionStore:
        store = SessionStore(self.folder / "store.db")
        self.runner.run(store.open())
        return store

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.close())
        self.runner.close()
        left = [each.name for each in self.folder.iterdir()]
        shutil.rmtree(self.folder)
        assert left == ["store.db"]

    @rule(at=STORES)
    def reopen(self, at: int) -> None:
        self.runner.run(self.stores[at].close())
        self.stores[at] = self._opened()

    @rule(at=STORES, session=SESSIONS)
    def create(self, at: int, session: str) -> None:
        if session not in self.logs:
            self.runner.run(self.stores[at].sessions.create(id=session))
            self.logs[session] = Log()

    @rule(at=STORES, session=SESSIONS)
    def delete(self, at: int, session: str) -> None:
        deleted = self.runner.run(self.stores[at].sessions.delete(session))
        assert deleted is (self.logs.pop(session, None) is not None)

    @rule(target=seqs, at=STORES, session=SESSIONS, kind=TYPES, data=DATA)
    def append(self, at: int, session: str, kind: str, data: Any) -> int:
        call = self.stores[at].events.append(session, kind, data)
        if session not in self.logs:
            with pytest.raises(SessionNotFound):
                self.runner.run(call)
            return 0
        seq = self.runner.run(call)
        assert seq == self.logs[session].append(kind, data)
        return seq

    @rule(
        at=STORES,
        session=SESSIONS,
        rows=st.lists(st.tuples(TYPES, DATA), max_size=4),
        off=st.sampled_from([None, 0, 1, -1]),
    )
    def append_many(
        self, at: int, session: str, rows: list[tuple[str, Any]], off: int | None
    ) -> None:
        log = self.logs.get(session)
        if log is None:
            return
        expected = None if off is None else max(0, log.head + off)
        call = self.stores[at].events.append_many(
            session,
            [NewEvent(type=kind, data=data) for kind, data in rows],
            expected_head=expected,
        )
        if expected not in (None, log.head):
            with pytest.raises(SequenceConflict) as caught:
                self.runner.run(call)
            assert caught.value.actual_head == log.head
        else:
            assert self.runner.run(call) == [log.append(*row) for row in rows]

    @rule(at=STORES, session=SESSIONS, key=KEYS, data=DATA, expected=st.integers(0, 9))
    def append_once(
        self, at: int, session: str, key: str, data: Any, expected: int
    ) -> None:
        """A key seen before wins over everything, the expected head too."""
        log = self.logs.get(session)
        if log is None:
            return
        call = self.stores[at].events.append(
            session, "once", data, idempotency_key=key, expected_head=expected
        )
        if key in log.keys:
            assert self.runner.run(call) == log.keys[key]
        elif expected != log.head:
            with pytest.raises(SequenceConflict):
                self.runner.run(call)
        else:
            log.keys[key] = log.append("once", data)
            assert self.runner.run(call) == log.keys[key]

    @rule(at=STORES, session=SESSIONS, seq=seqs)
    def delete_before(self, at: int, session: str, seq: int) -> None:
        log = self.logs.get(session)
        if log is None:
            return
        gone = [each for each in log.rows if each < seq]
        call = self.stores[at].events.delete_before(session, seq)
        assert self.runner.run(call) == len(gone)
        for each in gone:
            del log.rows[each]

    @rule(
        at=STORES,
        session=SESSIONS,
        after=st.integers(0, 6),
        limit=st.none() | st.integers(1, 4),
        types=st.none() | st.lists(TYPES, max_size=2),
    )
    def list_some(
        self,
        at: int,
        session: str,
        after: int,
        limit: int | None,
        types: list[str] | None,
    ) -> None:
        log = self.logs.get(session)
        if log is None:
            return
        listing = self.stores[at].events.list(
            session, after=after, limit=limit, types=types
        )
        expected = [
            (seq, kind, data)
            for seq, (kind, data) in log.rows.items()
            if seq > after and (types is None or kind in types)
        ]
        found = self.runner.run(listing)
        assert [(each.seq, each.type, each.data) for each in found] == expected[:limit]

    @rule(at=STORES, session=SESSIONS, page_size=st.integers(1, 3))
    def stream(self, at: int, session: str, page_size: int) -> None:
        async def collect() -> list[Event]:
            stream = self.stores[at].events.stream(session, page_size=page_size)
            return [event async for event in stream]

        if session in self.logs:
            found = self.runner.run(collect())
            assert [each.seq for each in found] == list(self.logs[session].rows)

    @invariant()
    def both_stores_agree_with_the_model(self) -> None:
        for store in self.stores:
            for session, log in self.logs.items():
                assert self.runner.run(store.events.head(session)) == log.head
                found = self.runner.run(store.events.list(session))
                assert {each.seq: (each.type, each.data) for each in found} == log.rows
                assert {each.session_id for each in found} <= {session}


EventLog.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, print_blob=True
)


class TestEventLog(EventLog.TestCase):  # type: ignore[misc, valid-type]
    pass
