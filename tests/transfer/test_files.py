"""What holds for the files of every system: recognised by columns, read and never
changed, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.files import microagents_files, nocodo_files
from tests.support.programs import ROOT, command
from tests.support.transfer.round_trip import check_round_trip, connect, dump, make
from turnstore.engine.sqlite.library import library
from turnstore.errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    InvalidArgument,
    ReadOnlyStore,
    SessionNotFound,
)
from turnstore.options import StoreOptions
from turnstore.records import SessionFilter
from turnstore.store import SessionStore
from turnstore.transfer import export_file, import_file
from turnstore.transfer.files import importing
from turnstore.transfer.files.source import Source

pytestmark = pytest.mark.anyio

Bytes = Callable[[Path], bytes]


async def test_a_file_is_recognised_by_columns_not_by_the_names_of_tables(
    store: SessionStore, tmp_path: Path
) -> None:
    named_alike = make(
        tmp_path / "alike.sqlite",
        "CREATE TABLE agent_sessions (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE events (id INTEGER PRIMARY KEY, event_data TEXT)",
        "CREATE TABLE sessions (id TEXT)",
    )

    with pytest.raises(InvalidArgument, match="no known format"):
        await import_file(store, named_alike)
    with pytest.raises(InvalidArgument, match=r"no nocodo file: .* agent_name, model"):
        await import_file(store, named_alike, "nocodo")
    with pytest.raises(InvalidArgument, match="no microagents file"):
        await import_file(store, named_alike, "microagents")
    assert await store.sessions.count(SessionFilter()) == 0


async def test_what_is_no_database_is_no_file_of_a_system(
    store: SessionStore, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("hello " * 1_000)

    with pytest.raises(InvalidArgument, match="it is no SQLite database"):
        await import_file(store, text, "nocodo")
    with pytest.raises(InvalidArgument, match="no known format"):
        await import_file(store, text)
    with pytest.raises(FileNotFoundError):
        await import_file(store, tmp_path / "missing")


async def test_a_damaged_file_is_told_and_what_was_read_is_there(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.repeated(tmp_path / "nocodo.sqlite")
    size = path.stat().st_size
    os.truncate(path, size - size // 3)

    with pytest.raises(DatabaseCorrupt, match=r"nocodo\.sqlite"):
        await import_file(store, path)


async def test_a_locked_file_is_busy(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnstore.transfer.files.source.BUSY_TIMEOUT_S", 0)
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    holder = connect(path)
    holder.execute("BEGIN EXCLUSIVE")

    with pytest.raises(DatabaseBusy, match="locked"):
        await import_file(store, path)
    holder.close()


async def test_a_log_that_was_not_checkpointed_is_read_and_left(
    store: SessionStore, tmp_path: Path, file_bytes: Bytes
) -> None:
    path = microagents_files.first_release(tmp_path / "live.sqlite")
    writer = connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.executemany(
        *microagents_files.insert(
            microagents_files.log("late", *microagents_files.PROTOCOL_4)
        )
    )
    left = tmp_path / "left" / "micro.sqlite"
    left.parent.mkdir()
    # As a killed program leaves them: the log beside the file, nobody using it.
    for ending in ("", "-wal"):
        await anyio.run_process(["cp", f"{path}{ending}", f"{left}{ending}"])
    writer.close()
    before = [file_bytes(Path(f"{left}{ending}")) for ending in ("", "-wal")]
    assert len(before[1]) > 0

    report = await import_file(store, left)

    assert report.sessions == 2
    assert await store.sessions.get("late") is not None
    after = [file_bytes(Path(f"{left}{ending}")) for ending in ("", "-wal")]
    assert after == before


async def test_a_program_may_go_on_writing_meanwhile(
    store: SessionStore, tmp_path: Path
) -> None:
    path = microagents_files.all_protocols(tmp_path / "live.sqlite")
    writer = connect(path)
    statement, rows = microagents_files.insert(
        microagents_files.log("meanwhile", microagents_files.INIT)
    )

    def write(done: int, total: int) -> None:
        writer.executemany(statement, rows)

    await import_file(store, path, on_progress=write)
    writer.close()

    assert await store.sessions.get("meanwhile") is None
    again = await import_file(store, path)
    assert (again.sessions, again.problems) == (1, ())


async def test_where_it_cannot_be_opened_read_only_a_copy_is_read(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    opened: list[Path] = []
    connect_source = Source._connect

    def refuse(source: Source, given: Path) -> None:
        opened.append(given)
        if given == path:
            error = library().module.OperationalError("unable to open database file")
            error.sqlite_errorcode = 14
            raise error
        connect_source(source, given)

    monkeypatch.setattr(Source, "_connect", refuse)

    report = await import_file(store, path)

    assert report.sessions == 2
    assert opened[0] == path
    assert not opened[1].exists()


async def test_a_folder_is_no_file(store: SessionStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no SQLite database"):
        await import_file(store, tmp_path, "nocodo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="holds no file"):
        await import_file(store, tmp_path / "empty")


@pytest.mark.parametrize("batches", [1, 2, 3])
async def test_an_interrupted_import_can_be_run_again(
    store: SessionStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
) -> None:
    path = microagents_files.all_protocols(tmp_path / "micro.sqlite")
    monkeypatch.setattr(importing, "BATCH_SESSIONS", 1)
    seen = 0
    with anyio.CancelScope() as scope:

        def stop(done: int, total: int) -> None:
            nonlocal seen
            seen += 1
            if seen == batches:
                scope.cancel()

        await import_file(store, path, on_progress=stop)
    assert await store.sessions.count(SessionFilter()) == batches

    report = await import_file(store, path)

    assert (report.sessions, report.sessions_skipped) == (5 - batches, batches)
    await export_file(store, tmp_path / "out.sqlite", "microagents")
    assert dump(tmp_path / "out.sqlite") == dump(path)


async def test_two_imports_at_once_add_each_session_once(
    store: SessionStore, second_store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.orphans(tmp_path / "nocodo.sqlite")
    reports = []

    async def one(into: SessionStore) -> None:
        reports.append(await import_file(into, path))

    async with anyio.create_task_group() as group:
        group.start_soon(one, store)
        group.start_soon(one, second_store)

    assert sum(each.sessions for each in reports) == 1
    assert sum(each.sessions_skipped for each in reports) == 1
    await export_file(store, tmp_path / "out.sqlite", "nocodo")
    assert dump(tmp_path / "out.sqlite") == dump(path)


async def test_a_file_that_has_grown_adds_what_is_new_and_tells_what_has_changed(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.orphans(tmp_path / "nocodo.sqlite")
    await import_file(store, path)
    make(
        path,
        nocodo_files.insert("agent_sessions", nocodo_files.session(6)),
        nocodo_files.insert("agent_messages", nocodo_files.message(5, "later")),
    )

    report = await import_file(store, path)

    assert (report.sessions, report.sessions_skipped) == (1, 0)
    [problem] = report.problems
    assert problem.line is None
    assert "as it was at an earlier import" in problem.reason


async def test_a_session_from_elsewhere_is_left_and_reported(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="first", agent_name="mine")
    path = microagents_files.all_protocols(tmp_path / "micro.sqlite")

    report = await import_file(store, path)

    assert report.sessions == 4
    [problem] = report.problems
    assert "'first' is there already, from elsewhere" in problem.reason
    kept = await store.sessions.get("first")
    assert kept is not None
    assert (kept.agent_name, kept.event_head) == ("mine", 0)


async def test_progress_counts_rows_up_to_all(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.orphans(tmp_path / "nocodo.sqlite")
    told: list[tuple[int, int]] = []

    await import_file(store, path, on_progress=lambda *each: told.append(each))

    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 600


async def test_a_file_that_is_there_is_not_overwritten(
    store: SessionStore, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")

    for kind in ("nocodo", "chat"):
        with pytest.raises(InvalidArgument, match="there already"):
            await export_file(store, there, kind)
    with pytest.raises(InvalidArgument, match="unknown format"):
        await export_file(store, tmp_path / "new", "csv")
    with pytest.raises(FileNotFoundError):
        await export_file(store, tmp_path / "missing" / "new", "nocodo")

    assert there.read_text() == "mine"
    assert [each for each in os.listdir(tmp_path) if "partial" in each] == []


@pytest.mark.parametrize("format", ["microagents", "chat"])
async def test_a_stopped_export_leaves_nothing(
    store: SessionStore, tmp_path: Path, format: str
) -> None:
    path = microagents_files.all_protocols(tmp_path / "micro.sqlite")
    await import_file(store, path)
    out = tmp_path / "out"
    out.mkdir()
    with anyio.CancelScope() as scope:
        await export_file(
            store, out / "file", format, on_progress=lambda *_: scope.cancel()
        )

    assert scope.cancelled_caught
    assert os.listdir(out) == []


async def test_some_sessions_are_exported_without_what_belongs_to_the_file(
    store: SessionStore, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    make(
        path,
        "CREATE TABLE kv (key TEXT, value TEXT)",
        "INSERT INTO kv VALUES ('apikey:x', 'secret')",
    )
    await import_file(store, path)
    [session] = (await store.sessions.list(SessionFilter(message_count_max=1))).items

    report = await export_file(store, tmp_path / "out", "nocodo", [session.id])

    assert (report.sessions, report.messages) == (1, 1)
    found = dump(tmp_path / "out")
    assert [row[0] for row in found["agent_sessions"]] == [9]
    assert found["kv"] == []
    assert found["refinery_schema_history"] == dump(path)["refinery_schema_history"]
    with pytest.raises(SessionNotFound):
        await export_file(store, tmp_path / "none", "nocodo", [session.id, "missing"])
    assert not (tmp_path / "none").exists()


async def test_a_fork_is_exported_with_what_it_shows(
    store: SessionStore, tmp_path: Path
) -> None:
    session = await store.sessions.create(id="whole")
    for text in ("one", "two", "three"):
        await store.messages.append(session.id, "user", text)
    await store.sessions.fork(session.id, at_message_seq=2, new_id="fork")
    await store.messages.append("fork", "user", "other")

    await export_file(store, tmp_path / "out.sqlite", "nocodo")

    connection = connect(tmp_path / "out.sqlite")
    rows = connection.execute(
        "SELECT session_id, content FROM agent_messages ORDER BY id"
    ).fetchall()
    connection.close()
    assert rows == [
        (1, "one"),
        (1, "two"),
        (1, "three"),
        (2, "one"),
        (2, "two"),
        (2, "other"),
    ]


async def test_a_session_of_many_rows_is_exported_whole(
    store: SessionStore, tmp_path: Path
) -> None:
    events: list[Any] = [
        ("stream.delta", microagents_files.turn("t", delta=str(n), delta_type="Text"))
        for n in range(9_000)
    ]
    path = microagents_files.file(
        tmp_path / "micro.sqlite",
        microagents_files.log("long", *events),
        microagents_files.log("short", *events[:3]),
    )

    await check_round_trip(store, path, "microagents")


async def test_a_store_that_is_read_only_can_export_but_not_import(
    store_path: Path, tmp_path: Path
) -> None:
    path = nocodo_files.ordinary(tmp_path / "nocodo.sqlite")
    async with SessionStore(store_path) as store:
        await import_file(store, path)

    async with SessionStore(store_path, StoreOptions(read_only=True)) as store:
        await export_file(store, tmp_path / "out", "nocodo")
        with pytest.raises(ReadOnlyStore):
            await import_file(store, path)

    assert dump(tmp_path / "out") == dump(path)


async def test_what_is_too_large_for_a_payload_is_kept_aside(tmp_path: Path) -> None:
    path = nocodo_files.odd_cells(tmp_path / "nocodo.sqlite")
    options = StoreOptions(payload_bytes_max=1_000)

    async with SessionStore(tmp_path / "store.db", options) as store:
        await check_round_trip(store, path, "nocodo")


async def test_an_exported_file_is_private(store: SessionStore, tmp_path: Path) -> None:
    await export_file(store, tmp_path / "out", "nocodo")
    await export_file(store, tmp_path / "out.jsonl", "chat")

    modes = [(tmp_path / each).stat().st_mode & 0o777 for each in ("out", "out.jsonl")]
    assert modes == [0o600, 0o600]


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """The peak of child processes that import and export some thousand sessions.

    With 100,000 it is below the bound too: see large_program.py.
    """
    peaks_mib: list[float] = []

    for step in ("make", "import", "export"):
        done = await anyio.run_process(
            command("large_program", step, tmp_path, 3_000),
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks_mib.append(float(done.stdout))

    assert max(peaks_mib) < 300
