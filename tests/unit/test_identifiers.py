"""The ids that the store makes."""

from __future__ import annotations

import time
import uuid

import pytest

from turnstore.sql.codec import new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    before_ms = time.time_ns() // 1_000_000
    text = new_id()
    after_ms = time.time_ns() // 1_000_000
    value = uuid.UUID(text)
    assert str(value) == text
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert before_ms <= value.int >> 80 <= after_ms


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # 250 ns apart: the smallest step that 12 bits of a millisecond tell apart.
    clock = iter(range(1_700_000_000_000_000_000, 1_700_000_000_003_000_000, 250))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    ids = [new_id() for _ in range(12_000)]
    assert ids == sorted(ids)


def test_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)
    ids = {new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert len({each[:18] for each in ids}) == 1
