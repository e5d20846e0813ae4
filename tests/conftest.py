"""Fixtures of every suite, and what is checked after each test.

After each test: no thread and no task is left, and Python opened no database file.
Opening one by any way but SQLite would drop the locks that SQLite holds on it in this
process, so even a test that wants the bytes of a file reads them in a child process
(``file_bytes``).
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.children import Child, starting
from tests.support.clock import Clock
from tests.support.patience import LIMIT_S, SLOWNESS, patient
from turnstore import SessionStore
from turnstore.engine.sqlite.library import library

pytest_plugins = ["tests.support.postgres.fixtures"]

settings.register_profile(
    "default",
    deadline=None,
    # How long examples take to be made says how busy the machine is.
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    max_examples=60,
)
settings.load_profile("default")

TESTS = Path(__file__).parent
QUICK = (
    "contract/",
    "unit/test_codec.py",
    "unit/test_errors.py",
    "unit/test_options.py",
    "unit/test_stages.py",
    "concurrency/test_cancellation_storm.py",
    "concurrency/test_close.py",
    "concurrency/test_follow_races.py",
    "concurrency/test_group_commit.py",
    "concurrency/test_reads.py",
    "concurrency/test_write_cancellation.py",
    "backends/test_sqlite_faults.py",
    "backends/test_sqlite_opening.py",
    "crash/test_kill.py",
    "migrations/test_upgrades.py",
    "properties/test_json.py",
    "transfer/test_koda.py",
    "transfer/test_nocodo.py",
    "postgres/test_postgres_lanes.py",
    "test_public_api.py",
)
"""What is marked ``quick``: what says most for its time."""
NOT_QUICK = ("sqlite_memory", "postgres", "again", "long")
"""Marks of the contract on other ways than to a file, and of what takes long."""
RULES = os.path.join("contract", "rules", "")
DEAR = (
    f"{RULES}test_damage.py",
    f"{RULES}test_junk.py",
    f"{RULES}test_large_rows.py",
    os.path.join("contract", "sessions", "test_listing_model.py"),
)
"""What is not quick all the same."""
JUNK = f"{RULES}test_junk.py"
"""Arguments are checked before a database sees them: one way is enough by default."""

ROUNDS = 5

_DATABASE_FILES = (".db", ".db-wal", ".db-shm")
_raw_opens: list[str] = []


def _watch_opens(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open":
        return
    path, _, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike):
        return
    name = os.fsdecode(path)
    if name.endswith(_DATABASE_FILES) and not flags & os.O_EXCL:
        where = "".join(traceback.format_stack(limit=6))
        _raw_opens.append(f"{name} opened by Python:\n{where}")


sys.addaudithook(_watch_opens)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="seed of the random tests")
    parser.addoption(
        "--crash-rounds",
        type=int,
        default=ROUNDS,
        help="how much the tests of tests/crash and tests/load do, and the storms of "
        "cancellations and the histories",
    )
    parser.addoption(
        "--soak-s",
        type=float,
        default=3.0,
        help="seconds of tests/load/test_soak.py",
    )
    parser.addoption(
        "--mutations", type=int, default=50, help="changed files of all systems"
    )
    parser.addoption("--mutation-round", type=int, help="the only one to repeat")
    parser.addoption("--lease-kills", type=int, help="killed holders of leases")
    parser.addoption("--lease-stops", type=int, help="stopped holders of leases")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.seed is None:
        config.option.seed = random.randrange(2**32)
    if config.option.timeout is None:  # else the controller or the user has set it
        config.option.timeout = float(config.getini("timeout")) * SLOWNESS


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = os.path.relpath(item.path, TESTS)
        is_elsewhere = any(map(item.get_closest_marker, NOT_QUICK))
        if path.startswith(QUICK) and path not in DEAR and not is_elsewhere:
            item.add_marker(pytest.mark.quick)
        if path == JUNK and item.get_closest_marker("sqlite_memory") is None:
            item.add_marker(pytest.mark.long)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        f"seed: {config.option.seed} (repeat with --seed), {library().name}",
        f"time limits: times {SLOWNESS:g}, as slow as the machine is now",
    ]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"debug": False}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on ``--seed`` and the test's name only."""
    return random.Random(f"{request.config.option.seed} {request.node.name}")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How much a test of random or of many moments does."""
    found: int = request.config.option.crash_rounds
    return found


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    threads = set(threading.enumerate())
    opens = len(_raw_opens)
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("no_tasks_left")
    yield
    left = set(threading.enumerate()) - threads
    for thread in left:
        # A connection's thread ends just after close() has returned.
        thread.join(LIMIT_S)
    alive = [thread for thread in left if thread.is_alive()]
    if alive:
        # What was leaked warns when it is collected: here, not in a later test.
        gc.collect()
    assert alive == []
    assert _raw_opens[opens:] == []


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    yield
    tasks = [
        task
        for task in asyncio.all_tasks()
        if "TestRunner" not in getattr(task.get_coro(), "__qualname__", "")
    ]
    assert tasks == []


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with the schema: copying it takes a tenth of making it."""
    path = tmp_path_factory.mktemp("template") / "template"

    async def make() -> None:
        async with SessionStore(path):
            pass

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture
def made_store(store_path: Path, sqlite_template: bytes) -> Path:
    """The file of ``store``, with the schema."""
    with open(store_path, "xb", opener=partial(os.open, mode=0o600)) as file:
        file.write(sqlite_template)
    return store_path


@pytest.fixture
async def store(made_store: Path) -> AsyncIterator[SessionStore]:
    async with SessionStore(made_store, patient()) as opened:
        yield opened


@pytest.fixture
async def second_store(
    store: SessionStore, store_path: Path
) -> AsyncIterator[SessionStore]:
    """Another store on the file of ``store``."""
    async with SessionStore(store_path, patient()) as opened:
        yield opened


@pytest.fixture
async def memory_store() -> AsyncIterator[SessionStore]:
    async with SessionStore("sqlite://") as opened:
        yield opened


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    """The clock of the test's event loop."""
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patched:
        clock = Clock(loop)
        patched.setattr(loop, "time", clock.time)
        yield clock


@pytest.fixture
def connect() -> Iterator[Callable[[Path], Any]]:
    """Connect to a file past the store, by the library that the store uses."""
    connections: list[Any] = []

    def connect(path: Path) -> Any:
        connection = library().module.connect(
            str(path), isolation_level=None, check_same_thread=False, timeout=0
        )
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        connection.close()


@pytest.fixture
def file_bytes() -> Callable[[Path], bytes]:
    """Read a file in a child process."""

    def read(path: Path) -> bytes:
        code = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, str(path)],
            capture_output=True,
            check=True,
        )
        return child.stdout

    return read


@pytest.fixture
def start_python() -> Iterator[Callable[..., Child]]:
    """Start code in a child process, to talk to by its lines."""
    with starting() as start:
        yield lambda code, *arguments: start(
            [sys.executable, "-c", code, *map(str, arguments)]
        )


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a child process; warnings are shown, a hang is an error."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "always", "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    return run
