"""A session as nocodo makes one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from turnstore import Session, SessionStore

STARTED = datetime(2026, 2, 3, 10, 15, tzinfo=UTC)


@pytest.fixture
async def session(store: SessionStore) -> Session:
    """A session as a request for an agent run makes it."""
    return await store.sessions.create(
        id="1",
        agent_name="sqlite",
        provider="anthropic",
        model="claude",
        system_prompt="You read databases.",
        user_prompt="Which tables are there?",
        config={"type": "sqlite", "db_path": "/data/shop.db"},
        status="running",
        created_at=STARTED,
    )
