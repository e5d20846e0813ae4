"""Calls on files that fail, in a child process, as they do on a disk that fails.

``faults.c`` is put before the C library of a child by LD_PRELOAD. The test makes a
``Faults`` and starts the child with its ``environment``; it or the child, which gets
the ``plan`` from its own environment by ``Faults.of_this_process``, says what fails::

    faults.fail("read", "store.db", errno.EIO, for_ever=True)
    faults.stop()

Only files whose path ends so fail or are counted: ``store.db``, ``store.db-wal``, or
``.partial`` of a backup.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

Operation = Literal["read", "write", "sync", "truncate"]

HALF: Final = 0
"""A call reads or writes half of what it is asked, which is no error."""
NOTHING: Final = -1
"""A call reads nothing, as at the end of a file; or writes nothing."""
KILLED: Final = -2
"""The process is killed just before the call."""

WHY_NOT: Final = (
    "needs the C compiler cc"
    if shutil.which("cc") is None
    else "needs LD_PRELOAD, which Linux has"
    if sys.platform != "linux"
    else None
)
"""Why there are no faults here: give it to ``pytest.mark.skipif``."""

_OPERATIONS: Final = ("read", "write", "sync", "truncate")
_PLAN: Final = struct.Struct("=4qqqiii508s")  # struct plan of faults.c
_VARIABLE: Final = "TURNSTORE_FAULTS"


class Faults:
    """What fails in the processes that have the plan."""

    def __init__(self, plan: Path, library: Path | None = None) -> None:
        self._path = plan
        self._library = library
        with plan.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    @classmethod
    def make(cls, folder: Path) -> Faults:
        """Compile the library and make a plan, by which nothing fails, in a folder."""
        library, plan = folder / "faults.so", folder / "faults.plan"
        source = Path(__file__).with_suffix(".c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-ldl"]
        subprocess.run(
            [*command, "-o", library, source], check=True, capture_output=True
        )
        plan.write_bytes(bytes(mmap.PAGESIZE))
        return cls(plan, library)

    @classmethod
    def of_this_process(cls) -> Faults:
        return cls(Path(os.environ[_VARIABLE]))

    @property
    def environment(self) -> dict[str, str]:
        """Of a child whose calls fail. The child can import ``tests``."""
        root = str(Path(__file__).resolve().parents[2])
        return os.environ | {
            "LD_PRELOAD": str(self._library),
            _VARIABLE: str(self._path),
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        }

    def fail(
        self,
        operation: Operation,
        ending: str,
        what: int,
        *,
        at: int = 1,
        for_ever: bool = False,
    ) -> None:
        """Let a call fail from now on: the one after ``at - 1`` others.

        :param ending: of the path of the files.
        :param what: the error's number, ``HALF`` or ``NOTHING``; synchronizing and
            truncating do fail with EIO for those.
        :param for_ever: the calls after it fail too.
        """
        self._write(ending, _OPERATIONS.index(operation), at, what, for_ever)

    def count(self, ending: str) -> None:
        """Let nothing fail, and count the calls on such files from now on."""
        self._write(ending, len(_OPERATIONS), 0, 0, False)

    def stop(self) -> None:
        """Let nothing fail from now on; the counts stay."""
        operation = struct.Struct("=i")
        operation.pack_into(self._plan, 6 * 8, len(_OPERATIONS))

    def calls(self, operation: Operation) -> int:
        """Calls since the plan was changed, those that failed among them."""
        count: int = _PLAN.unpack_from(self._plan)[_OPERATIONS.index(operation)]
        return count

    @property
    def failed(self) -> int:
        """Calls that failed since the plan was changed."""
        count: int = _PLAN.unpack_from(self._plan)[4]
        return count

    def _write(
        self, ending: str, operation: int, at: int, what: int, for_ever: bool
    ) -> None:
        # First nothing fails, so that no call meets half of a plan.
        self.stop()
        counts = (0, 0, 0, 0, 0)
        values = (at, len(_OPERATIONS), what, for_ever, os.fsencode(ending))
        _PLAN.pack_into(self._plan, 0, *counts, *values)
        struct.Struct("=i").pack_into(self._plan, 6 * 8, operation)
