"""Brings a database's schema up to date, or says that it is not.

The scripts lie in ``/alembic`` of the repository and in ``turnstore/_alembic`` of the
wheel. There is one way to make a schema: upgrade from nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, column, func, inspect, select, table

from turnstore.errors import InvalidArgument, SchemaTooNew, SchemaTooOld, StoreError

TITLE_INDEX: Final = "session_titles"
"""The index of titles, on SQLite a full-text one with tables of its own, on PostgreSQL
an index that needs an extension; it is not in ``schema.metadata``."""

_VERSIONS: Final = table("alembic_version", column("version_num"))
_RELATIONS: Final = table("pg_class", column("relname"), column("relnamespace"))
_NAMESPACES: Final = table("pg_namespace", column("oid"), column("nspname"))
_SCHEMAS: Final = (
    select(_NAMESPACES.c.nspname)
    .join(_RELATIONS, _RELATIONS.c.relnamespace == _NAMESPACES.c.oid)
    .where(_RELATIONS.c.relname.in_([_VERSIONS.name, "session_heads"]))
    .group_by(_NAMESPACES.c.nspname)
    .having(func.count() == 2)
    .order_by(_NAMESPACES.c.nspname)
)
"""The schemas that hold a store, whether the connection sees them or not."""
# Alembic keeps its context in module globals: one upgrade at a time in a process.
_ALEMBIC: Final = threading.Lock()


def prepare(connection: Connection, mode: Literal["auto", "check"]) -> None:
    """Check the schema, and upgrade it where ``mode`` is ``"auto"``.

    Runs in the caller's transaction, which excludes other writers: of several
    processes that open at once one upgrades, and a failed upgrade leaves no trace.

    :raises SchemaTooOld: it needs an upgrade and the mode is ``"check"``.
    :raises InvalidArgument: so does it, as the schema is not seen where it lies.
    :raises SchemaTooNew: a later release wrote it.
    """
    revision = current(connection)
    if revision == newest():
        return
    if revision is not None and revision not in revisions():
        raise SchemaTooNew(
            f"the database has schema {revision}, this release knows "
            f"{newest()}: upgrade turnstore"
        )
    if mode == "check":
        if revision is None and connection.dialect.name == "postgresql":
            _check_hidden(connection)
        raise SchemaTooOld(
            f"the database has {f'schema {revision}' if revision else 'no schema'}, "
            f"this release needs {newest()}: run `turnstore migrate --into URL`, "
            f"or open it once with migrate='auto'"
        )
    _run_alembic("head", connection=connection)


def _check_hidden(connection: Connection) -> None:
    """:raises InvalidArgument: a store's tables lie in a schema that is not seen."""
    found = connection.execute(_SCHEMAS).scalars().all()
    if found:
        raise InvalidArgument(
            f"the connection does not see the tables of the store in schema "
            f"{', '.join(found)}: put that schema first in the search_path of the role "
            f"or database, and GRANT USAGE on it; or run `turnstore migrate --into "
            f"URL` to make another store here"
        )


def is_current(connection: Connection) -> bool:
    """Tell whether ``prepare`` would find nothing to do."""
    return current(connection) == newest()


def current(connection: Connection) -> str | None:
    """Return the revision that the database is at, None when it has none."""
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(select(_VERSIONS.c.version_num)).scalar_one_or_none()


@cache
def revisions() -> tuple[str, ...]:
    """Return every revision, oldest first: a script's name begins with its own.

    Without alembic, which takes long to load: only an upgrade needs it.
    """
    found = (scripts() / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(each.name.partition("_")[0] for each in found))


def newest() -> str:
    """Return the revision that this release needs."""
    return revisions()[-1]


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
    if since is not None and since not in revisions():
        raise InvalidArgument(f"no revision {since!r}: {', '.join(revisions())}")
    if since == newest():
        return ""
    written = StringIO()
    _run_alembic(f"{since}:head" if since else "head", written, dialect=dialect)
    return written.getvalue()


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
