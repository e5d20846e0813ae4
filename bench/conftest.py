"""The event loop and the folder that the cases of a module share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.running.setting import Setting


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bench-large",
        action="store_true",
        help="also list 100,000 sessions; filling takes half a minute",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs --bench-large")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if config.getoption("--bench-large", default=False):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="needs --bench-large"))


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    with asyncio.Runner() as runner:
        yield Setting(runner)


@pytest.fixture(scope="module")
def folder(setting: Setting) -> Iterator[Path]:
    with setting.folder() as path:
        yield path
