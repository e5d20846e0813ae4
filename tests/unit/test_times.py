"""Times: timezone-aware, kept to the microsecond, in any year that Python has."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from turnstore import InvalidArgument, SessionStore
from turnstore.sql.codec import from_micros, to_micros

EAST = timezone(timedelta(hours=14))
WEST = timezone(timedelta(hours=-12))

FAR = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 999_999, tzinfo=UTC),
    datetime(2255, 6, 5, 23, 47, 34, 740_991, tzinfo=UTC),
    datetime(2255, 6, 5, 23, 47, 34, 740_993, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=EAST),
    datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(seconds=1))),
]


class NoOffset(tzinfo):
    """A time zone that does not know where it is."""

    def __repr__(self) -> str:
        return "NoOffset()"  # without its address: it names a test

    def utcoffset(self, when: datetime | None) -> None:
        return None

    def dst(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> None:
        return None


NO_TIMES: list[Any] = [
    datetime(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=NoOffset()),
    date(2026, 1, 1),
    "2026-01-01T00:00:00Z",
    1_700_000_000,
    None,
]


@pytest.mark.parametrize("when", FAR, ids=str)
def test_microseconds_and_back(when: datetime) -> None:
    assert from_micros(to_micros(when, "created_at")) == when


@pytest.mark.anyio
async def test_times_come_back_exactly(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    for when in FAR:
        await store.events.append("s", "t", created_at=when)
    found = [event.created_at for event in await store.events.list("s")]
    assert found == FAR
    assert all(when.utcoffset() == timedelta(0) for when in found)


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="created_at"):
        to_micros(value, "created_at")


@pytest.mark.parametrize(
    "value",
    [datetime(9999, 12, 31, 23, tzinfo=WEST), datetime(1, 1, 1, tzinfo=EAST)],
    ids=str,
)
def test_a_time_outside_the_years_of_utc_is_refused(value: datetime) -> None:
    """A moment that no UTC datetime can hold could never be read back."""
    with pytest.raises(InvalidArgument, match="created_at"):
        to_micros(value, "created_at")
