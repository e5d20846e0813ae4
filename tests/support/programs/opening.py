"""A child process that upgrades a new file and is killed at a statement.

Arguments: the file, and the number of the statement after which to end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from sqlalchemy import Engine, event

from turnstore import SessionStore

path, last = sys.argv[1], int(sys.argv[2])
statements: list[str] = []


def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    statements.append(statement)
    if len(statements) == last:
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    event.listen(Engine, "after_cursor_execute", count)
    async with SessionStore(f"sqlite:///{path}"):
        print(len(statements), flush=True)


asyncio.run(main())
