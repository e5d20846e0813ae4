"""Types of columns that databases lack; columns and indexes that several tables have.

``JsonText`` columns hold JSON exactly as it was encoded (a binary JSON type reorders
keys, rewrites numbers and refuses ``\\u0000``); free text is held the same way, so
that any text is stored alike on every database. ``Micros`` columns hold microseconds
since 1970 UTC.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Text,
    TypeDecorator,
    text,
)

# SQLite counts up by itself only in a column of exactly this type.
KEY = BigInteger().with_variant(Integer, "sqlite")


class JsonText(TypeDecorator[str]):
    """Encoded JSON. Values are bound and read as they are."""

    impl = Text
    cache_ok = True


class Micros(TypeDecorator[int]):
    """Microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True


def session_key() -> Column[int]:
    return Column(
        "session_key",
        BigInteger,
        ForeignKey("sessions.session_key", ondelete="CASCADE"),
        nullable=False,
    )


def listed_by(
    *columns: str, name: str | None = None, where: str | None = None
) -> Index:
    only = None if where is None else text(where)
    return Index(
        name,
        *columns,
        sqlite_where=only,
        postgresql_where=only,
        # So that PostgreSQL finds keys in the index alone; on SQLite each has them.
        postgresql_include=["session_key"],
    )


def json_column(name: str, holds: Any = Any, *, nullable: bool = True) -> Column[str]:
    """Return a column of encoded JSON.

    :param holds: the type of its values, as msgspec decodes them.
    """
    return Column(name, JsonText, nullable=nullable, info={"holds": holds})
