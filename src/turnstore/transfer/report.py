"""What an import did: counts of what was added, and the lines that were left out."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One line that was left out whole. ``line`` counts from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of rows added; ``sessions_skipped`` were there already, unchanged.

    ``problems`` are by line.
    """

    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    sessions_skipped: int = 0
    problems: tuple[Problem, ...] = ()
