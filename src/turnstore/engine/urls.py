"""Which engine a URL means."""

from __future__ import annotations

from pathlib import Path

from turnstore.engine.backend import Backend, LockSessions
from turnstore.engine.sqlite.backend import SqliteBackend
from turnstore.engine.sqlite.files import absolute, path_given, path_of_url
from turnstore.errors import InvalidArgument
from turnstore.options import StoreOptions
from turnstore.values import is_a, shown


def backend_of(
    url: str | Path | None, options: StoreOptions, lock: LockSessions
) -> Backend:
    """Make the engine that a URL names; it connects to nothing yet.

    :param lock: locks sessions by id within a transaction, where several write.
    :raises InvalidArgument: no such URL, or the extra that it needs is missing.
    """
    if url is None:
        url = Path.home() / ".turnstore" / "sessions.db"
    if not is_a(url, str):
        return _sqlite(absolute(path_given(url, "url")), options)
    url = str.__str__(url)
    scheme, colon, rest = url.partition(":")
    if scheme == "sqlite":
        return _sqlite(path_of_url(url), options)
    if scheme in ("postgresql", "postgres"):
        url = f"postgresql:{rest}"
        return _postgres(url, options, lock)
    # Not all of it: it may hold a password.
    text = f"{scheme}:..." if colon else url
    raise InvalidArgument(
        f"unknown URL {shown(text)}: write sqlite:///relative.db, "
        f"sqlite:////absolute.db or postgresql://user@host/database"
    )


def _sqlite(path: Path | None, options: StoreOptions) -> Backend:
    if options.read_url is not None:
        raise InvalidArgument("read_url is of PostgreSQL: SQLite has no replicas")
    return SqliteBackend(path, options)


def _postgres(url: str, options: StoreOptions, lock: LockSessions) -> Backend:
    try:
        import asyncpg  # noqa: F401
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            "PostgreSQL needs the extra: pip install 'turnstore[postgres]'"
        ) from error
    from turnstore.engine.postgres.backend import PostgresBackend

    return PostgresBackend(url, options, lock)
