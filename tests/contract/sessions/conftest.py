"""Sessions to list."""

from __future__ import annotations

import pytest

from tests.contract.sessions.pages import DAYS
from turnstore import SessionStore


@pytest.fixture
async def abc(store: SessionStore) -> None:
    """Three sessions, created and last changed in the order of their names."""
    create = store.sessions.create
    await create(
        id="a",
        agent_name="coder",
        project_root="/repo",
        title="Fix the Tests",
        metadata={"k": "v", "x": "1"},
        created_at=DAYS[0],
    )
    await create(
        id="b",
        agent_name="coder",
        provider="p",
        model="m",
        title="100%_ of TESTS, étude",
        metadata={"k": "v"},
        status="running",
        created_at=DAYS[1],
    )
    await store.messages.append("b", "user", "x", model="later")
    await create(
        id="c",
        agent_name="writer",
        model="m",
        parent_session_id="root",
        metadata={"k": "w"},
        created_at=DAYS[2],
    )
    for _ in range(2):
        await store.messages.append("c", "user", "x")
    await store.tool_calls.create("c", "t", {})
