"""The moments at which a scenario can fail or die: each of its calls on each file."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.faults import KILLED as KILLED
from tests.support.faults import Faults, Operation
from tests.support.files.chat_files import conversation, write
from tests.support.ledger import Ledger
from tests.support.scenarios import Run

SCENARIOS: Final = (
    "append",
    "checkpoint",
    "migration",
    "backup",
    "close",
    "chat_import",
)
CHATS: Final = 12
"""Conversations that the import has."""
FILES: Final = ("store.db", "store.db-wal", "store.db-journal", ".partial")
OPERATIONS: Final[tuple[Operation, ...]] = ("read", "write", "sync", "truncate")
ERRORS: Final[dict[Operation, tuple[int, ...]]] = {
    "read": (errno.EIO,),
    "write": (errno.EIO, errno.ENOSPC),
    "sync": (errno.EIO,),
    "truncate": (errno.EIO,),
}

Point = dict[str, Any]
"""Arguments of ``Faults.fail`` without ``what`` and ``for_ever``."""


def prepare(folder: Path, scenario: str, template: bytes) -> None:
    """Make what a scenario begins with: a store, but where it is to be made."""
    folder.mkdir()
    if scenario != "migration":
        with (folder / "store.db").open("xb") as file:
            file.write(template)
    if scenario == "chat_import":
        said = [{"role": "user", "content": "?" * 2_000}] * 5
        chats = [conversation(*said, id=f"chat {at}") for at in range(CHATS)]
        write(folder / "chats.jsonl", *chats)


def points(
    run: Callable[..., Run],
    faults: Faults,
    folder: Path,
    scenario: str,
    template: bytes,
) -> list[Point]:
    """Return every call that a scenario makes when nothing fails."""
    found: list[Point] = []
    for number, ending in enumerate(FILES):
        counted = folder / f"counted {number}"
        prepare(counted, scenario, template)
        count = {"operation": "count", "ending": ending}
        made = run(Ledger(), path=counted / "store.db", seed="count", fault=count)
        assert (made.status, made.failures) == (0, [])
        found += [
            {"operation": operation, "ending": ending, "at": at}
            for operation in OPERATIONS
            for at in range(1, faults.calls(operation) + 1)
        ]
    assert found
    return found
