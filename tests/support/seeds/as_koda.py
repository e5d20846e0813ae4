"""A session as koda makes one, and talk in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.seeds.talking import say, shape
from turnstore import Session, SessionStore

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ROOT = "/repo"


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(
        id="s", agent_name="default", project_root=ROOT, created_at=START
    )


async def talk(store: SessionStore, count: int, session_id: str = "s") -> None:
    """Turns of user and assistant: m1, m2, …"""
    await store.messages.append_many(
        session_id,
        [
            say("user" if at % 2 else "assistant", f"m{at}")
            for at in range(1, count + 1)
        ],
    )


async def context(store: SessionStore) -> list[tuple[Any, ...]]:
    return shape(await store.messages.context("s"))
