"""Comparing database files: what comes back from a store must be what went in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from turnstore import transfer
from turnstore.engine.sqlite.library import library
from turnstore.store import SessionStore
from turnstore.transfer import ExportReport, ImportReport

PRAGMAS = ("user_version", "application_id", "auto_vacuum", "encoding", "journal_mode")


def connect(path: Path) -> Any:
    return library().module.connect(str(path), isolation_level=None)


def make(path: Path, *statements: Any) -> Path:
    """Make a file by statements: text, or text with rows to run it with."""
    connection = connect(path)
    for each in statements:
        if isinstance(each, str):
            connection.execute(each)
        else:
            statement, rows = each
            connection.executemany(statement, rows)
    connection.close()
    return path


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def dump(path: Path) -> dict[str, Any]:
    """Return all that a file holds: schema, pragmas, and each row with the rowid and
    the storage type of each cell."""
    connection = connect(path)
    connection.text_factory = bytes
    schema = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    ).fetchall()
    found: dict[str, Any] = {"schema": schema}
    for kind, name, _, sql in schema:
        if kind != b"table" or sql.upper().startswith(b"CREATE VIRTUAL"):
            continue
        table = name.decode()
        facts = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
        columns = [quoted(each[1].decode()) for each in facts]
        cells = ", ".join(f"{each}, typeof({each})" for each in columns)
        is_plain = b"WITHOUT ROWID" not in sql.upper() and table != "sqlite_sequence"
        order = "rowid" if is_plain else 0
        rows = connection.execute(
            f"SELECT {order}, {cells} FROM {quoted(table)} ORDER BY 1, 2"
        )
        found[table] = rows.fetchall()
    for name in PRAGMAS:
        found[f"PRAGMA {name}"] = connection.execute(f"PRAGMA {name}").fetchone()
    connection.close()
    return found


async def check_round_trip(
    store: SessionStore, path: Path, system: str
) -> tuple[ImportReport, ExportReport]:
    """Import a file, export it, and compare."""
    before = dump(path)
    imported = await transfer.import_file(store, path)
    assert imported.problems == ()
    copy = path.with_name(f"{path.name}.exported")
    exported = await transfer.export_file(store, copy, system)
    after = dump(copy)
    assert after.keys() == before.keys()
    for name, rows in before.items():
        assert after[name] == rows, name
    assert dump(path) == before
    assert sorted(os.listdir(path.parent)).count(copy.name) == 1
    return imported, exported
