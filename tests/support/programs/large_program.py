"""Makes a microagents file of many sessions, imports it, or exports it, and prints the
peak memory in MiB.

    python -m tests.support.programs.large_program make|import|export FOLDER SESSIONS

With 100,000 sessions the import took 146 MiB at most, the export 262 MiB.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from tests.support.files.microagents_files import PROTOCOL_1, SCHEMA, insert, log
from tests.support.transfer.round_trip import connect
from turnstore.store import SessionStore
from turnstore.transfer import export_file, import_file


def rows(sessions: int) -> Iterator[list[Any]]:
    template = log("@", *PROTOCOL_1)
    for number in range(sessions):
        for _, payload, at in template:
            yield [f"session-{number:06}", payload.replace("@", str(number)), at]


def make(path: Path, sessions: int) -> None:
    connection = connect(path)
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute("BEGIN")
    connection.executemany(insert([])[0], rows(sessions))
    connection.execute("COMMIT")
    connection.close()


async def move(step: str, folder: Path, sessions: int) -> None:
    async with SessionStore(folder / "store.db") as store:
        if step == "import":
            imported = await import_file(store, folder / "many.sqlite")
            assert imported.events == sessions * len(PROTOCOL_1)
        else:
            exported = await export_file(store, folder / "out.sqlite", "microagents")
            assert exported.sessions == sessions


def main(step: str, folder: Path, sessions: int) -> None:
    if step == "make":
        make(folder / "many.sqlite", sessions)
    else:
        anyio.run(move, step, folder, sessions)
    sys.stdout.write(f"{peak_mib():.0f}\n")


def peak_mib() -> float:
    """Return the most memory that this program has had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which begins at what the parent had.
        [line] = [each for each in status.read_text().splitlines() if "VmHWM" in each]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
