"""A page of 50 sessions in each order: one call a round, on an idle event loop."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data import fill
from bench.running.setting import Setting
from bench.workloads.listing import ORDERS, PAGE, Order
from turnstore import Session, SessionStore


@pytest.fixture(
    scope="module", params=[1_000, pytest.param(100_000, marks=pytest.mark.slow)]
)
def store(
    request: pytest.FixtureRequest, setting: Setting, folder: Path
) -> Iterator[SessionStore]:
    path = folder / f"{request.param}.db"
    fill.listing(path, request.param)
    with setting.store(path) as store:
        yield store


@pytest.mark.benchmark(group="sessions.list")
@pytest.mark.parametrize("order", ORDERS)
def test_list_sessions(
    benchmark: BenchmarkFixture, setting: Setting, store: SessionStore, order: Order
) -> None:
    page = benchmark(
        lambda: setting.run(store.sessions.list(order_by=order, limit=PAGE))
    )
    found = [_value(each, order) for each in page.items]
    assert len(found) == PAGE
    assert found == sorted(found, reverse=True)


def _value(session: Session, order: Order) -> Any:
    if order == "total_tokens":
        return session.usage.prompt_tokens + session.usage.completion_tokens
    return attrgetter(order)(session)
