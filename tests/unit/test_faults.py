"""The faults of other tests: calls fail when and where they are told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import WHY_NOT, Faults

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PROGRAM = """
import errno, os, sys
from tests.support.faults import HALF, NOTHING, Faults

faults = Faults.of_this_process()
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
other = os.open(sys.argv[1] + "-other", os.O_RDWR | os.O_CREAT)

def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def write(): return tried(os.pwrite, handle, b"12345678", 0)
def read(): return tried(os.pread, handle, 8, 0)

faults.fail("write", "file", errno.ENOSPC, at=2)
print(write(), write(), write(), faults.calls("write"), faults.failed)
faults.fail("write", "file", HALF)
print(write(), os.pwrite(other, b"12345678", 0))
faults.fail("read", "file", errno.EIO, for_ever=True)
print(read(), read(), tried(os.pread, other, 2, 0))
faults.stop()
print(read())
faults.fail("read", "file", NOTHING)
print(read(), read())
faults.fail("sync", "file", errno.EIO)
print(tried(os.fsync, handle), tried(os.fsync, handle))
faults.fail("sync", "file", errno.EIO, at=2)
print(tried(os.fdatasync, handle), tried(os.fdatasync, handle))
faults.fail("truncate", "file", errno.ENOSPC)
print(tried(os.ftruncate, handle, 0), tried(os.ftruncate, handle, 0))
"""

EXPECTED = """\
8 ENOSPC 8 3 1
4 8
EIO EIO b'12'
b'12345678'
b'' b'12345678'
EIO None
None EIO
ENOSPC None
"""


def test_calls_fail_as_they_are_told(tmp_path: Path) -> None:
    faults = Faults.make(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        env=faults.environment,
    )
    assert (child.stdout, child.stderr) == (EXPECTED, "")
