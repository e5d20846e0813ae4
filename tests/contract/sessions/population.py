"""Many sessions, and what lists of them are by a model in plain Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from turnstore import Session, SessionFilter, SessionStatus, SessionStore, Usage

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
HOURS: Final = [START + timedelta(hours=n) for n in range(5)]
NAMES: Final = ["", "a", "b", "A"]
MAYBE: Final = [None, *NAMES]
TITLES: Final = [
    None,
    "",
    "ab",
    "Abc def",
    "ABCDEF",
    "x abc %_ 'q\"",
    "İé\x00z",
    "ÀBC",
    "defdef",
]
STATUSES: Final = [each for each in SessionStatus if each is not SessionStatus.UNKNOWN]
METADATA: Final[list[dict[str, str]]] = [
    {},
    {"a": "1"},
    {"a": "2", "b": ""},
    {"a": "1", "b": "1", "c": "\x00"},
]


class Population:
    """Sessions in order of creation, each with the sum of tokens it is ordered by."""

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions

    def matching(self, given: SessionFilter) -> list[Session]:
        return [each for each in self.sessions if matches(each, given)]

    def ordered(
        self, given: SessionFilter, order_by: str, descending: bool
    ) -> list[Session]:
        ages = {each.id: age for age, each in enumerate(self.sessions)}

        def place(session: Session) -> tuple[Any, datetime, int]:
            if order_by == "total_tokens":
                usage = session.usage
                value: Any = usage.prompt_tokens + usage.completion_tokens
            else:
                value = getattr(session, order_by)
            return value, session.created_at, ages[session.id]

        return sorted(self.matching(given), key=place, reverse=descending)


def matches(session: Session, given: SessionFilter) -> bool:
    return all(_tests(session, given))


def _tests(session: Session, given: SessionFilter) -> Iterator[bool]:
    for name in (
        "user_id",
        "agent_name",
        "project_root",
        "provider",
        "model",
        "last_model",
        "parent_session_id",
    ):
        wanted = getattr(given, name)
        yield wanted is None or getattr(session, name) == wanted
    if given.ids is not None:
        yield session.id in given.ids
    if isinstance(given.status, str):
        yield session.status == given.status
    elif given.status is not None:
        yield session.status in given.status
    for key, value in (given.metadata or {}).items():
        yield session.metadata.get(key) == value
    for key in given.metadata_keys or ():
        yield key in session.metadata
    if given.title_contains is not None:
        title = session.title
        yield title is not None and folded(given.title_contains) in folded(title)
    if given.has_pending_tool_calls is not None:
        yield (session.pending_tool_calls > 0) == given.has_pending_tool_calls
    yield given.created_after is None or session.created_at >= given.created_after
    yield given.created_before is None or session.created_at <= given.created_before
    yield given.updated_after is None or session.updated_at >= given.updated_after
    yield given.updated_before is None or session.updated_at <= given.updated_before
    low, high = given.message_count_min, given.message_count_max
    yield low is None or session.message_count >= low
    yield high is None or session.message_count <= high


def folded(text: str) -> str:
    return "".join(each.lower() if each.isascii() else each for each in text)


async def populate(store: SessionStore, rng: random.Random, count: int) -> None:
    """Create sessions, of which many share a time; then change and delete some."""
    for at in range(count):
        await store.sessions.create(
            id=f"s{at}",
            user_id=rng.choice(MAYBE),
            agent_name=rng.choice(NAMES),
            project_root=rng.choice(MAYBE),
            title=rng.choice(TITLES),
            provider=rng.choice(MAYBE),
            model=rng.choice(MAYBE),
            metadata=rng.choice(METADATA),
            parent_session_id=rng.choice([None, "a", "s1" if at != 1 else "a"]),
            status=rng.choice(STATUSES),
            created_at=rng.choice(HOURS) if at % 3 else None,
        )
    changes: list[Awaitable[Any]] = []
    for _ in range(2 * count):
        name = f"s{rng.randrange(count)}"
        changes.append(rng.choice([append, use, call, close, rename])(store, rng, name))
    for first in range(0, len(changes), 10):
        await asyncio.gather(*changes[first : first + 10])
    for at in rng.sample(range(count), count // 8):
        await store.sessions.delete(f"s{at}")


async def append(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.messages.append(name, "user", model=rng.choice(MAYBE))


async def use(store: SessionStore, rng: random.Random, name: str) -> None:
    usage = Usage(
        prompt_tokens=rng.randrange(3),
        completion_tokens=rng.randrange(3),
        thinking_tokens=rng.randrange(9),
    )
    await store.messages.append(name, "assistant", usage=usage)


async def call(store: SessionStore, rng: random.Random, name: str) -> None:
    status = rng.choice(["pending", "executing", "failed"])
    await store.tool_calls.create(name, "t", {}, status=status)


async def close(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.tool_calls.interrupt(name)


async def rename(store: SessionStore, rng: random.Random, name: str) -> None:
    await store.sessions.update(
        name,
        title=rng.choice(TITLES),
        status=rng.choice(STATUSES),
        metadata=rng.choice(METADATA),
        agent_name=rng.choice(NAMES),
    )
