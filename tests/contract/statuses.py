"""The statuses of sessions and of tool calls, by what they mean."""

from __future__ import annotations

from typing import Final

# Of sessions
ENDED: Final = ["completed", "failed", "interrupted"]
NOT_ENDED: Final = ["idle", "running", "waiting_for_user_input"]

# Of tool calls
OPEN: Final = ["pending", "approved", "executing"]
FINAL: Final = ["completed", "failed", "denied"]
