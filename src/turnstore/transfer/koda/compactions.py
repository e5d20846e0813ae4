"""Finds koda's compactions in its messages.

koda marks the messages that it archives with one time, and adds a summary (role
system) and a hint (role assistant) in the same transaction. So the messages with the
same ``compacted_at`` were archived by one compaction, and its summary is the first such
pair that follows them at about that time. A pair without archived messages is left of a
compaction whose messages were purged.

The store archives all messages before a boundary. If koda left a gap among archived
messages, or kept a summary, the boundary is moved so that no kept message is archived.
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
"""The longest time between marking messages and adding their summary."""


class Compactions(msgspec.Struct):
    """The compactions found, and how many archived messages belong to none of them."""

    compactions: list[StoredCompaction]
    without_summary: int


class _Group(msgspec.Struct):
    """The indexes of the messages with one ``compacted_at``."""

    archived_at: int | None
    indexes: list[int] = []


def find_compactions(
    rows: Sequence[Row], messages: Sequence[StoredMessage]
) -> Compactions:
    """Return the compactions of a session and set ``summary_of`` of its messages."""
    groups = _groups(rows)
    summaries = _summaries(rows, messages)
    matched = _matched(groups, summaries, messages)
    for number, at in enumerate(summaries, 1):
        messages[at].summary_of = messages[at + 1].summary_of = number
    with_summary = [id(each) for each in matched.values()]
    unmatched = [each for each in groups if id(each) not in with_summary]
    archived = {at for each in unmatched for at in each.indexes}
    compactions: list[StoredCompaction] = []
    for at in summaries:
        group = matched.get(at, _Group(None))
        archived.update(group.indexes)
        created_at = group.archived_at
        if created_at is None:
            created_at = messages[at].created_at
        compactions.append(
            StoredCompaction(
                summary_seq=at + 1,
                boundary_seq=_boundary(messages, archived, at) + 1,
                archived=len(group.indexes),
                purged=0 if group.indexes else 1,
                created_at=created_at,
            )
        )
    return Compactions(compactions, sum(len(each.indexes) for each in unmatched))


def archived_at(rows: SessionRows) -> Callable[[StoredMessage], int | None]:
    """Return the function that returns when a message was archived, None if it was
    not."""
    boundaries = [each.boundary_seq for each in rows.compactions]
    summaries = [each.summary_seq for each in rows.compactions]

    def when(message: StoredMessage) -> int | None:
        edges = boundaries if message.summary_of is None else summaries
        at = bisect_right(edges, message.seq)
        return rows.compactions[at].created_at if at < len(edges) else None

    return when


def _groups(rows: Sequence[Row]) -> list[_Group]:
    """Return the messages that were archived together, in order of the last of them."""
    groups: dict[Cell, _Group] = {}
    for at, row in enumerate(rows):
        cell = row.get(COLUMN)
        if cell is not None:
            time = cells.micros_of_text(cell)
            groups.setdefault(cell, _Group(time)).indexes.append(at)
    return sorted(groups.values(), key=lambda each: each.indexes[-1])


def _summaries(rows: Sequence[Row], messages: Sequence[StoredMessage]) -> list[int]:
    """Return the indexes of messages that can be summaries with a hint after them."""
    found: list[int] = []
    for at, (first, second) in enumerate(pairwise(messages)):
        if (
            first.role == Role.SYSTEM
            and second.role == Role.ASSISTANT
            and COLUMN in rows[at]
            and rows[at].get("created_at") == rows[at + 1].get("created_at")
            and _is_bare(first)
            and _is_bare(second)
        ):
            found.append(at)
    return found


def _is_bare(message: StoredMessage) -> bool:
    """Whether a message is text and nothing else."""
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
    """Return the group that each summary, by its index, stands for."""
    matched: dict[int, _Group] = {}
    for group in groups:
        if group.archived_at is None:
            continue
        for at in summaries:
            delay = messages[at].created_at - group.archived_at
            is_after = at > group.indexes[-1] and 0 <= delay <= DELAY_MAX
            if is_after and at not in matched:
                matched[at] = group
                break
    return matched


def _boundary(
    messages: Sequence[StoredMessage], archived: set[int], summary: int
) -> int:
    """Return the index of the first message before a summary that is not archived."""
    for at in range(summary):
        if messages[at].summary_of is None and at not in archived:
            return at
    return summary
