"""The public surface: what is exported, documented and loaded."""

from __future__ import annotations

import inspect
import subprocess
import sys

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


@pytest.mark.parametrize(("room", "name"), public_methods())
def test_every_method_is_documented(room: str, name: str) -> None:
    method = getattr(getattr(SessionStore("sqlite://"), room), name)
    assert method.__doc__
    assert inspect.signature(method).return_annotation is not inspect.Parameter.empty
