"""Where a SQLite store lies: the URL, the file's place, mode and kind.

The database and its ``-wal`` and ``-shm`` are never opened here, except to create a
file that was not there: closing any handle of such a file drops all locks that SQLite
holds on it in this process.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from turnstore.errors import BackendUnavailable, InvalidArgument
from turnstore.values import is_a, shown, type_name

APPLICATION_ID: Final = 0x74756E73  # "tuns"
"""Marks a file as a store (PRAGMA application_id)."""

PATH_BYTES_MAX: Final = 4_095
NAME_BYTES_MAX: Final = 255

# File systems on which WAL is unsafe, because several hosts can share them or because
# they don't keep memory maps coherent.
_SHARED_FILE_SYSTEMS = frozenset(
    {
        "9p", "afs", "afpfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2",
        "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb3",
        "smbfs", "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip

_HIDDEN = re.compile("%(2f|5c|00)", re.IGNORECASE)
_OCTAL = re.compile(rb"\\([0-7]{3})")


def path_of_url(url: str) -> Path | None:
    """Return the absolute path that a ``sqlite://`` URL names; None: in memory.

    ``%`` escapes are decoded; the path is not resolved any further than to absolute.

    :raises InvalidArgument: not such a URL, or with options.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator:
        raise InvalidArgument(f"not a sqlite:// URL: {shown(url)}")
    rest, query, options = rest.partition("?")
    if query and options:
        raise InvalidArgument(
            f"unknown option in {shown(url)}: {shown(options)} (write a ? in a path as "
            f"%3F)"
        )
    if not rest:
        return None
    if rest == "/":
        raise InvalidArgument(
            f"{shown(url)} names no file: write sqlite:// for in memory"
        )
    if not rest.startswith("/"):
        raise InvalidArgument(
            f"{shown(url)} names a host: write sqlite:///relative.db or "
            f"sqlite:////absolute.db"
        )
    written = rest[1:].split("/")
    if _HIDDEN.search(rest) or any(
        "%" in each and unquote(each) in (".", "..") for each in written
    ):
        raise InvalidArgument(
            f"{shown(url)} has an escaped separator, dot segment or NUL: write the "
            f"path as it is"
        )
    if written[0] == "~" and len(written) > 1:
        raise InvalidArgument(
            f"{shown(url)}: ~ is not expanded in a URL: write the whole path, or give "
            f"Path.home() / ..."
        )
    try:
        name = unquote(rest[1:], errors="strict")
        name.encode()
    except UnicodeError as error:
        raise InvalidArgument(f"{shown(url)} is not UTF-8 once decoded") from error
    if name == ":memory:":
        return None
    return absolute(Path(name))


def path_given(path: object, name: str) -> Path:
    """Return what a caller gives as a path.

    :raises InvalidArgument: neither text nor a path, or an empty one.
    """
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except Exception as error:
        raise InvalidArgument(
            f"{name} must be text or a Path, got {type_name(path)}"
        ) from error
    if not is_a(text, str) or not str.__str__(text):
        raise InvalidArgument(f"{name} must be text or a Path that is not empty")
    return Path(str.__str__(text))


def absolute(path: Path) -> Path:
    """:raises InvalidArgument: no file can have this name, or there is no working
    directory for a relative one."""
    if "\x00" in str(path):
        raise InvalidArgument("a path must not contain NUL")
    try:
        name_bytes = max(map(len, map(os.fsencode, path.parts)), default=0)
        path_bytes = len(os.fsencode(path))
    except UnicodeError as error:
        raise InvalidArgument(
            f"{shown(str(path))} has a character that no file name can have"
        ) from error
    if path_bytes > PATH_BYTES_MAX or name_bytes > NAME_BYTES_MAX:
        raise InvalidArgument(
            f"a path must have at most {PATH_BYTES_MAX} bytes, and each name in it "
            f"{NAME_BYTES_MAX}: this one has {path_bytes}, and a name of {name_bytes}"
        )
    # Not resolve(): symbolic links stay as they were written, and `..` too.
    try:
        return path if path.is_absolute() else Path.cwd() / path
    except OSError as error:
        raise InvalidArgument(
            f"the working directory is gone: give the whole path of {path}"
        ) from error


def uri(path: Path, *, read_only: bool) -> str:
    """Return the path as a URI for SQLite: quoted, so that nothing in it is an
    option."""
    mode = "ro" if read_only else "rw"
    # With an empty authority, as a path may begin with two slashes.
    # The bytes, as a name need not be UTF-8.
    return f"file://{quote(os.fsencode(path))}?mode={mode}"


def prepare_file(path: Path) -> None:
    """Make sure that there is a file, private to its owner, where WAL is safe.

    Missing parent folders are made with mode 0700, a missing file with 0600.

    :raises BackendUnavailable: not a plain file, more than one name, a shared file
        system, or no permission.
    """
    try:
        for folder in reversed([each for each in path.parents if not each.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass
        check_file(path)
    except OSError as error:
        raise BackendUnavailable(f"can't create {path}: {error.strerror}") from error


def check_file(path: Path) -> os.stat_result:
    """Check that ``path`` is one plain file on a file system that WAL works on."""
    try:
        status = path.stat()
    except OSError as error:
        raise BackendUnavailable(f"can't open {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise BackendUnavailable(f"{path} is not a plain file")
    if status.st_nlink > 1:
        raise BackendUnavailable(
            f"{path} has {status.st_nlink} names: a second name would be given a "
            f"write-ahead log of its own and corrupt the file; remove the others"
        )
    kind = file_system(path)
    if kind in _SHARED_FILE_SYSTEMS:
        raise BackendUnavailable(
            f"{path} lies on a {kind} file system, where SQLite's write-ahead log is "
            f"not safe: use a local disk, or PostgreSQL"
        )
    return status


def file_system(path: Path, mounts: str = "/proc/self/mountinfo") -> str | None:
    """Return the type of the file system that holds ``path``, None if not known."""
    try:
        lines = Path(mounts).read_bytes().splitlines()
    except OSError:
        return None
    target = os.path.realpath(path)
    best, kind = -1, None
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        # Blanks and the like are written as \040, in octal.
        point = os.fsdecode(_OCTAL.sub(_byte, fields.split(b" ")[4]))
        if os.path.commonpath([point, target]) == point and len(point) >= best:
            best, kind = len(point), os.fsdecode(rest.split(b" ")[0])
    return kind


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 8)])


def check_identity(driver: Any, path: Path | None) -> bool:
    """Refuse another program's database before anything is written to it.

    Returns whether the file is marked as a store.
    """
    # In this order, as another process may be making the store: it commits the mark
    # and the tables together.
    tables = driver.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    mark = driver.execute("PRAGMA application_id").fetchone()[0]
    if mark != APPLICATION_ID and (mark or tables):
        raise InvalidArgument(
            f"{path} is the database of another program: choose another path, or "
            f"import the file into a store"
        )
    return bool(mark == APPLICATION_ID)
