"""The pytest plugin, in test runs of a program that uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
IN_MEMORY = """
import pytest

{mark}
async def test_a_store_is_open(turnstore):
    assert (await turnstore.sessions.create(id="a")).id == "a"

{mark}
async def test_the_next_test_has_another_store(turnstore):
    assert await turnstore.sessions.get("a") is None
"""
ON_A_FILE = """
import pytest
from turnstore import SessionStore, StoreOptions

@pytest.fixture
def turnstore_url(tmp_path):
    return tmp_path / "agents.db"

@pytest.fixture
def turnstore_options():
    return StoreOptions(durability="full")

{mark}
async def test_another_store_sees_it(turnstore, turnstore_url):
    await turnstore.sessions.create(id="a")
    async with SessionStore(turnstore_url) as second:
        assert await second.sessions.get("a") is not None
    assert turnstore.options.durability == "full"
"""
SYNC = """
def test_it(turnstore):
    pass
"""
WAYS = {
    "anyio": ("@pytest.mark.anyio", ["-p", "no:asyncio"]),
    "anyio, pytest-asyncio installed": ("@pytest.mark.anyio", []),
    "pytest-asyncio": ("@pytest.mark.asyncio", []),
    "pytest-asyncio without anyio's": ("@pytest.mark.asyncio", ["-p", "no:anyio"]),
    "pytest-asyncio, auto": ("", ["-o", "asyncio_mode=auto"]),
}


def run(folder: Path, programs: list[str], *arguments: str) -> str:
    """Run test modules with warnings as errors; return what pytest prints."""
    (folder / "conftest.py").write_text(CONFTEST)
    for number, program in enumerate(programs):
        (folder / f"test_{number}.py").write_text(program)
    scope = "asyncio_default_fixture_loop_scope=function"
    options = [] if "no:asyncio" in arguments else ["-o", scope]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", *options, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_each_test_has_a_store_of_its_own(tmp_path: Path, way: str) -> None:
    mark, arguments = WAYS[way]
    programs = [each.format(mark=mark) for each in (IN_MEMORY, ON_A_FILE)]
    assert "3 passed" in run(tmp_path, programs, *arguments)


def test_a_test_without_an_event_loop_is_told_what_to_do(tmp_path: Path) -> None:
    printed = run(tmp_path, [SYNC], "-p", "no:asyncio")
    assert "mark the test with pytest.mark.anyio, or install pytest-asyncio" in printed
    assert "1 error" in printed


def test_the_plugin_can_be_left_out(tmp_path: Path) -> None:
    printed = run(tmp_path, [SYNC], "-p", "no:turnstore")
    assert "fixture 'turnstore' not found" in printed
