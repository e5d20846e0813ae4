"""Rows of sessions that look like those of a year of use.

20 agents, 50 projects, 4 providers and 10 models, the first of each the most frequent,
the last the rarest; 80 % completed, 0.5 % running; 0.5 % with an open tool call; one in
200 a child of the first session, one in five of some other; titles of 4 to 8 words out
of 200, one in 1,000 with RARE_WORD; two metadata pairs, ``team`` (100 values) and
``ticket`` (unique); 1 to 300 messages with usage, five on average. The heads agree with
the rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
from sqlalchemy import Table

from bench.data.rows import (
    START_US,
    Row,
    head,
    message,
    open_call,
    pair,
    session,
    session_id,
)
from bench.internals import schema

HALF_HOUR_US: Final = 1_800 * 1_000_000
YEAR_US: Final = 365 * 86_400 * 1_000_000
STATUSES: Final = ("idle", "waiting_for_user_input", "failed", "interrupted")
BATCH_SESSIONS: Final = 5_000
WORDS: Final = [
    f"{first}{last}"
    for first in ("par", "log", "ser", "net", "gra", "tok", "que", "ren", "bui", "tes")
    for last in (
        *("ser", "der", "ver", "ter", "ker", "ging", "ding", "king", "ting", "ning"),
        *("let", "ket", "set", "net", "bet", "ion", "age", "ure", "ism", "ous"),
    )
]
RARE_WORD: Final = "zeppelin"

_LISTING_TABLES: Final = (
    schema.sessions,
    schema.session_heads,
    schema.session_metadata,
    schema.messages,
    schema.tool_calls,
)


def listing_rows(count: int, seed: int = 1) -> Iterator[tuple[Table, list[Row]]]:
    """Give the rows of ``count`` sessions, some thousand sessions at a time."""
    made = _listed(count, random.Random(seed))
    while chunk := list(islice(made, BATCH_SESSIONS)):
        for at, table in enumerate(_LISTING_TABLES):
            yield table, [row for each in chunk for row in each[at]]


def _listed(count: int, chance: random.Random) -> Iterator[tuple[list[Row], ...]]:
    """Give the rows of each session, in the order of _LISTING_TABLES."""
    for key in range(1, count + 1):
        created_at = START_US + int(chance.random() * YEAR_US)
        is_open = chance.random() < 0.005
        usages = [
            (chance.randint(200, 2_000), chance.randint(20, 400))
            for _ in range(min(300, int(chance.paretovariate(1.3) * 1.5)))
        ]
        yield (
            [_listed_session(key, created_at, chance)],
            [_listed_head(key, created_at, usages, is_open, chance)],
            [
                pair(key, "team", f"team-{chance.randrange(100)}", created_at),
                pair(key, "ticket", f"T-{key}", created_at),
            ],
            [
                message(key, seq, created_at + seq, *usage)
                for seq, usage in enumerate(usages, 1)
            ],
            [open_call(key, created_at)] if is_open else [],
        )


def _listed_session(key: int, created_at: int, chance: random.Random) -> Row:
    words = chance.choices(WORDS, k=chance.randint(4, 8))
    if chance.random() < 0.001:
        words[-1] = RARE_WORD
    title = " ".join(words).capitalize()
    draw = chance.random()
    status = "running" if draw < 0.005 else "completed"
    if 0.005 <= draw < 0.2:
        status = chance.choice(STATUSES)
    draw = chance.random()
    parent = None
    if key > 2 and draw < 0.2:
        parent = session_id(1 if draw < 0.005 else chance.randrange(2, key))
    model = _skewed(10, chance)
    return session(
        key,
        session_id(key),
        created_at,
        agent_name=f"agent-{_skewed(20, chance)}",
        project_root=f"/projects/{_skewed(50, chance)}",
        title=msgspec.json.encode(title).decode(),
        title_folded=title.lower(),
        provider=f"provider-{model % 4}",
        model=f"model-{model}",
        status=status,
        parent_session_id=parent,
    )


def _listed_head(
    key: int,
    created_at: int,
    usages: list[tuple[int, int]],
    is_open: bool,
    chance: random.Random,
) -> Row:
    lasted_us = chance.expovariate(1 / HALF_HOUR_US)
    if chance.random() < 0.05:
        lasted_us += chance.random() * YEAR_US / 4
    prompt_tokens = sum(prompt for prompt, _ in usages)
    completion_tokens = sum(completion for _, completion in usages)
    return head(
        key,
        created_at,
        updated_at=created_at + int(lasted_us),
        message_head=len(usages),
        message_count=len(usages),
        active_message_id=f"m{len(usages)}",
        tool_call_head=int(is_open),
        tool_call_count=int(is_open),
        pending_tool_calls=int(is_open),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        api_calls=len(usages),
        last_model=f"model-{_skewed(10, chance)}",
    )


def _skewed(count: int, chance: random.Random) -> int:
    """0 most often (37 % of 20), ``count - 1`` least (1.7 % of 20)."""
    return int(count * chance.random() ** 3)
