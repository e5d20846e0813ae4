"""The private parts of aiosqlite that a SQLite store runs on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from turnstore import SessionStore, StoreError
from turnstore.engine.sqlite.thread import AIOSQLITE_KNOWN

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.anyio
@pytest.mark.parametrize("part", ["_tx", "_thread"])
async def test_an_unknown_aiosqlite_is_refused_on_open(
    part: str, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(aiosqlite.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            setattr(self, part, None)

    monkeypatch.setattr(aiosqlite, "Connection", Changed)
    told = rf"aiosqlite [\d.]+ lacks .* Connection\.{part}.*"
    with pytest.raises(StoreError, match=told + re.escape(f"'{AIOSQLITE_KNOWN}'")):
        await SessionStore(store_path).open()


def test_the_known_aiosqlite_is_the_one_depended_on() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert AIOSQLITE_KNOWN in project["dependencies"]
