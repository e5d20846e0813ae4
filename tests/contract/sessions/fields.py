"""A value for each field of a new session."""

from __future__ import annotations

from typing import Any, Final

from turnstore import SessionStatus, ToolPolicy

FIELDS: Final[dict[str, Any]] = {
    "user_id": "ada",
    "agent_name": "coder",
    "project_root": "/repo",
    "title": "Tests",
    "provider": "p",
    "model": "m",
    "system_prompt": "system",
    "user_prompt": "user",
    "config": {"a": [1, None]},
    "tool_policy": ToolPolicy(
        mode="mixed", tools=frozenset("ab"), ask_for_others=False
    ),
    "metadata": {"k": "v", "empty": ""},
    "parent_session_id": "parent",
    "status": SessionStatus.RUNNING,
}
