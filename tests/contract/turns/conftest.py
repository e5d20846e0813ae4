"""Sessions for turns to write to."""

from __future__ import annotations

import pytest

from turnstore import SessionStore


@pytest.fixture
async def sessions(store: SessionStore) -> None:
    """``s`` and ``other``, each with a message and a tool call ``old``."""
    for name in ("s", "other"):
        await store.sessions.create(id=name)
        await store.messages.append(name, "user", id="old")
        await store.tool_calls.create(name, "t", {}, id="old")
