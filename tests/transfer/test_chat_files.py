"""Chat files as files: packed, encoded, in folders, from a pipe, hostile."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.chat_files import SAMPLE, conversation, imported, write
from turnstore import InvalidArgument, SessionStore
from turnstore.transfer import export_file, import_file
from turnstore.transfer.chat import reading

HI = {"role": "user", "content": "hi é 😀"}
ONE = json.dumps(conversation(HI), ensure_ascii=False)


async def check_one(store: SessionStore, path: Path, format: str | None) -> None:
    report = await import_file(store, path, format)
    assert (report.sessions, report.problems) == (1, ())
    [message] = await store.messages.list("one")
    assert message.content == HI["content"]


@pytest.mark.parametrize("format", ["chat", None])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("is_packed", [False, True])
async def test_encodings_and_gzip(
    store: SessionStore,
    tmp_path: Path,
    encoding: str,
    is_packed: bool,
    format: str | None,
) -> None:
    data = ONE.encode(encoding)
    path = tmp_path / "named.anything"
    path.write_bytes(gzip.compress(data) if is_packed else data)
    await check_one(store, path, format)


async def test_several_packed_parts_one_after_another(
    store: SessionStore, tmp_path: Path
) -> None:
    two = ONE.replace("one", "two")
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(f"{ONE}\n".encode()) + gzip.compress(two.encode()))

    assert (await import_file(store, path)).sessions == 2


async def test_an_open_file_is_read_from_where_it_stands_and_left_open(
    store: SessionStore,
) -> None:
    file = io.BytesIO(b"junk" + gzip.compress(ONE.encode()))
    file.seek(4)
    assert (await import_file(store, file, "chat")).sessions == 1
    assert not file.closed
    with pytest.raises(InvalidArgument, match="path"):
        await import_file(store, io.BytesIO(), "nocodo")


async def test_a_packed_file_that_is_cut_gives_what_is_whole(
    store: SessionStore, tmp_path: Path
) -> None:
    lines = [ONE.replace("one", f"s{n}") for n in range(500)]
    noise = [json.dumps({"a": os.urandom(50).hex()}) for _ in range(500)]
    mixed = [line for pair in zip(lines, noise, strict=True) for line in pair]
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress("\n".join(mixed).encode())[:-20_000])

    report = await import_file(store, path, "chat")

    assert 0 < report.sessions < 500
    told = [each for each in report.problems if each.kind == "unreadable file"]
    assert len(told) == 1 and "gzip" in told[0].reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(range(256)) * 100, "is not text"),
        (b"SQLite format 3\x00" + b"\x00" * 100, "is not text"),
        (gzip.compress(b"\x00" * 10_000_000, mtime=0), "is not text"),
        (b"PK\x03\x04....", "packed by zip"),
        (b"BZh91AY", "packed by bzip2"),
        (b"\xfd7zXZ\x00", "packed by xz"),
        (b"\x28\xb5\x2f\xfd..", "packed by zstd"),
    ],
    ids=["bytes", "SQLite", "zeros in gzip", "zip", "bzip2", "xz", "zstd"],
)
async def test_what_is_not_text_is_refused(
    store: SessionStore, tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=reason):
        await import_file(store, path, "chat")
    assert (await store.sessions.list()).items == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"messages":' * 1_000_000,
        '{"a": "' + "x" * 200_000,
        pytest.param('{"a": [' + '{"a": [\n' * 50_000, marks=pytest.mark.long),
        '{"messages": [' + '{"role": "user"},\n' * 20_000,
        "[" + "1," * 100_000,
        ",\n" * 100_000,
        '"' * 100_000,
        "\\" * 100_000,
    ],
    ids=lambda text: text[:16],
)
@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_hostile_text_is_a_problem_and_the_next_line_is_read(
    store: SessionStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    is_packed: bool,
) -> None:
    monkeypatch.setattr(reading, "VALUE_BYTES_MIN", 100_000)
    monkeypatch.setattr(reading, "PAYLOADS_PER_VALUE", 0)
    data = f"{text}\n{ONE}\n".encode()
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(data) if is_packed else data)

    report = await import_file(store, path, "chat")

    assert report.sessions == 1
    assert report.problems != () and len(report.problems) <= 3_000


async def test_a_file_that_is_not_utf8_is_told(
    store: SessionStore, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(ONE.encode("latin-1", "replace") + b"\n" + ONE.encode())

    report = await import_file(store, path)

    assert report.sessions == 1
    assert report.problems[0].reason.startswith("not UTF-8")


async def test_problems_of_a_kind_are_kept_up_to_a_bound_and_counted(
    store: SessionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a", *["text"] * 1_500, *["{}"] * 7, ONE)

    report = await import_file(store, path, "chat")

    kinds = [each.kind for each in report.problems]
    assert {each: kinds.count(each) for each in kinds} == {
        "not JSON": 1_000,
        "no conversation": 7,
    }
    assert report.more_problems == {"not JSON": 500}
    assert report.sessions == 1


async def test_numbers_that_json_has_not_are_kept_as_text(
    store: SessionStore, tmp_path: Path
) -> None:
    digits = "9" * 5_000
    line = (
        '{"id": "one", "a": NaN, "b": [-Infinity, 1e999], "c": ' + digits + ", "
        '"messages": [{"role": "user", "content": "x", "score": Infinity}]}'
    )

    report = await imported(store, tmp_path / "a", line)

    assert report.problems == ()
    assert report.reasons == {
        "-Infinity kept as text": 1,
        "1e999 kept as text": 1,
        "Infinity kept as text": 1,
        "NaN kept as text": 1,
        "an integer of too many digits kept as text": 1,
    }
    session = await store.sessions.get("one")
    assert session is not None
    assert (session.metadata["a"], session.metadata["b"]) == (
        "NaN",
        '["-Infinity","1e999"]',
    )
    assert session.config["import"]["aside"]["c"] == f'"{digits}"'


async def test_long_values_and_odd_keys_are_kept_and_come_out(
    store: SessionStore, tmp_path: Path
) -> None:
    source = conversation(
        HI,
        **{"k" * 300: 1, "": {"a": [None]}, "\x00": "b", "\ud83d": "c\ud83d"},
        tools=[{"name": "x" * 5_000}],
    )

    report = await imported(store, tmp_path / "a", source)

    assert (report.sessions, report.problems) == (1, ())
    await export_file(store, tmp_path / "out", "chat")
    assert json.loads((tmp_path / "out").read_text()) == source
    assert (await import_file(store, tmp_path / "out")).sessions_skipped == 1


# Folders


def in_folder(folder: Path, **files: Any) -> Path:
    for name, value in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


@pytest.mark.parametrize("format", ["chat", None])
async def test_a_folder_is_imported_with_all_its_files_in_order(
    store: SessionStore, tmp_path: Path, format: str | None
) -> None:
    folder = in_folder(
        tmp_path / "folder",
        b=conversation(HI, id="b"),
        a__z=conversation(HI, id="z"),
        a__a=[conversation(HI, id="a1"), conversation(HI, id="a2")],
        c="# Notes\n",
    )
    (folder / ".hidden").write_text(json.dumps(conversation(HI, id="hidden")))
    (folder / "junk").write_bytes(bytes(256))
    os.mkfifo(folder / "pipe")
    done: list[tuple[int, int]] = []

    report = await import_file(
        store, folder, format, lambda at, total: done.append((at, total))
    )

    assert report.sessions == 4
    told = [(Path(each.file).name, each.line) for each in report.problems]
    assert told == [("c", 1), ("junk", None)]
    listed = await store.sessions.list(descending=False)
    assert [each.id for each in listed.items] == ["a1", "a2", "z", "b"]
    assert done[-1][0] <= done[-1][1]
    again = await import_file(store, folder, format)
    assert (again.sessions, again.sessions_skipped) == (0, 4)


async def test_ids_that_files_share_are_told_apart(
    store: SessionStore, tmp_path: Path
) -> None:
    other = {"role": "user", "content": "other"}
    folder = in_folder(
        tmp_path / "folder",
        a=conversation(HI, id="1"),
        b=conversation(other, id="1"),
        c=conversation(HI, id="1"),
        d__e=conversation({**other, "n": 1}, id="1"),
    )

    report = await import_file(store, folder)

    assert (report.sessions, report.sessions_skipped, report.problems) == (3, 1, ())
    found = {each.id for each in (await store.sessions.list()).items}
    assert found == {"1", "b:1", "d/e:1"}
    again = await import_file(store, folder)
    assert (again.sessions, again.sessions_skipped, again.problems) == (0, 4, ())


async def test_an_empty_folder_and_one_that_is_not_there(
    store: SessionStore, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="holds no file"):
        await import_file(store, tmp_path / "empty", "chat")
    with pytest.raises(FileNotFoundError):
        await import_file(store, tmp_path / "missing", "chat")


async def test_the_sample_in_every_layout_is_the_same(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    layouts = [
        "\n".join(json.dumps(each, indent=2) for each in lines),
        json.dumps(lines),
        json.dumps(lines, indent=1),
        json.dumps({"conversations": lines}),
    ]
    for at, text in enumerate(layouts):
        path = tmp_path / f"{at}"
        path.write_text(text)
        async with SessionStore("sqlite://") as store:
            report = await import_file(store, path)
            assert (report.sessions, report.messages, report.tool_calls) == (3, 16, 6)
            assert (await import_file(store, SAMPLE)).sessions_skipped == 3


async def test_a_database_in_the_folder_is_told_and_left_alone(
    store: SessionStore, tmp_path: Path
) -> None:
    """Also that of the store: no file of it is opened past SQLite, as is checked after
    each test."""
    await store.sessions.create(id="mine")
    write(tmp_path / "a.jsonl", ONE)

    report = await import_file(store, tmp_path)

    assert report.sessions == 1
    assert {Path(each.file).name for each in report.problems} == {
        *("store.db", "store.db-wal", "store.db-shm")
    }
    assert all("database" in each.reason for each in report.problems)
    with pytest.raises(InvalidArgument, match="database"):
        await import_file(store, tmp_path / "store.db", "chat")
    assert await store.sessions.get("mine") is not None
