"""The public conformance suite: that it is whole, and what it needs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable
from typing import Any

from turnstore import SessionStore, testing
from turnstore.testing import calls
from turnstore.testing.fixtures import Fixtures


def chapters() -> list[type[Fixtures]]:
    """Every class of the package that has tests of its own."""
    found = []
    for each in pkgutil.iter_modules(testing.__path__):
        module = importlib.import_module(f"{testing.__name__}.{each.name}")
        found += [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, Fixtures)
            and value.__module__ == module.__name__
            and any(name.startswith("test_") for name in vars(value))
        ]
    return found


def test_every_chapter_is_in_the_suite() -> None:
    left_out = set(chapters()) - set(testing.SharedStoreConformance.__mro__)
    assert chapters() and left_out == set()


def test_what_needs_several_stores_is_apart() -> None:
    with_one = set(testing.StoreConformance.__mro__)
    shared = [each for each in chapters() if each.__name__.startswith("Shared")]
    assert shared and with_one.isdisjoint(shared)
    assert set(chapters()) <= with_one.union(shared)


def test_no_test_hides_another_of_its_name() -> None:
    names = Counter(
        name for each in chapters() for name in vars(each) if name.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_a_failure_tells_its_values() -> None:
    for chapter in chapters():
        loader = importlib.import_module(chapter.__module__).__loader__
        assert type(loader).__name__ == "AssertionRewritingHook"


def test_without_pytest_it_says_what_to_install(
    run_python: Callable[..., Any],
) -> None:
    done = run_python(
        "import sys; sys.modules['pytest'] = None; import turnstore.testing"
    )
    assert "turnstore.testing needs pytest: pip install pytest" in done.stderr
    assert done.returncode == 1


def test_the_suite_calls_every_method() -> None:
    store = SessionStore("sqlite://")
    methods = {
        f"{room}.{name}"
        for room, each in vars(store).items()
        if not room.startswith("_") and room != "options"
        for name, _ in inspect.getmembers(each, callable)
        if not name.startswith("_")
    }
    called = {name.partition(" ")[0] for name in calls.EVERY}
    assert called - {"turn", "statistics"} == methods
