"""What holds of every file of every system, whatever the database of the store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import koda_files, microagents_files, nocodo_files, steer_files
from tests.support.files.koda_tables import ADDED, FIRST, LATER, KodaFile
from tests.support.files.odd_values import ODD_IDS, scatter
from tests.support.files.steer_tables import DOMAIN, EARLY, REST, TRIGGER, SteerFile
from tests.support.transfer.reading import read_all
from tests.support.transfer.round_trip import check_round_trip
from turnstore import SessionStore
from turnstore.transfer import export_file, import_file

BUILDERS: dict[str, Mapping[str, Callable[[Path], Path]]] = {
    "nocodo": nocodo_files.BUILDERS,
    "microagents": microagents_files.BUILDERS,
    "koda": koda_files.BUILDERS,
    "steer": steer_files.BUILDERS,
}
FILES = [(system, name) for system, builders in BUILDERS.items() for name in builders]
SESSIONS = (*ODD_IDS, *"abcdefgh")

SAMPLE = Path(str(resources.files("turnstore").joinpath("sample.jsonl")))
TRANSCRIPTS = (
    Path(__file__).parents[4] / "shared" / "data" / "airline-transcripts.jsonl"
)
CONVERSATIONS = [each for each in (SAMPLE, TRANSCRIPTS) if each.exists()]


def build(folder: Path, system: str, name: str) -> Path:
    return BUILDERS[system][name](folder / f"{system}.sqlite")


def scattered_koda(path: Path, rng: random.Random) -> Path:
    file = KodaFile(path, FIRST, ADDED, LATER)
    tables = ("sessions", "messages", "session_metadata", "session_events", "tasks")
    scatter(file.connection, rng, SESSIONS, tables)
    return file.close()


def scattered_steer(path: Path, rng: random.Random) -> Path:
    file = SteerFile(path, EARLY, TRIGGER, REST)
    tables = ("sessions", "messages", "tool_calls", "events", "session_snapshots")
    scatter(file.connection, rng, SESSIONS, tables)
    return file.close()


def scattered_steer_events(path: Path, rng: random.Random) -> Path:
    file = SteerFile(path, DOMAIN)
    tables = ("domain_sessions", "domain_events", "session_todos")
    scatter(file.connection, rng, SESSIONS, tables)
    return file.close()


def read_lines(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class EveryFile:
    """A subclass, or its folder, has the fixture ``store``."""

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("system, name", FILES)
    async def test_nothing_is_lost(
        self, store: SessionStore, tmp_path: Path, system: str, name: str
    ) -> None:
        path = build(tmp_path, system, name)

        _, exported = await check_round_trip(store, path, system)

        assert exported.reasons == {}

    @pytest.mark.parametrize("system, name", FILES)
    async def test_a_second_import_adds_nothing(
        self, store: SessionStore, tmp_path: Path, system: str, name: str
    ) -> None:
        path = build(tmp_path, system, name)
        first = await import_file(store, path)

        again = await import_file(store, path)

        added = (again.sessions, again.messages, again.events, again.rows_kept)
        assert added == (0, 0, 0, 0)
        assert again.sessions_skipped == first.sessions
        assert (again.problems, again.reasons) == ((), {})

    @pytest.mark.parametrize("system, name", FILES)
    async def test_all_that_was_imported_can_be_read(
        self, store: SessionStore, tmp_path: Path, system: str, name: str
    ) -> None:
        report = await import_file(store, build(tmp_path, system, name))

        assert await read_all(store) == report.sessions

    @pytest.mark.parametrize(
        "system, scattered",
        [
            ("koda", scattered_koda),
            ("steer", scattered_steer),
            ("steer", scattered_steer_events),
        ],
        ids=["koda", "steer", "steer events"],
    )
    async def test_any_cells_come_back(
        self,
        store: SessionStore,
        tmp_path: Path,
        rng: random.Random,
        system: str,
        scattered: Callable[[Path, random.Random], Path],
    ) -> None:
        path = scattered(tmp_path / f"{system}.sqlite", rng)

        await check_round_trip(store, path, system)

        await read_all(store)

    @pytest.mark.parametrize("path", CONVERSATIONS, ids=lambda path: path.stem)
    async def test_conversations_come_out_equal(
        self, store: SessionStore, tmp_path: Path, path: Path
    ) -> None:
        imported = await import_file(store, path)

        report = await export_file(store, tmp_path / "out.jsonl", "chat")

        assert read_lines(tmp_path / "out.jsonl") == read_lines(path)
        assert (report.sessions, report.messages, report.reasons) == (
            imported.sessions,
            imported.messages,
            {},
        )
        again = await import_file(store, tmp_path / "out.jsonl")
        assert (again.sessions, again.sessions_skipped) == (0, imported.sessions)

    async def test_conversations_come_out_in_their_order(
        self, store: SessionStore, tmp_path: Path
    ) -> None:
        ids = [f"{n}" for n in range(300)]
        path = tmp_path / "in.jsonl"
        path.write_text("".join(f'{{"id":"{each}","messages":[]}}\n' for each in ids))
        await import_file(store, path)

        await export_file(store, tmp_path / "out.jsonl", "chat")

        assert [each["id"] for each in read_lines(tmp_path / "out.jsonl")] == ids
