"""Brings a database's schema up to date, or says that it is not.

The scripts lie in ``/alembic`` of the repository and in ``turnstore/_alembic`` of the
wheel. There is one way to make a schema: upgrade from nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, column, event, inspect, select, table

from turnstore.errors import InvalidArgument, SchemaTooNew, SchemaTooOld, StoreError

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Every revision, oldest first. Alembic itself is loaded only to upgrade."""

TITLE_INDEX: Final = "session_titles"
"""The index of titles, on SQLite a full-text one with tables of its own, on PostgreSQL
an index that needs an extension; it is not in ``schema.metadata``."""

_VERSIONS: Final = table("alembic_version", column("version_num"))
# Alembic keeps its context in module globals: one upgrade at a time in a process.
_ALEMBIC: Final = threading.Lock()
_RECORDED: Final[dict[Path, list[tuple[str, Any]]]] = {}
"""What made a schema on SQLite, by the folder of the scripts."""


def prepare(connection: Connection, mode: Literal["auto", "check"]) -> None:
    """Check the schema, and upgrade it where ``mode`` is ``"auto"``.

    Runs in the caller's transaction, which excludes other writers: of several
    processes that open at once one upgrades, and a failed upgrade leaves no trace.

    :raises SchemaTooOld: it needs an upgrade and the mode is ``"check"``.
    :raises SchemaTooNew: a later release wrote it.
    """
    revision = current(connection)
    if revision == REVISIONS[-1]:
        return
    if revision is not None and revision not in REVISIONS:
        raise SchemaTooNew(
            f"the database has schema {revision}, this release knows "
            f"{REVISIONS[-1]}: upgrade turnstore"
        )
    if mode == "check":
        raise SchemaTooOld(
            f"the database has {f'schema {revision}' if revision else 'no schema'}, "
            f"this release needs {REVISIONS[-1]}: run `turnstore migrate --into URL`, "
            f"or open it once with migrate='auto'"
        )
    if revision is None and connection.dialect.name == "sqlite":
        _make(connection)
    else:
        _run_alembic("head", connection=connection)


def is_current(connection: Connection) -> bool:
    """Tell whether ``prepare`` would find nothing to do."""
    return current(connection) == REVISIONS[-1]


def current(connection: Connection) -> str | None:
    """Return the revision that the database is at, None when it has none."""
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(select(_VERSIONS.c.version_num)).scalar_one_or_none()


def scripts() -> Path:
    """Return the folder of the migration scripts: in the wheel, else the checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged, checkout = package / "_alembic", package.parents[1] / "alembic"
    for folder in (packaged, checkout):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError(f"no migration scripts in {packaged} or {checkout}: reinstall")


def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Tell alembic's comparison which tables and indexes ``schema.metadata`` answers
    for."""
    return kind not in ("table", "index") or not (name or "").startswith(TITLE_INDEX)


def is_of(dialect: str) -> Callable[..., bool]:
    """Return alembic's filter of what ``schema.metadata`` has on other databases."""

    def is_included(item: Any, _name: Any, kind: str, *_: Any) -> bool:
        return kind != "index" or item.info.get("only_on") in (None, dialect)

    return is_included


def sql(dialect: str, since: str | None = None) -> str:
    """Return the SQL of an upgrade, in one transaction; connects to nothing.

    :param dialect: ``"sqlite"`` or ``"postgresql"``.
    :param since: the revision that the database is at; None where it has none.
    :raises InvalidArgument: no such dialect or revision.
    """
    if dialect not in ("sqlite", "postgresql"):
        raise InvalidArgument(f"no dialect {dialect!r}: sqlite or postgresql")
    if since is not None and since not in REVISIONS:
        raise InvalidArgument(f"no revision {since!r}: {', '.join(REVISIONS)}")
    if since == REVISIONS[-1]:
        return ""
    written = StringIO()
    _run_alembic(f"{since}:head" if since else "head", written, dialect=dialect)
    return written.getvalue()


def _make(connection: Connection) -> None:
    """Upgrade from nothing on SQLite, where that always runs the same statements:
    after the first time without alembic, which takes ten times as long."""
    folder = scripts()
    recorded = _RECORDED.get(folder)
    if recorded is not None:
        for statement, values in recorded:
            connection.exec_driver_sql(statement, values)
        return
    made: list[tuple[str, Any]] = []

    def record(*arguments: Any) -> None:
        _, _, statement, values, *_ = arguments
        if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            made.append((statement, values))

    event.listen(connection, "before_cursor_execute", record)
    try:
        _run_alembic("head", connection=connection)
    finally:
        event.remove(connection, "before_cursor_execute", record)
    _RECORDED[folder] = made


def _run_alembic(
    revision: str, written: StringIO | None = None, **attributes: Any
) -> None:
    """Run the scripts, or where ``written`` is given write their SQL there."""
    from alembic import command
    from alembic.config import Config

    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    with _ALEMBIC:
        command.upgrade(config, revision, sql=written is not None)
