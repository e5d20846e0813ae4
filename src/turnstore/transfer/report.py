"""Reports of imports and exports."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or what begins at a line of a file, that was left out.

    Lines count from 1. ``kind``: of the reason, the same for many lines.
    """

    file: str
    line: int | None = None
    reason: str
    kind: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}"


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import added.

    ``sessions_skipped``: sessions that the store had already, unchanged.
    ``rows_kept``: rows of the file for which the store has no place, in whole or in
    part; an export puts them back. ``reasons`` counts why, and which texts read as
    unknown. ``problems``: what was left out. ``more_problems``: how many more, by kind,
    where a chat file has over 1,000 of a kind. ``formats``: how many conversations of a
    chat file were recognised as which format.
    """

    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    sessions_skipped: int = 0
    rows_kept: int = 0
    reasons: dict[str, int] = {}
    problems: tuple[Problem, ...] = ()
    more_problems: dict[str, int] = {}
    formats: dict[str, int] = {}


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote to the file.

    ``rows_restored``: rows that got back something that an import had kept.
    ``reasons`` counts what the other system can't hold, or holds in another form.
    """

    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    events: int = 0
    rows_restored: int = 0
    reasons: dict[str, int] = {}
