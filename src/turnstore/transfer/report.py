"""What an import or an export did."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What was left out whole: a line of a file, which counts from 1, or a session."""

    file: str
    line: int | None = None
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}"


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of rows added; ``sessions_skipped`` were there already, unchanged.

    ``rows_kept``: rows of the file of which something has no place of its own here;
    it is kept, and an export puts it back. ``reasons`` counts why, and what reads as
    unknown. ``problems`` are what was left out.
    """

    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    sessions_skipped: int = 0
    rows_kept: int = 0
    reasons: dict[str, int] = {}
    problems: tuple[Problem, ...] = ()


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of what was written to the file.

    ``rows_restored``: rows of the file that hold something which an import had kept.
    ``reasons`` counts what the other system can't hold, or holds otherwise.
    """

    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    rows_restored: int = 0
    reasons: dict[str, int] = {}
