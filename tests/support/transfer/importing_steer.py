"""Importing a file of steer, and reading one that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.transfer.round_trip import connect
from turnstore import SessionStore
from turnstore.transfer import import_file

SOURCE = "steer.sqlite"
CLAUDE = "anthropic/claude-sonnet-4-5"


async def imported(store: SessionStore, path: Path) -> None:
    report = await import_file(store, path, "steer")
    assert report.problems == ()


def rows_of(path: Path, statement: str) -> list[Any]:
    connection = connect(path)
    found: list[Any] = connection.execute(statement).fetchall()
    connection.close()
    return found
