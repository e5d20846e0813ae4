"""pgbouncer between stores and server, in transaction mode.

It hands each transaction the server connection that was used longest ago, of a few
that all clients of a database share. So what a store would leave in one is not there
in its next transaction, and is there in another store's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.patience import LIMIT_S
from tests.support.postgres.server import UNPRIVILEGED, PostgresServer, free_port

SERVERS = 3


def missing() -> str | None:
    """Say why there is no pooler, None where there is."""
    return "there is no pgbouncer" if _program() is None else None


class Pooler:
    """
    :param server: whose databases, all of them, it serves.
    :param further: a line of its settings.
    """

    def __init__(self, server: PostgresServer, further: str = "") -> None:
        self._further = further
        self._server_port = server.port
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="turnstore-pgbouncer-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = UNPRIVILEGED  # it refuses root
            shutil.chown(self._folder, UNPRIVILEGED)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it as a child of this process, and wait until it listens."""
        users = self._folder / "users"
        users.write_text('"postgres" ""\n')
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server_port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = trust\nauth_file = {users}\n"
            f"pool_mode = transaction\ndefault_pool_size = {SERVERS}\n"
            "server_round_robin = 1\nlog_connections = 0\nlog_disconnections = 0\n"
            f"{self._further}\n"
        )
        program = _program()
        assert program is not None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, settings],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + LIMIT_S
        while not self._is_ready():
            code = self._process.poll()
            assert code is None, f"pgbouncer ended with {code}:\n{self.log()}"
            assert time.monotonic() < until_s, f"it did not start:\n{self.log()}"
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def url(self, url: str) -> str:
        """Return the way to a database, given by its URL, through the pooler.

        Without asking for TLS first, which takes longer than to connect.
        """
        through = url.replace(f":{self._server_port}/", f":{self.port}/")
        return f"{through}?sslmode=disable"

    def remove(self) -> None:
        if self._process is not None:
            self._process.terminate()  # at once, unlike SIGINT
            self._process.wait(LIMIT_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        return (self._folder / "log").read_text()


def _program() -> str | None:
    # Where Debian has it, which is not in everybody's path.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which("pgbouncer", path=path)
