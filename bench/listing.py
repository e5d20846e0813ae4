"""Listing: pages of sessions, by every filter in every order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final, Literal

import msgspec

from bench import fill
from bench.measure import Bar, Comparison, Other, compare
from bench.port import copy_listing, listing_query
from bench.setting import Setting, latency_ms
from turnstore import SessionFilter, SessionStore


class Case(msgspec.Struct, frozen=True):
    """A filter of sessions, and the port's conditions for the same."""

    name: str
    filter: SessionFilter = SessionFilter()
    where: str = ""
    having: str = ""


Order = Literal["created_at", "updated_at", "message_count", "total_tokens"]
ORDERS: Final[tuple[Order, ...]] = (
    "created_at",
    "updated_at",
    "message_count",
    "total_tokens",
)
PAGE: Final = 50
SMALL: Final = 1_000
"""Sessions of the small store."""


def listing(setting: Setting) -> list[Comparison]:
    """A page of 50 sessions of 100,000, in each order, by each filter."""
    with setting.folder() as folder:
        fill.listing(folder / "small.db", SMALL)
        fill.listing(folder / "large.db", large(setting))
        copy_listing(folder / "large.db", folder / "port.db")
        with (
            setting.store(folder / "small.db") as few,
            setting.store(folder / "large.db") as many,
            closing(sqlite3.connect(folder / "port.db")) as port,
        ):

            def ported(query: str) -> list[str]:
                return [row[0] for row in port.execute(query).fetchall()]

            return compare_pages(setting, "listing", many, few, ported)


def large(setting: Setting) -> int:
    """Return how many sessions the large store has."""
    return setting.pick(100_000, 20_000)


def compare_pages(
    setting: Setting,
    workload: str,
    many: SessionStore,
    few: SessionStore,
    ported: Callable[[str], list[str]],
) -> list[Comparison]:
    """Compare each order without a filter, and created_at with each filter, with the
    same page of ``few`` sessions; the other orders with each filter with the query of
    the port on the same data.

    :param ported: runs that query and returns the ids.
    """
    flat: list[tuple[Order, Case]] = [
        *((order, Case("no filter")) for order in ORDERS),
        *((ORDERS[0], case) for case in CASES),
    ]
    return [
        *(_flat(setting, workload, many, few, *each) for each in flat),
        *(
            _ported(setting, workload, many, ported, order, case)
            for order in ORDERS[1:]
            for case in CASES
        ),
    ]


def _flat(
    setting: Setting,
    workload: str,
    many: SessionStore,
    few: SessionStore,
    order: Order,
    case: Case,
) -> Comparison:
    # A rare value fills no page of the small store: the same page of both, then.
    found = setting.run(few.sessions.list(case.filter, order_by=order, limit=PAGE))
    limit = max(1, len(found.items))
    calls = setting.pick(100, 3)
    return compare(
        workload,
        f"{order}, {case.name}, page of {limit}",
        "ms",
        _page_ms(setting, many, order, case, limit, calls),
        Other(
            f"{SMALL:,} sessions",
            _page_ms(setting, few, order, case, limit, calls),
            Bar(at_most=1.5),
        ),
        rounds=setting.rounds,
    )


def _ported(
    setting: Setting,
    workload: str,
    many: SessionStore,
    ported: Callable[[str], list[str]],
    order: Order,
    case: Case,
) -> Comparison:
    query = listing_query(case.where, case.having, order, PAGE)
    page = setting.run(many.sessions.list(case.filter, order_by=order, limit=PAGE))

    def ported_ms() -> float:
        began_s = perf_counter()
        found = ported(query)
        took_s = perf_counter() - began_s
        assert found == [each.id for each in page.items], "not the same page"
        return took_s * 1_000

    return compare(
        workload,
        f"{order}, {case.name}",
        "ms",
        _page_ms(setting, many, order, case, PAGE, setting.pick(5, 1)),
        Other("port", ported_ms, Bar(at_most=0.1), rounds_max=1),
        rounds=setting.rounds,
    )


def _page_ms(
    setting: Setting,
    store: SessionStore,
    order: Order,
    case: Case,
    limit: int,
    calls: int,
) -> Callable[[], float]:
    async def page(_: int) -> None:
        await store.sessions.list(case.filter, order_by=order, limit=limit)

    async def sample() -> float:
        await page(0)
        return await latency_ms(calls, page)

    return lambda: setting.run(sample())


def _at(days: float) -> datetime:
    return datetime.fromtimestamp(fill.START_US / 1e6, UTC) + timedelta(days=days)


def _micros(days: float) -> int:
    return fill.START_US + int(days * 86_400 * 1_000_000)


def _equal(field: str, *values: str) -> list[Case]:
    return [
        Case(
            f"{field.removesuffix('_session_id')} {value.lstrip('0')}",
            SessionFilter(**{field: value}),  # type: ignore[arg-type]
            f"s.{field} = '{value}'",
        )
        for value in values
    ]


def _pairs(pairs: Mapping[str, str]) -> Case:
    where = " AND ".join(
        f"EXISTS (SELECT 1 FROM session_metadata p WHERE p.session_key = s.session_key "
        f"AND p.key = '{name}' AND p.value = '\"{value}\"')"
        for name, value in pairs.items()
    )
    named = ", ".join(f"{name} = {value}" for name, value in pairs.items())
    return Case(f"metadata {named}", SessionFilter(metadata=pairs), where)


def _has_key(name: str) -> Case:
    return Case(
        f"metadata has {name}",
        SessionFilter(metadata_keys=[name]),
        f"EXISTS (SELECT 1 FROM session_metadata p "
        f"WHERE p.session_key = s.session_key AND p.key = '{name}')",
    )


def _title(word: str) -> Case:
    return Case(
        f"title has {word}",
        SessionFilter(title_contains=word),
        f"s.title LIKE '%{word}%'",
    )


def _open_calls(is_open: bool) -> Case:
    return Case(
        f"open tool calls {'yes' if is_open else 'no'}",
        SessionFilter(has_pending_tool_calls=is_open),
        f"{'' if is_open else 'NOT '}EXISTS (SELECT 1 FROM tool_calls t "
        f"WHERE t.session_key = s.session_key "
        f"AND t.status IN ('pending', 'approved', 'executing'))",
    )


def _since(field: str, days: float) -> Case:
    prefix = field.removesuffix("_at")
    return Case(
        f"{field} from day {days:g}",
        SessionFilter(**{f"{prefix}_after": _at(days)}),  # type: ignore[arg-type]
        f"s.{field} >= {_micros(days)}",
    )


def _until(field: str, days: float) -> Case:
    prefix = field.removesuffix("_at")
    return Case(
        f"{field} to day {days:g}",
        SessionFilter(**{f"{prefix}_before": _at(days)}),  # type: ignore[arg-type]
        f"s.{field} <= {_micros(days)}",
    )


_SOME_IDS: Final = [fill.session_id(key) for key in range(1, 501, 10)]

CASES: Final = [
    Case(
        "50 ids",
        SessionFilter(ids=_SOME_IDS),
        f"s.id IN ({', '.join(repr(each) for each in _SOME_IDS)})",
    ),
    *_equal("agent_name", "agent-0", "agent-19"),
    *_equal("project_root", "/projects/0", "/projects/49"),
    *_equal("provider", "provider-0", "provider-3"),
    *_equal("model", "model-0", "model-9"),
    *_equal("last_model", "model-0", "model-9"),
    *_equal("status", "completed", "running"),
    Case(
        "status failed or running",
        SessionFilter(status=["failed", "running"]),
        "s.status IN ('failed', 'running')",
    ),
    *_equal("parent_session_id", fill.session_id(1), fill.session_id(2)),
    _pairs({"team": "team-7"}),
    _pairs({"ticket": "T-500"}),
    _has_key("team"),
    _has_key("none"),
    _title(fill.WORDS[0]),
    _title(fill.RARE_WORD),
    _since("created_at", 100),
    _since("created_at", 364),
    _until("created_at", 300),
    _until("created_at", 2),
    _since("updated_at", 100),
    _since("updated_at", 400),
    _until("updated_at", 300),
    _until("updated_at", 2),
    _open_calls(is_open=True),
    _open_calls(is_open=False),
    Case(
        "2 messages or more",
        SessionFilter(message_count_min=2),
        having="COUNT(m.seq) >= 2",
    ),
    Case(
        "200 messages or more",
        SessionFilter(message_count_min=200),
        having="COUNT(m.seq) >= 200",
    ),
    Case(
        "3 messages or fewer",
        SessionFilter(message_count_max=3),
        having="COUNT(m.seq) <= 3",
    ),
]
