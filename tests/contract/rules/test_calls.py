"""One call of each method stands for it in many tests: none is missing."""

from __future__ import annotations

import inspect

from tests.contract.calls import EVERY
from turnstore import SessionStore


def test_every_method_is_called() -> None:
    store = SessionStore("sqlite://")
    methods = {
        f"{room}.{name}"
        for room, each in vars(store).items()
        if not room.startswith("_") and room != "options"
        for name, _ in inspect.getmembers(each, callable)
        if not name.startswith("_")
    }
    called = {name.partition(" ")[0] for name in EVERY}
    assert called - {"turn", "statistics"} == methods
