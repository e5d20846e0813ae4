"""Files that were changed at random: an import gives a report or a typed error, and
what it stored is whole.

``--mutations=3000`` sets the rounds of all systems together. A failure names its round:
the same ``--seed`` with ``--mutation-round`` repeats that one.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.files import mutations
from tests.support.files.every_file import BUILDERS, CONVERSATIONS, build, read_lines
from tests.support.transfer.reading import read_all
from tests.transfer.test_chat_formats import WRAPPED
from turnstore import DatabaseCorrupt, SessionStore, StoreError
from turnstore.transfer import export_file, import_file

SYSTEMS = ("chat", *BUILDERS)


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_changed_file_gives_a_report_or_a_typed_error(
    tmp_path: Path, request: pytest.FixtureRequest, system: str
) -> None:
    option = request.config.option
    rounds = range(option.mutations // len(SYSTEMS))
    if option.mutation_round is not None:
        rounds = range(option.mutation_round, option.mutation_round + 1)
    outcomes: Counter[str] = Counter()
    for number in rounds:
        rng = random.Random(f"{option.seed} {system} {number}")
        folder = tmp_path / "round"
        folder.mkdir()
        try:
            outcomes[await one_round(rng, folder, system)] += 1
        except BaseException as error:
            error.add_note(
                f"round {number} of {system}: repeat with --seed {option.seed} "
                f"--mutation-round {number}"
            )
            raise
        shutil.rmtree(folder)
    print(f"\n{system}: {dict(outcomes.most_common())}")


async def one_round(rng: random.Random, folder: Path, system: str) -> str:
    """Import a changed file twice, and export it; return what came of it."""
    path = folder / "file"
    if system == "chat":
        sources = [read_lines(each)[:5] for each in CONVERSATIONS]
        sources += [[value] for value, _, _ in WRAPPED.values()]
        mutations.chat_file(rng, path, json.loads(json.dumps(sources)))
    else:
        names = [each for each in BUILDERS[system] if each not in ("large", "empty")]
        built = build(folder, system, rng.choice(names))
        built.replace(path)
        mutations.database(rng, path)
    given = rng.choice((system, system, None))
    async with SessionStore("sqlite://") as store:
        try:
            report = await import_file(store, path, given)
        except StoreError as error:
            await read_all(store)
            assert await store.admin.check() == []
            return type(error).__name__
        assert await read_all(store) == report.sessions
        assert await store.admin.check() == []
        again = await import_file(store, path, given)
        assert (again.sessions, again.messages) == (0, 0)
        assert again.sessions_skipped == report.sessions + report.sessions_skipped
        assert await read_all(store) == report.sessions
        try:
            await export_file(store, folder / "out", system)
        except StoreError:
            # Rows that break the rules of their own file have no way back.
            assert system != "chat"
            return "taken, not exported"
        return "left out" if report.problems else "taken"


async def test_a_damaged_schema_that_its_error_cites_is_a_typed_error(
    store: SessionStore, tmp_path: Path
) -> None:
    """The driver can't decode the message of SQLite then."""
    built = build(tmp_path, "nocodo", "ordinary")
    data = built.read_bytes()
    at = data.index(b"CREATE TABLE agent_messages")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data[:at] + b"CREATE TABLE\x81\x81((\x81" + data[at + 17 :])

    for given in ("nocodo", None):
        with pytest.raises(DatabaseCorrupt):
            await import_file(store, damaged, given)
