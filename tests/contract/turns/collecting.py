"""Calls of a turn that succeed on the sessions of ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from turnstore import Usage

Collect: TypeAlias = Callable[[Any], object]

GOOD: Final[list[Collect]] = [
    lambda turn: turn.message("user", id="m", usage=Usage(prompt_tokens=1), model="m"),
    lambda turn: turn.tool_call("t", {}, id="c", message_id="m"),
    lambda turn: turn.tool_call("t", {}, id="d", message_id="old"),
    lambda turn: turn.event("e", idempotency_key="k"),
    lambda turn: turn.event("e", session_id="other"),
    lambda turn: turn.update_tool_call("old", status="completed"),
    lambda turn: turn.update_session(title="new", metadata={"a": "b"}),
    lambda turn: turn.create_session(session_id="new"),
    lambda turn: turn.event("e", session_id="new"),
]
