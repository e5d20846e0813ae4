"""What the tests of the command line share: a filled store and the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import anyio
import pytest

from tests.support.patience import LIMIT_S
from turnstore.store import SessionStore
from turnstore.transfer import import_file

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that holds the bundled sample."""
    url = f"sqlite:///{tmp_path}/store.db"

    async def fill() -> None:
        async with SessionStore(url) as store:
            await import_file(store, SAMPLE)

    anyio.run(fill)
    return url


@pytest.fixture
def turnstore() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program; it has no terminal."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "turnstore", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            env={**os.environ, **environment},
        )

    return run
