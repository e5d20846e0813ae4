"""koda's compactions, found again in its messages.

koda marks the messages that it archives with one time, and adds a summary (role
system) and a hint (role assistant) in the same transaction. So messages of one
``compacted_at`` are what one compaction archived, and the first such pair after them,
of that time, is its summary. A pair that no archived message stands for is what is
left of a compaction whose messages were purged.

What this store can't say so (a gap in what is archived, a summary that was kept)
comes as near as it goes, with more kept rather than less.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from turnstore.records import Role
from turnstore.transfer.files import cells
from turnstore.transfer.files.cells import Cell, Row
from turnstore.transfer.rows import SessionRows, StoredCompaction, StoredMessage

COLUMN: Final = "compacted_at"
DELAY_MAX: Final = 60 * cells.SECOND
"""Between marking what is archived and adding the summary."""


class Compactions(msgspec.Struct):
    """What was found. ``without_summary``: messages archived by none of them."""

    compactions: list[StoredCompaction]
    without_summary: int


class _Group(msgspec.Struct):
    """Messages of one ``compacted_at``, by place."""

    archived_at: int | None
    places: list[int] = []


def find_compactions(
    rows: Sequence[Row], messages: Sequence[StoredMessage]
) -> Compactions:
    """Return the compactions of a session and set ``summary_of`` of its messages."""
    groups = _groups(rows)
    summaries = _summaries(rows, messages)
    matched = _matched(groups, summaries, messages)
    for number, place in enumerate(summaries, 1):
        messages[place].summary_of = messages[place + 1].summary_of = number
    unmatched = [
        each for each in groups if not any(each is other for other in matched.values())
    ]
    archived = {place for each in unmatched for place in each.places}
    compactions: list[StoredCompaction] = []
    for place in summaries:
        group = matched.get(place)
        archived.update(group.places if group else ())
        compactions.append(
            StoredCompaction(
                summary_seq=place + 1,
                boundary_seq=_boundary(messages, archived, place) + 1,
                archived=len(group.places) if group else 0,
                purged=0 if group else 1,
                created_at=messages[place].created_at
                if group is None or group.archived_at is None
                else group.archived_at,
            )
        )
    return Compactions(compactions, sum(len(each.places) for each in unmatched))


def archived_at(rows: SessionRows) -> Callable[[StoredMessage], int | None]:
    """Return what tells when a message was archived, None where it was not."""
    boundaries = [each.boundary_seq for each in rows.compactions]
    summaries = [each.summary_seq for each in rows.compactions]

    def when(message: StoredMessage) -> int | None:
        edges = boundaries if message.summary_of is None else summaries
        at = bisect_right(edges, message.seq)
        return rows.compactions[at].created_at if at < len(edges) else None

    return when


def _groups(rows: Sequence[Row]) -> list[_Group]:
    """Return what was archived together, in order of its last message."""
    groups: dict[Cell, _Group] = {}
    for place, row in enumerate(rows):
        cell = row.get(COLUMN)
        if cell is not None:
            time = cells.micros_of_text(cell)
            groups.setdefault(cell, _Group(time, [])).places.append(place)
    return sorted(groups.values(), key=lambda each: each.places[-1])


def _summaries(rows: Sequence[Row], messages: Sequence[StoredMessage]) -> list[int]:
    """Return the places of what can be summaries, each with a hint after it."""
    found: list[int] = []
    for place, (first, second) in enumerate(pairwise(messages)):
        if (
            first.role == Role.SYSTEM
            and second.role == Role.ASSISTANT
            and COLUMN in rows[place]
            and rows[place].get("created_at") == rows[place + 1].get("created_at")
            and _is_bare(first)
            and _is_bare(second)
        ):
            found.append(place)
    return found


def _is_bare(message: StoredMessage) -> bool:
    """Tell whether a message is text and nothing else."""
    rest = (
        message.tool_calls,
        message.tool_call_id,
        message.usage,
        message.agent_name,
    )
    return message.content is not None and rest == (None,) * len(rest)


def _matched(
    groups: Sequence[_Group],
    summaries: Sequence[int],
    messages: Sequence[StoredMessage],
) -> dict[int, _Group]:
    """Return which group the summary at a place stands for."""
    matched: dict[int, _Group] = {}
    for group in groups:
        if group.archived_at is None:
            continue
        for place in summaries:
            delay = messages[place].created_at - group.archived_at
            if (
                place > group.places[-1]
                and place not in matched
                and 0 <= delay <= DELAY_MAX
            ):
                matched[place] = group
                break
    return matched


def _boundary(
    messages: Sequence[StoredMessage], archived: set[int], summary: int
) -> int:
    """Return the place of the first message before a summary that was kept."""
    for place in range(summary):
        if messages[place].summary_of is None and place not in archived:
            return place
    return summary
