"""Any JSON comes back equal, through a real file."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnstore import NewEvent, PayloadInvalid, SessionStore

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=40,
)
no_json = st.recursive(
    st.sampled_from([math.nan, math.inf, -math.inf, b"", {1, 2}, object()]),
    lambda inner: (
        st.lists(inner, min_size=1) | st.dictionaries(texts, inner, min_size=1)
    ),
    max_leaves=4,
)


def same(left: Any, right: Any) -> bool:
    """Compare with types, signs of zero and order of keys told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            same(left[key], right[key]) for key in left
        )
    return repr(left) == repr(right)


def test_events_come_back_equal(store_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = SessionStore(store_path)
        runner.run(store.open())
        runner.run(store.sessions.create(id="s"))

        @given(st.lists(json_values, min_size=1, max_size=5))
        def check(values: list[Any]) -> None:
            written = [NewEvent(type="t", data=value) for value in values]
            seqs = runner.run(store.events.append_many("s", written))
            found = runner.run(store.events.list("s", after=seqs[0] - 1))
            assert [event.seq for event in found] == seqs
            for event, value in zip(found, values, strict=True):
                assert same(event.data, value)

        @given(no_json)
        def check_refused(value: Any) -> None:
            head = runner.run(store.events.head("s"))
            with pytest.raises(PayloadInvalid):
                runner.run(store.events.append("s", "t", value))
            assert runner.run(store.events.head("s")) == head

        try:
            check()
            check_refused()
        finally:
            runner.run(store.close())


ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    min_size=1,
    max_size=255,
)


def test_any_id_and_name_come_back_equal(store_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = SessionStore(store_path)
        runner.run(store.open())
        made: set[str] = set()

        @given(ids, ids, st.none() | ids, st.none() | ids)
        def check(session: str, kind: str, model: str | None, turn: str | None) -> None:
            if session not in made:
                runner.run(store.sessions.create(id=session))
                made.add(session)
            append = store.events.append(session, kind, model=model, turn_id=turn)
            seq = runner.run(append)
            listing = store.events.list(session, after=seq - 1, types=[kind])
            [event] = runner.run(listing)
            assert (event.session_id, event.type) == (session, kind)
            assert (event.model, event.turn_id) == (model, turn)
            assert event.data is None

        try:
            check()
        finally:
            runner.run(store.close())
