"""Distributes a store's tables over the nodes of Citus, by session.

Experimental: a distributed store does not work yet. Tried on real clusters, the first
``sessions.create`` fails.

Every table that grows with a session has ``session_key`` first in each of its keys.
These tables are distributed by it and colocated, so that one node has all rows of a
session.
The other tables are reference tables, of which each node has a copy: ``sessions``,
because its ids are unique over all nodes, which Citus can't check for a table that is
distributed by another column; and the tables of imports and of leases, which have
other keys.
``alembic_version`` stays on the coordinator.

Rules of Citus 12 and 13 that this follows: each key of a distributed table has the
distribution column; a foreign key goes to a reference table, which is made first; a
transaction that makes both kinds runs one shard at a time. The tests check the rules on
PostgreSQL's catalogs, without Citus.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Executable,
    Select,
    Text,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from turnstore.engine.postgres.errors import sqlstate
from turnstore.errors import BackendError, InvalidArgument
from turnstore.options import StoreOptions
from turnstore.sql import migrations
from turnstore.sql.schema import metadata
from turnstore.store.heads import lock_heads

EXPERIMENTAL: Final = (
    "--distribute is experimental: a distributed store (Citus) does not work yet; "
    "on real clusters the first sessions.create fails"
)
KEY: Final = "session_key"
REFERENCE: Final = ("sessions", "imports", "source_rows", "session_leases")
"""The tables of which every node has a copy, in the order of making them."""

_FIRST: Final = "session_heads"
DISTRIBUTED: Final = (
    _FIRST,
    *(
        each.name
        for each in metadata.sorted_tables
        if each.name not in REFERENCE and each.name != _FIRST
    ),
)
"""The tables that are distributed by session, all colocated with the first."""

CITUS_MIN: Final = 12
SETTINGS: Final = {
    # Writers read heads of several shards before they write sessions. Citus allows it
    # only over one connection per node.
    "citus.multi_shard_modify_mode": "sequential",
    # Reads of a fork join rows by the keys of its sources.
    "citus.enable_repartition_joins": "on",
    # Otherwise lock_timeout and synchronous_commit hold on the coordinator alone.
    "citus.propagate_set_commands": "local",
}
"""Settings that connections to the database need."""

# Settings while tables are made. Without the second one Citus first turns the tables
# that refer to sessions into local tables of its own.
_MEANWHILE: Final = {
    "citus.multi_shard_modify_mode": "sequential",
    "citus.enable_local_reference_table_foreign_keys": "off",
}
# feature_not_supported, invalid_table_definition: a table breaks a rule of Citus.
_REFUSALS: Final = ("0A000", "42P16")
_IS_REFERENCE: Final = "a reference table"
_IS_DISTRIBUTED: Final = f"distributed by {KEY}"


class Distribution(msgspec.Struct, frozen=True):
    """What was done: how each table is distributed now, and settings that were set."""

    tables: dict[str, str]
    settings: dict[str, str]


async def distribute(url: str | None) -> Distribution:
    """Distribute the tables of a store, and set what its connections need.

    All of it is one transaction, under the lock that upgrades take. Tables that are
    distributed already stay as they are. Citus copies the rows to the nodes, while
    writers wait; it leaves a copy on the coordinator that no statement sees. Settings
    hold for new connections, and a store looks whether tables are distributed when it
    is opened: open stores have to be opened again. After an error all is done or
    nothing: run it again.

    :raises InvalidArgument: the database is not PostgreSQL or has no extension citus,
        or a table is distributed in another way. Nothing was changed.
    :raises SchemaTooOld, SchemaTooNew: the text says what to run first.
    :raises DatabaseBusy: a writer held a table for too long.
    :raises BackendError: Citus refuses a table.
    """
    if url is None or not url.startswith("postgresql:"):
        raise InvalidArgument(
            "only PostgreSQL with the extension citus distributes tables: give its URL"
        )
    try:
        from turnstore.engine.postgres.backend import PostgresBackend
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            "PostgreSQL needs the extra: pip install 'turnstore[postgres]'"
        ) from error
    done: list[Distribution] = []

    def prepare(connection: Connection) -> None:
        done.append(distribute_in(connection))

    # As for an upgrade, without a time limit; the backend then runs it again to check.
    options = StoreOptions(migrate="auto", durability="full")
    backend = PostgresBackend(url, options, lock_heads)
    await backend.open(prepare)
    await backend.close()
    return done[0]


def distribute_in(connection: Connection) -> Distribution:
    """Do the work of ``distribute`` in the caller's transaction."""
    migrations.prepare(connection, "check")
    _check_extension(connection)
    wanted = dict.fromkeys(REFERENCE, _IS_REFERENCE)
    wanted |= dict.fromkeys(DISTRIBUTED, _IS_DISTRIBUTED)
    found = _found(connection)
    for name, kind in found.items():
        if wanted.get(name, kind) != kind:
            raise InvalidArgument(
                f"{name} is {kind} and should be {wanted[name]}: call Citus's "
                "undistribute_table for it and run this again"
            )
    left = {name: kind for name, kind in wanted.items() if name not in found}
    set_before = _settings(connection)
    unset = {
        name: value
        for name, value in SETTINGS.items()
        if f"{name}={value}" not in set_before
    }
    if left:
        for name, value in _MEANWHILE.items():
            connection.execute(_set_meanwhile(name, value))
    for name in left:
        try:
            connection.execute(_make(name))
        except DBAPIError as error:
            if sqlstate(error) not in _REFUSALS:
                raise
            raise BackendError(f"Citus refuses {name}: {_reason(error)}") from error
    for name, value in unset.items():
        connection.execute(_set_for_database(name, value))
    return Distribution(left, unset)


def sql() -> str:
    """Return the statements as a script, without connecting to a database."""
    return "".join(f"{each};\n" for each in _script())


def _script() -> Iterator[str]:
    yield "BEGIN"
    steps: list[Executable] = [
        *(_set_meanwhile(*each) for each in _MEANWHILE.items()),
        *(_make(name) for name in (*REFERENCE, *DISTRIBUTED)),
        *(_set_for_database(*each) for each in SETTINGS.items()),
    ]
    for step in steps:
        compiled: Any = step.compile(  # type: ignore[attr-defined]
            dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
            compile_kwargs={"literal_binds": True},
        )
        yield str(compiled)
    yield "COMMIT"


def _make(name: str) -> Select[Any]:
    relation = cast(literal(name, Text), postgresql.REGCLASS)
    if name in REFERENCE:
        return select(func.create_reference_table(relation))
    extra = "none" if name == _FIRST else _FIRST
    return select(
        func.create_distributed_table(
            relation,
            cast(literal(KEY), Text),
            # Without a type, because the type is an enumeration of Citus.
            literal_column("'hash'"),
            cast(literal(extra), Text),
        )
    )


def _set_meanwhile(name: str, value: str) -> Select[Any]:
    """Return the statement that sets a setting until the transaction ends."""
    return select(func.set_config(name, value, True))


def _set_for_database(name: str, value: str) -> Executable:
    # ALTER DATABASE takes no parameters, and there is no function for it.
    return text(
        "DO $do$ BEGIN EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) "
        f"|| ' SET {name} TO {value}'; END $do$"
    )


def _check_extension(connection: Connection) -> None:
    version = connection.execute(
        select(_EXTENSIONS.c.extversion).where(_EXTENSIONS.c.extname == "citus")
    ).scalar_one_or_none()
    if version is None:
        raise InvalidArgument(
            "the database has not the extension citus: install Citus "
            f"{CITUS_MIN} or later on every node, put it into "
            "shared_preload_libraries, and run CREATE EXTENSION citus"
        )
    major = str(version).split(".", 1)[0].split("-", 1)[0]
    if not major.isdecimal() or int(major) < CITUS_MIN:
        raise InvalidArgument(
            f"the database has Citus {version}: upgrade to {CITUS_MIN} or later"
        )


def _found(connection: Connection) -> dict[str, str]:
    """Return how each table of Citus is distributed, without those it calls local."""
    rows = connection.execute(_PARTITIONS_OF_STORE).all()
    kinds: dict[str, str] = {}
    for name, method, model, key in rows:
        if method == "h":
            kinds[name] = f"distributed by {key}"
        elif method == "n" and model == "t":
            kinds[name] = _IS_REFERENCE
        elif model != "s":
            kinds[name] = "distributed otherwise"
    return kinds


def _settings(connection: Connection) -> set[str]:
    """Return the settings of the database, as ``name=value``."""
    found = connection.execute(_SET_FOR_DATABASE).scalars().all()
    return {each for listed in found for each in listed}


def _reason(error: DBAPIError) -> str:
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    return str(first)


_EXTENSIONS: Final = table("pg_extension", column("extname"), column("extversion"))
_CLASSES: Final = table("pg_class", column("oid"), column("relname"))
_DATABASES: Final = table("pg_database", column("oid"), column("datname"))
_ROLE_SETTINGS: Final = table(
    "pg_db_role_setting",
    column("setdatabase"),
    column("setrole"),
    column("setconfig", postgresql.ARRAY(Text)),
)
_PARTITIONS: Final = table(
    "pg_dist_partition",
    column("logicalrelid"),
    column("partmethod"),
    column("partkey"),
    column("repmodel"),
)
_method = cast(_PARTITIONS.c.partmethod, Text)
_PARTITIONS_OF_STORE: Final = (
    select(
        cast(_CLASSES.c.relname, Text),
        _method,
        cast(_PARTITIONS.c.repmodel, Text),
        case(
            (
                _method == "h",
                func.column_to_column_name(
                    _PARTITIONS.c.logicalrelid, _PARTITIONS.c.partkey
                ),
            )
        ),
    )
    .join(_CLASSES, _CLASSES.c.oid == _PARTITIONS.c.logicalrelid)
    .where(
        func.pg_table_is_visible(_CLASSES.c.oid),
        _CLASSES.c.relname.in_([*REFERENCE, *DISTRIBUTED]),
    )
)
_SET_FOR_DATABASE: Final = (
    select(_ROLE_SETTINGS.c.setconfig)
    .join(_DATABASES, _DATABASES.c.oid == _ROLE_SETTINGS.c.setdatabase)
    .where(
        _DATABASES.c.datname == func.current_database(), _ROLE_SETTINGS.c.setrole == 0
    )
)
