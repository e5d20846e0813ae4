"""The number of tool calls of a session, and of those that are open."""

from __future__ import annotations

from turnstore import SessionStore


async def counts(store: SessionStore) -> tuple[int, int]:
    found = await store.sessions.get("s")
    assert found is not None
    return found.tool_call_count, found.pending_tool_calls
