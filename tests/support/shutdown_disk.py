"""A disk that loses power: ext4 on a loop device, shut down by its ioctl.

What the kernel has not sent to the device is lost, the journal is not flushed, and the
next mount recovers, as it does after a power cut. Needs root, loop devices and
``mkfs.ext4``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FS_IOC_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = struct.pack("=I", 2)
_IMAGE_BYTES: Final = 256 * 1024 * 1024


def _run(*arguments: object) -> None:
    made = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
    if made.returncode:
        raise OSError(f"{arguments[0]}: {made.stderr.strip()}")


class ShutdownDisk:
    def __init__(self, folder: Path) -> None:
        self.mounted = folder / "disk"
        self._image = folder / "disk.img"
        self.mounted.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", self._image)

    def mount(self) -> None:
        # The kernel writes on its own as seldom as it may: more is lost.
        options = "loop,commit=300"
        _run("mount", "-o", options, self._image, self.mounted)

    def cut_power(self) -> None:
        handle = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _FS_IOC_SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(handle)

    def unmount(self) -> None:
        _run("umount", self.mounted)


def why_not() -> str | None:
    """Tell why there are no power cuts here."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root, to mount a disk"
    missing = [
        each for each in ("mkfs.ext4", "mount", "umount") if not shutil.which(each)
    ]
    return f"needs {', '.join(missing)}" if missing else None


@contextmanager
def shutdown_disk(folder: Path) -> Iterator[ShutdownDisk]:
    """Yield a mounted disk; raise ``OSError`` where the machine has none."""
    disk = ShutdownDisk(folder)
    disk.mount()
    try:
        yield disk
    finally:
        if os.path.ismount(disk.mounted):
            disk.unmount()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Yield a folder that is a file system of that size; ``OSError`` as above."""
    mounted = folder / "small"
    mounted.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", mounted)
    try:
        yield mounted
    finally:
        _run("umount", mounted)
