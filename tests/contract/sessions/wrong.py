"""Values that are none of a field of a session, whether it is created or updated."""

from __future__ import annotations

from typing import Any, Final

from turnstore import ToolPolicy

WRONG: Final[list[dict[str, Any]]] = [
    {"agent_name": 5},
    {"project_root": b"/"},
    {"title": 5},
    {"system_prompt": ["x"]},
    {"status": "unknown"},
    {"status": "done"},
    {"status": None},
    {"status": ["idle"]},
    {"tool_policy": {"mode": "mixed"}},
    {"tool_policy": ToolPolicy(mode="never")},  # type: ignore[arg-type]
    {"tool_policy": ToolPolicy(tools={5})},  # type: ignore[arg-type]
    {"tool_policy": ToolPolicy(tools=None)},  # type: ignore[arg-type]
    {"tool_policy": ToolPolicy(tools="ab")},  # type: ignore[arg-type]
    {"tool_policy": ToolPolicy(ask_for_others="no")},  # type: ignore[arg-type]
    {"metadata": {"a": 5}},
    {"metadata": {"": "a"}},
    {"metadata": {5: "a"}},
    {"metadata": {"x" * 256: "a"}},
    {"metadata": [("a", "b")]},
    {"parent_session_id": 5},
]
