"""Programs that tests run in child processes."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The working directory that ``command`` needs."""


def command(program: str, *arguments: object) -> list[str]:
    """Return how a program of this package is started; its warnings are errors."""
    module = f"{__name__}.{program}"
    return [sys.executable, "-W", "error", "-m", module, *map(str, arguments)]
