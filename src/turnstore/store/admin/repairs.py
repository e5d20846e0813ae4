"""Commands that mend a store: damaged rows are set aside, heads are counted anew.

A damaged row goes to ``source_rows``, with the raw bytes of every column, under the
system ``SYSTEM``: nothing is thrown away, and it is copied and deleted with its
session. Numbers stay: those of the other rows are not changed, and the number of the
row is not used again. Of a session or a head only the damaged values are replaced, as
other rows depend on the row.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Connection,
    Integer,
    Table,
    bindparam,
    column,
    delete,
    literal_column,
    select,
    table,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType

from turnstore.engine.commands import Command, Outcome
from turnstore.sql import codec
from turnstore.sql.compiled import Compiled
from turnstore.sql.damage import Damage, storage_class
from turnstore.sql.dialects import Raw, StorageClass
from turnstore.sql.migrations import TITLE_INDEX
from turnstore.sql.query import Query, as_micros
from turnstore.sql.schema import (
    messages,
    metadata,
    session_heads,
    sessions,
    source_rows,
)
from turnstore.store.admin.head_checks import Mismatch, check_sessions
from turnstore.store.admin.row_checks import (
    Place,
    check_row,
    place_is,
    place_values,
)
from turnstore.store.heads import INSERT_HEADS, HeadRow, lock_keys
from turnstore.store.history import find_sources, pieces
from turnstore.store.messages.last_model import find_last_model

SYSTEM: Final = "damaged"
"""``source_rows.system`` of rows that were set aside."""

_KEPT: Final = (sessions, session_heads)
"""Of these, values are replaced: other rows depend on the rows."""


class SetAside(Command[Sequence[str]], frozen=True):
    """Sets damaged rows of one table aside; the result says of each value what was
    done. A row that is sound or gone by now is passed over."""

    table: str
    places: Sequence[Place]

    @staticmethod
    def apply(connection: Connection, commands: Sequence[SetAside]) -> list[Outcome]:
        return [
            [
                line
                for place in each.places
                for line in _set_aside(connection, each.table, place)
            ]
            for each in commands
        ]


class CountHeads(Command[Sequence[str]], frozen=True):
    """Counts the heads of sessions anew, by key; the result says what was wrong."""

    keys: Sequence[int]

    @staticmethod
    def apply(connection: Connection, commands: Sequence[CountHeads]) -> list[Outcome]:
        return [
            [
                f"{line}: counted anew"
                for key in each.keys
                for line in _count_head(connection, key)
            ]
            for each in commands
        ]


class IndexTitles(Command[None], frozen=True):
    """Makes the index of titles anew, where it is SQLite's, with tables of its own."""

    @staticmethod
    def apply(connection: Connection, commands: Sequence[IndexTitles]) -> list[Outcome]:
        if connection.dialect.name == "sqlite":
            connection.execute(_TITLES.insert().values({TITLE_INDEX: "rebuild"}))
        return [None] * len(commands)


def _set_aside(connection: Connection, name: str, place: Place) -> list[str]:
    damages = check_row(connection, name, place)
    if not damages:
        return []
    rows = metadata.tables[name]
    dialect = connection.dialect.name
    is_row = place_is(rows, dialect)
    raw = Compiled(
        select(
            *(StorageClass(_plain(each)) for each in rows.c),
            *(Raw(_plain(each)) for each in rows.c),
        ).where(is_row)
    )
    for found in raw.run_raw(connection, place_values(place)):
        cells = {
            str(each.name): _cell(each, *pair)
            for each, *pair in zip(
                rows.c, found[: len(rows.c)], found[len(rows.c) :], strict=True
            )
        }
        key = damages[0].session_key
        known = key is not None and connection.execute(_KNOWN, {"key": key}).scalar()
        about = {"reasons": [f"{each.column} {each.reason}" for each in damages]}
        connection.execute(
            source_rows.insert().values(
                session_key=key if known else None,
                system=SYSTEM,
                batch=SYSTEM,
                table_name=name,
                position=place[0] if isinstance(place[0], int) else 0,
                row=codec.encode({**about, "cells": cells}, codec.INTEGER_MAX),
            )
        )
    if rows in _KEPT:
        _replace(connection, rows, place, damages)
        return [f"{each}: set aside, and replaced" for each in damages]
    connection.execute(delete(rows).where(is_row), place_values(place))
    return [f"{each}: the row was set aside" for each in damages]


def _cell(column: Any, storage: str, raw: bytes | str | None) -> Mapping[str, Any]:
    if raw is None:
        return {"storage": "null"}
    storage = storage or storage_class(column)
    if isinstance(raw, bytes):
        try:
            raw = raw.decode()
        except UnicodeDecodeError:
            data = base64.b64encode(raw)  # type: ignore[arg-type]
            return {"storage": storage, "base64": data.decode()}
    return {"storage": storage, "text": raw}


def _replace(
    connection: Connection, rows: Table, place: Place, damages: Sequence[Damage]
) -> None:
    """Replace the damaged values of a session or its head."""
    now = codec.now_micros()
    given = {
        "id": f"damaged-{place[0]}",
        "agent_name": "",
        "status": "unknown",
        "created_at": now,
        "updated_at": now,
    }
    values = {
        each.column: None if rows.c[each.column].nullable else given.get(each.column, 0)
        for each in damages
        if rows.c[each.column].computed is None
    }
    if values:
        where = place_is(rows, connection.dialect.name)
        statement = update(rows).where(where).values(values)
        connection.execute(statement, place_values(place))
    if rows is session_heads and {"active_message_id", "last_model"} & set(values):
        _name_latest(connection, int(place[0] or 0))


def _count_head(connection: Connection, key: int) -> list[str]:
    lock_keys(connection, [key])
    lines: list[str] = []
    for found in check_sessions(connection, key - 1, key):
        lines += found.lines()
        if not found.has_head:
            [created_at_us] = _CREATED_AT(connection, key=key)
            row = HeadRow(
                session_key=key,
                created_at=created_at_us.created_at_us,
                updated_at=max(created_at_us.created_at_us, codec.now_micros()),
            )
            INSERT_HEADS(connection, [row])
        _save(connection, found)
        if not found.has_head:
            _name_latest(connection, key)
    return lines


def _save(connection: Connection, found: Mismatch) -> None:
    created_at = (
        select(sessions.c.created_at)
        .where(sessions.c.session_key == session_heads.c.session_key)
        .scalar_subquery()
    )
    connection.execute(
        update(session_heads)
        .where(session_heads.c.session_key == found.session_key)
        .values(**found.totals, created_at=created_at)
    )


def _name_latest(connection: Connection, key: int) -> None:
    """Set what a head says of the newest rows: the active message, the last model."""
    found = _LATEST(connection, key=key)
    if not found:
        return
    [head] = found
    sources = find_sources(connection, head.id)
    active = None
    for piece in reversed(pieces("message", key, sources, head.message_head)):
        at, low, high = piece
        values = {"key": at, "after": low, "upto": high}
        active = connection.execute(_NEWEST, values).scalar()
        if active is not None:
            break
    model = find_last_model(
        connection, key, sources, head.message_head, head.event_head
    )
    connection.execute(
        update(session_heads)
        .where(session_heads.c.session_key == key)
        .values(active_message_id=active, last_model=model)
    )


def _plain(column: Any) -> Any:
    return type_coerce(column, NullType())


class _Head(msgspec.Struct):
    id: str
    message_head: int
    event_head: int


class _Time(msgspec.Struct):
    created_at_us: int


_TITLES: Final = table(TITLE_INDEX, column(TITLE_INDEX))
_KNOWN: Final = (
    select(literal_column("1", Integer))
    .select_from(sessions)
    .where(sessions.c.session_key == bindparam("key"))
)
_LATEST: Final = Query(
    select(sessions.c.id, session_heads.c.message_head, session_heads.c.event_head)
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(session_heads.c.session_key == bindparam("key")),
    _Head,
)
_CREATED_AT: Final = Query(
    select(as_micros(sessions.c.created_at).label("created_at_us")).where(
        sessions.c.session_key == bindparam("key")
    ),
    _Time,
)
_NEWEST: Final = (
    select(messages.c.id)
    .where(
        messages.c.session_key == bindparam("key"),
        messages.c.seq > bindparam("after"),
        messages.c.seq <= bindparam("upto"),
        messages.c.summary_of.is_(None),
    )
    .order_by(messages.c.seq.desc())
    .limit(1)
)
