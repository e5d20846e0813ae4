"""The public surface: what is exported, documented and loaded."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import turnstore
from turnstore import SessionStore, errors, records

ROOMS = (
    "sessions",
    "messages",
    "tool_calls",
    "events",
    "usage",
    "metadata",
    "todos",
    "questions",
    "settings",
    "archive",
    "admin",
)


def public_methods() -> list[tuple[str, str]]:
    store = SessionStore("sqlite://")
    return [
        (room, name)
        for room in ROOMS
        for name, _ in inspect.getmembers(getattr(store, room), callable)
        if not name.startswith("_")
    ]


def test_all_names_what_is_public() -> None:
    exported = {
        name
        for name, value in vars(turnstore).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(turnstore.__all__, key=str.casefold) == sorted(
        exported, key=str.casefold
    )


@pytest.mark.parametrize("module", [errors, records])
def test_every_error_and_record_is_exported(module: object) -> None:
    own = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__  # type: ignore[attr-defined]
        and not name.startswith("_")
    }
    assert own and own <= set(turnstore.__all__)


def test_importing_loads_no_tool() -> None:
    """Neither alembic, the command line nor test tools come with the library."""
    program = (
        "import sys, turnstore; "
        "print([name for name in ('alembic', 'click', 'rich', 'pytest', 'asyncpg') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def classes_in(hint: Any) -> Iterator[type]:
    """The classes that an annotation names."""
    if inspect.isclass(hint):
        yield hint
    for each in get_args(hint):
        yield from classes_in(each)


@pytest.mark.parametrize(
    ("room", "name"), [*public_methods(), ("", "turn"), ("", "statistics")]
)
def test_what_every_method_returns_is_exported(room: str, name: str) -> None:
    store = SessionStore("sqlite://")
    method = getattr(getattr(store, room) if room else store, name)
    returned = get_type_hints(method)["return"]
    own = {
        each.__name__
        for each in classes_in(returned)
        if each.__module__.startswith("turnstore")
    }
    assert own <= set(turnstore.__all__)


def test_what_is_iterated_and_entered_is_exported() -> None:
    store = SessionStore("sqlite://")
    assert isinstance(store.turn("s"), turnstore.OpenTurn)
    hints = get_type_hints(type(store.events).follow_all)
    assert hints["return"] is turnstore.Follower


@pytest.mark.parametrize(("room", "name"), public_methods())
def test_every_method_is_documented(room: str, name: str) -> None:
    method = getattr(getattr(SessionStore("sqlite://"), room), name)
    assert method.__doc__
    assert inspect.signature(method).return_annotation is not inspect.Parameter.empty
