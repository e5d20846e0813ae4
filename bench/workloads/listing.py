"""Listing: pages of sessions, by every filter in every order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from time import perf_counter
from typing import Final, Literal

from bench.data import fill
from bench.references import PLAIN_LISTING
from bench.references.plain_listing import copy_listing, listing_query
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, latency_ms
from bench.workloads.listing_cases import CASES, Case
from turnstore import SessionStore

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


def listing(setting: Setting) -> Comparisons:
    """A page of 50 sessions of 100,000, in each order, by each filter."""
    with setting.folder() as folder:
        fill.listing(folder / "small.db", SMALL)
        fill.listing(folder / "large.db", large(setting))
        copy_listing(folder / "large.db", folder / "plain.db")
        with (
            setting.store(folder / "small.db") as few,
            setting.store(folder / "large.db") as many,
            closing(sqlite3.connect(folder / "plain.db")) as connection,
        ):

            def plain(query: str) -> list[str]:
                return [row[0] for row in connection.execute(query).fetchall()]

            yield from compare_pages(setting, "listing", many, few, plain)


def large(setting: Setting) -> int:
    """Return how many sessions the large store has."""
    return setting.pick(100_000, 20_000)


def compare_pages(
    setting: Setting,
    workload: str,
    many: SessionStore,
    few: SessionStore,
    plain: Callable[[str], list[str]],
) -> Iterator[Comparison]:
    """Compare each order without a filter, and created_at with each filter, with the
    same page of ``few`` sessions; the other orders with each filter with the plain
    query on the same data.

    :param plain: runs that query and returns the ids.
    """
    for order in ORDERS:
        yield _with_few(setting, workload, many, few, order, Case("no filter"))
    for case in CASES:
        yield _with_few(setting, workload, many, few, ORDERS[0], case)
    for order in ORDERS[1:]:
        for case in CASES:
            yield _with_plain(setting, workload, many, plain, order, case)


def _with_few(
    setting: Setting,
    workload: str,
    many: SessionStore,
    few: SessionStore,
    order: Order,
    case: Case,
) -> Comparison:
    # A rare value fills no page of the small store: then both sides give that page.
    found = setting.run(few.sessions.list(case.filter, order_by=order, limit=PAGE))
    limit = max(1, len(found.items))
    calls = setting.pick(100, 3)
    return compare(
        workload,
        f"{order}, {case.name}, page of {limit}",
        "ms",
        _page_ms(setting, many, order, case, limit, calls),
        Reference(
            f"turnstore, {SMALL:,} sessions",
            _page_ms(setting, few, order, case, limit, calls),
            Goal(at_most=1.5),
        ),
        rounds=setting.rounds,
    )


def _with_plain(
    setting: Setting,
    workload: str,
    many: SessionStore,
    plain: Callable[[str], list[str]],
    order: Order,
    case: Case,
) -> Comparison:
    query = listing_query(case.where, case.having, order, PAGE)
    page = setting.run(many.sessions.list(case.filter, order_by=order, limit=PAGE))

    def plain_ms() -> float:
        began_s = perf_counter()
        found = plain(query)
        took_s = perf_counter() - began_s
        assert found == [each.id for each in page.items], "not the same page"
        return took_s * 1_000

    return compare(
        workload,
        f"{order}, {case.name}",
        "ms",
        _page_ms(setting, many, order, case, PAGE, setting.pick(5, 1)),
        Reference(PLAIN_LISTING, plain_ms, Goal(at_most=0.1), rounds_max=1),
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
