"""Where a store lies: URL, path, mode and kind of file."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from turnstore import BackendUnavailable, InvalidArgument, SessionStore
from turnstore.engine.sqlite import files
from turnstore.engine.sqlite.files import (
    _SHARED_FILE_SYSTEMS,
    check_file,
    file_system,
    path_of_url,
    prepare_file,
    uri,
)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_in_memory(url: str) -> None:
    assert path_of_url(url) is None


@pytest.mark.parametrize(
    ("url", "relative"),
    [
        ("sqlite:///agent.db", "agent.db"),
        ("sqlite:///data/agent.db", "data/agent.db"),
        ("sqlite:///../agent.db", "../agent.db"),
        ("sqlite:///a%20b.db", "a b.db"),
        ("sqlite:///a b.db", "a b.db"),
        ("sqlite:///%C3%A9.db", "é.db"),
        ("sqlite:///é.db", "é.db"),
        ("sqlite:///a%3Fb.db", "a?b.db"),
        ("sqlite:///a%2525.db", "a%25.db"),
        ("sqlite:///a#b.db", "a#b.db"),
        ("sqlite:///agent.db?", "agent.db"),
    ],
)
def test_relative_to_the_working_folder(
    url: str, relative: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of_url(url) == tmp_path / relative


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/agent.db", "/srv/agent.db"),
        ("sqlite:////srv/../agent.db", "/srv/../agent.db"),
        ("sqlite:////srv/a%20%25.db", "/srv/a %.db"),
    ],
)
def test_absolute(url: str, path: str) -> None:
    found = path_of_url(url)
    assert found is not None
    assert str(found) == path


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db?mode=ro",
        "sqlite:///a.db?x",
        "sqlite://?mode=memory",
        "sqlite://host/a.db",
        "sqlite://a.db",
        "sqlite:a.db",
        "sqlite",
        "sqlite:///a%00.db",
        "sqlite:///a\x00.db",
        "sqlite:///a%FF.db",
        "sqlite:///a\ud800.db",
        "sqlite:///a\udcff.db",
        "sqlite:///a%20\ud800.db",
        "postgres",
        "mysql://localhost/x",
        "file:///a.db",
        "",
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        SessionStore(url)


@pytest.mark.parametrize("url", [b"sqlite://", 5, ["sqlite://"]])
def test_a_url_of_the_wrong_type(url: Any) -> None:
    with pytest.raises(InvalidArgument, match="url must be text"):
        SessionStore(url)


def test_a_relative_path_without_a_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(InvalidArgument, match="working directory"):
        SessionStore("sqlite:///store.db")


def test_a_path_with_nul() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        SessionStore(Path("a\x00.db"))


@pytest.mark.parametrize("path", ["a\ud800.db", "/a/\udfff/b.db"])
def test_a_path_with_a_lone_surrogate(path: str) -> None:
    with pytest.raises(InvalidArgument, match="no file name can have"):
        SessionStore(Path(path))


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="names need not be UTF-8 there")
async def test_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff%41?.db")
    async with SessionStore(path) as store:
        await store.sessions.create(id="s")
    assert os.listdir(os.fsencode(tmp_path)) == [b"a\xff%41?.db"]
    async with SessionStore(path) as store:
        assert await store.events.head("s") == 0


@pytest.mark.anyio
async def test_a_backup_to_a_path_with_a_lone_surrogate(tmp_path: Path) -> None:
    async with SessionStore("sqlite://") as store:
        with pytest.raises(InvalidArgument):
            await store.admin.backup(f"{tmp_path}/\ud800.db")


def test_making_the_object_does_no_io(tmp_path: Path) -> None:
    SessionStore(tmp_path / "folder" / "store.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("read_only", "mode"), [(True, "ro"), (False, "rw")])
def test_nothing_in_a_path_is_an_option_of_the_uri(read_only: bool, mode: str) -> None:
    name = "/srv/a?mode=memory&b#c%41.db"
    parts = urlsplit(uri(Path(name), read_only=read_only))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("file", "", "")
    assert unquote(parts.path) == name
    assert parts.query == f"mode={mode}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["a?mode=memory&cache=shared.db", "a%41#b.db", "é ü\n'\".db", ":memory:.db"]
)
async def test_a_store_lies_exactly_where_the_path_says(
    name: str, tmp_path: Path
) -> None:
    async with SessionStore(tmp_path / name) as store:
        await store.sessions.create(id="s")
    assert os.listdir(tmp_path) == [name]
    async with SessionStore(tmp_path / name) as store:
        assert await store.events.head("s") == 0


@pytest.mark.anyio
async def test_a_path_that_begins_with_two_slashes(tmp_path: Path) -> None:
    path = Path(f"/{tmp_path}/store.db")
    async with SessionStore(path) as store:
        await store.sessions.create(id="s")
    assert os.listdir(tmp_path) == ["store.db"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_missing_folders_and_file_are_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mask = os.umask(0)
    try:
        prepare_file(tmp_path / "a" / "b" / "store.db")
    finally:
        os.umask(mask)
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / "a") == 0o700
    assert mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "store.db") == 0o600


def test_an_existing_file_keeps_its_mode_and_content(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"content")
    path.chmod(0o640)
    prepare_file(path)
    assert mode(path) == 0o640
    assert path.read_bytes() == b"content"


@pytest.mark.anyio
async def test_sidecars_are_private_too(store_path: Path) -> None:
    async with SessionStore(store_path) as store:
        await store.sessions.create(id="s")
        for suffix in ("", "-wal", "-shm"):
            assert mode(Path(f"{store_path}{suffix}")) == 0o600


def test_a_hard_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    os.link(tmp_path / "one", tmp_path / "two")
    for path in (tmp_path / "one", tmp_path / "two"):
        with pytest.raises(BackendUnavailable, match="2 names"):
            prepare_file(path)


def test_a_symbolic_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    prepare_file(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_dangling_link_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(BackendUnavailable):
        prepare_file(tmp_path / "link")
    assert os.listdir(tmp_path) == ["link"]


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(BackendUnavailable, match="not a plain file"):
            prepare_file(path)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendUnavailable, match="can't create"):
        prepare_file(tmp_path / "file" / "store.db")


def test_a_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable):
        prepare_file(tmp_path / ("x" * 300))


def test_a_missing_file_is_not_made_by_a_check(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable):
        check_file(tmp_path / "store.db")
    assert os.listdir(tmp_path) == []


class Mounts:
    """A file in the format of /proc/self/mountinfo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.add("/", "ext4")

    def add(self, point: str, kind: str) -> None:
        escaped = os.fsencode(point).replace(b" ", b"\\040").replace(b"\n", b"\\012")
        at = len(self.lines)
        head = b"%d 1 0:%d / %s rw,relatime shared:1" % (at, at, escaped)
        self.lines.append(head + b" - %s source rw\n" % kind.encode())
        self.path.write_bytes(b"".join(self.lines))

    def kind(self, path: str) -> str | None:
        return file_system(Path(path), str(self.path))


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path / "mountinfo")


def test_the_deepest_mount_counts(mounts: Mounts) -> None:
    mounts.add("/mnt", "nfs4")
    mounts.add("/mnt/local", "xfs")
    mounts.add("/mnt/loc", "cifs")
    assert mounts.kind("/srv/store.db") == "ext4"
    assert mounts.kind("/mnt/store.db") == "nfs4"
    assert mounts.kind("/mnt/local/store.db") == "xfs"
    assert mounts.kind("/mnt/locally/store.db") == "nfs4"


def test_the_last_of_two_mounts_on_one_point_counts(mounts: Mounts) -> None:
    mounts.add("/mnt", "nfs4")
    mounts.add("/mnt", "tmpfs")
    assert mounts.kind("/mnt/store.db") == "tmpfs"


def test_a_mount_point_with_a_space(mounts: Mounts) -> None:
    mounts.add("/mnt/my disk", "fuse.sshfs")
    assert mounts.kind("/mnt/my disk/store.db") == "fuse.sshfs"


def test_a_mount_point_beyond_ascii(mounts: Mounts) -> None:
    mounts.add("/mnt/données", "nfs4")
    assert mounts.kind("/mnt/données/store.db") == "nfs4"


def test_a_mount_point_that_is_not_utf_8(mounts: Mounts) -> None:
    mounts.add(os.fsdecode(b"/mnt/\xff"), "nfs4")
    assert mounts.kind("/srv/store.db") == "ext4"
    assert mounts.kind(os.fsdecode(b"/mnt/\xff/store.db")) == "nfs4"


def test_no_table_of_mounts(tmp_path: Path) -> None:
    assert file_system(tmp_path, str(tmp_path / "missing")) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "virtiofs"])
def test_shared_file_systems_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").touch()

    monkeypatch.setattr(files, "file_system", lambda path: kind)
    with pytest.raises(BackendUnavailable, match=f"{kind} file system"):
        check_file(tmp_path / "store")
    assert kind in _SHARED_FILE_SYSTEMS


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", None])
def test_local_file_systems_are_taken(
    kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").touch()

    monkeypatch.setattr(files, "file_system", lambda path: kind)
    assert check_file(tmp_path / "store").st_size == 0
