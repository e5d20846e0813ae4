"""A session as steer makes one, and content in its form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from turnstore import Session, SessionStore, ToolPolicy

START = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
CONFIG = {
    "workspace": {"type": "local", "path": "/repo"},
    "tools": {"bash": {"approved_patterns": ["git status", "cargo *"]}},
    "visibility": {"whitelist": ["bash"]},
}


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(
        id="s", config=CONFIG, tool_policy=ToolPolicy(mode="always_ask")
    )


def text(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


async def get(store: SessionStore) -> Session:
    found = await store.sessions.get("s")
    assert found is not None
    return found
